"""`python -m polybot` is the `polybot` command."""

from polybot.cli import main

if __name__ == "__main__":
    main()
