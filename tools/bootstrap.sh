#!/bin/sh
# Makes .venv what the lock files say, and does nothing, in a few milliseconds, when it already is.
#
#   tools/bootstrap.sh run    what `make run` needs      (requirements-run.lock)
#   tools/bootstrap.sh all    and what tests and checks need (requirements.lock)
#
# Needs a CPython of the versions below and a package index that pip can reach; every file installed must have a hash
# that stands in the lock, wherever it came from. Name another interpreter with BOOTSTRAP_PYTHON=/path/to/python3.
set -eu

# Newest first among those the tests run on; 3.14 has wheels for everything in the lock, and nothing newer has.
VERSIONS="3.13 3.12 3.11 3.14"
VENV=.venv
LOG=.setup.log

say() { printf '[polybot] %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

main() {
    cd "$(dirname "$0")/.."
    unset VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTHONSAFEPATH PYTHONSTARTUP PYTHONWARNINGS __PYVENV_LAUNCHER__
    case "${1:-}" in run | all) level=$1 ;; *) fail "usage: tools/bootstrap.sh run|all" ;; esac
    is_ready "$level" && exit 0

    trap 'say "interrupted; the same command goes on from here"; exit 130' INT TERM HUP
    one_at_a_time
    is_ready "$level" && exit 0 # another make did it while this one waited

    is_ready run || make_venv
    install_locked "$level"
    install_polybot
    stamp_of "$level" >"$VENV/stamp.new"
    mv "$VENV/stamp.new" "$VENV/stamp-$level" # last, and at once: an interrupted set-up has no stamp
    rm -f "$LOG"
}

is_ready() { # level
    for installed in "$1" all; do
        [ -f "$VENV/stamp-$installed" ] && [ "$(stamp_of "$installed")" = "$(cat "$VENV/stamp-$installed")" ] &&
            "$VENV/bin/python" -I -S -c '' 2>/dev/null && return 0
    done
    return 1
}

stamp_of() { # level; the place counts too, since a virtual environment does not survive being moved
    { pwd -P; cat "$(lock_of "$1")"; } | { sha256sum 2>/dev/null || shasum -a 256; }
}

lock_of() {
    case "$1" in run) echo requirements-run.lock ;; all) echo requirements.lock ;; esac
}

one_at_a_time() { # two makes in two terminals: the second waits (where the system has flock)
    command -v flock >/dev/null 2>&1 || return 0
    exec 9>.venv.lock
    flock -n 9 || { say "waiting for another set-up in this folder"; flock 9; }
}

make_venv() {
    python=$(find_python) || exit 1
    "$python" -I -c 'import ensurepip' 2>/dev/null || install_venv_package "$python"
    say "making $VENV with $("$python" -I -V) ($python)"
    rm -rf "$VENV"
    logged "$python" -I -m venv "$VENV" || fail_with_log "could not make $VENV"
}

find_python() { # prints the real interpreter, never that of a virtual environment which happens to be active
    if [ -n "${BOOTSTRAP_PYTHON:-}" ]; then
        base_of "$BOOTSTRAP_PYTHON" && return 0
        fail "BOOTSTRAP_PYTHON=$BOOTSTRAP_PYTHON is no CPython of $VERSIONS with ssl and sqlite3"
    fi
    for name in $(printf 'python%s ' $VERSIONS) python3; do
        old_ifs=$IFS
        IFS=:
        for folder in $PATH; do
            IFS=$old_ifs
            [ -x "$folder/$name" ] && base_of "$folder/$name" && return 0
        done
        IFS=$old_ifs
    done
    fail "needs CPython 3.11 or newer (one of: $VERSIONS), and found none on PATH.
          Debian 12, Ubuntu 24.04 or newer: apt-get install python3 python3-venv
          or name one:                      make run BOOTSTRAP_PYTHON=/path/to/python3"
}

base_of() { # python; fails when it does not run (a shim of another tool), is of another version, or lacks a part
    "$1" -I -c '
import sys, sqlite3, ssl
if "%d.%d" % sys.version_info[:2] not in sys.argv[1].split() or sys.implementation.name != "cpython":
    sys.exit(1)
print(getattr(sys, "_base_executable", sys.executable))' "$VERSIONS" 2>/dev/null
}

install_venv_package() { # python; Debian and Ubuntu ship venv's other half apart
    package=$("$1" -I -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    hint="$1 cannot make virtual environments; type: sudo apt-get install $package (or your system's package of that purpose)"
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || fail "$hint"
    say "installing $package, which this system's Python needs to make a virtual environment ..."
    export DEBIAN_FRONTEND=noninteractive
    { logged apt-get update && logged apt-get install -y --no-install-recommends "$package"; } || fail_with_log "$hint"
}

install_locked() { # level
    lock=$(lock_of "$1")
    say "installing $(grep -c '==' "$lock") packages of $lock (about a minute, once) ..."
    pip_install --require-hashes --only-binary :all: -r "$lock" ||
        fail_with_log "could not install $lock; is there a network, and a package index that pip can reach?"
}

install_polybot() { # the tree itself, as it stands; its build backend came with the lock
    pip_install --no-build-isolation --no-deps --no-index -e . || fail_with_log "could not install polybot itself"
}

pip_install() { # a user's own pip settings may say where packages come from (a mirror, a proxy), but not where they go
    for name in TARGET PREFIX ROOT USER NO_BINARY NO_DEPS CONSTRAINT REQUIREMENT REQUIRE_VIRTUALENV PYTHON EDITABLE PRE; do
        unset "PIP_$name"
    done
    logged "$VENV/bin/python" -I -m pip --disable-pip-version-check --no-input install --no-user --progress-bar off "$@"
}

logged() { "$@" >>"$LOG" 2>&1 9>&- </dev/null; }

fail_with_log() {
    tail -n 15 "$LOG" >&2 || true
    fail "$@" "(all of it is in $LOG)"
}

main "$@"
