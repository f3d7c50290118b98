# Sourced by ./demo and ./check. Creates .venv if needed and sets $python to its interpreter.
# $root must be the top folder of the checkout.

find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    echo "error: Python 3.11 or newer was not found. Install it (https://www.python.org/downloads/) and run this command again." >&2
    return 1
}

# make_environment EXTRA: installs this checkout with one extra if pyproject.toml has changed since the last time.
make_environment() {
    local extra=$1 base wanted stamp
    python="$root/.venv/bin/python"
    if ! "$python" -c '' >/dev/null 2>&1; then
        base=$(find_python)
        echo "Creating .venv with $("$base" --version)" >&2
        "$base" -m venv --clear "$root/.venv" || {
            echo "error: $base could not create a virtual environment (Debian and Ubuntu: apt install python3-venv)." >&2
            return 1
        }
    fi
    stamp="$root/.venv/ovrcoat-$extra.stamp"
    # The stamp contains the folder, because an editable installation depends on it.
    wanted="$(cksum < "$root/pyproject.toml") $root"
    if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
        echo "Installing ovrcoat[$extra] and PyTorch into .venv (first run only; takes some minutes) ..." >&2
        "$python" -m pip install --quiet --disable-pip-version-check --editable "$root[$extra]"
        echo "$wanted" > "$stamp"
    fi
}
