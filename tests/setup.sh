#!/usr/bin/env bash
# Everything that `make demo` and `make test` need on a fresh Debian or Ubuntu: packages, and a virtual environment
# with exactly the locked dependencies. The second run finds it all there and takes a moment.
#   tests/setup.sh demo       what the demo needs
#   tests/setup.sh test       what the tests need, too
#   tests/setup.sh fast       only .venv, and a list of packages that are missing: no root needed
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }

missing_packages() {
    local name
    local lists=(tests/python-packages.txt tests/lab/packages.txt)
    [ "$purpose" = demo ] || lists+=(tests/packages.txt)
    cat "${lists[@]}" | sed 's/#.*//' | tr -s ' \t' '\n' |
        sort -u | while read -r name; do
        [ -z "$name" ] && continue
        dpkg-query --show --showformat='${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || echo "$name"
    done
}

# What not every release of Debian and Ubuntu has; whatever uses it says what it does without.
optional_packages() {
    sed 's/#.*//' tests/lab/packages-if-available.txt | tr -s ' \t' '\n' | while read -r name; do
        [ -z "$name" ] || dpkg-query --show --showformat='${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed ||
            [ -z "$(apt-cache search --names-only "^$name\$" 2>/dev/null)" ] || echo "$name"
    done
}

install_packages() {
    local missing sudo=()
    mapfile -t missing < <(missing_packages; optional_packages)
    [ "${#missing[@]}" -eq 0 ] && return
    if [ "$purpose" = fast ]; then
        say "not installed: ${missing[*]}"
        return
    fi
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    say "installing ${#missing[@]} packages: ${missing[*]}"
    "${sudo[@]}" apt-get update -qq
    mapfile -t missing < <(missing_packages; optional_packages) # of a release that is only known from here on
    # haproxy and the others come without their own services: everything runs under the tests' control.
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >/dev/null
}

find_python() {
    local name
    for name in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        [ -n "$name" ] && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$name" && return
    done
    echo "no Python 3.11 or newer: install python3.11, or set PYTHON" >&2
    exit 1
}

pip_install() {
    .venv/bin/python -m pip install -qq --disable-pip-version-check "$@"
}

make_environment() {
    local python wanted
    python=$(find_python)
    wanted=$({ "$python" --version; cat requirements/dev.txt; } | sha256sum | cut -d' ' -f1)
    if [ "$(cat .venv/.made-of 2>/dev/null)" != "$wanted" ]; then
        say "making .venv with the locked dependencies (a minute or two)"
        rm -rf .venv
        "$python" -m venv .venv
        pip_install --require-hashes -r requirements/dev.txt
        echo "$wanted" >.venv/.made-of
    fi
    # The entry points follow pyproject.toml; the code itself is used in place.
    if ! sha256sum --status --check .venv/.installed 2>/dev/null; then
        pip_install --no-deps --no-build-isolation -e .
        sha256sum pyproject.toml >.venv/.installed
    fi
}

purpose=${1:-test}
install_packages
make_environment
