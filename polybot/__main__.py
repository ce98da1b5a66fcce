"""`python -m polybot` is the `polybot` command."""

if __name__ == "__main__":
    try:
        from polybot.cli import main
    except KeyboardInterrupt:  # Ctrl-C while Python still reads the program
        raise SystemExit(130) from None
    main()
