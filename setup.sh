#!/bin/sh
# setup.sh LOCK STAMP: makes .venv with the packages that LOCK names, by their hashes, then touches STAMP.
# As root on Debian it first installs what the system lacks; any other user is told what to ask for.
set -eu
lock=$1 stamp=$2
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

python_is_new() { python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
python_has_venv() { python3 -c 'import venv, ensurepip' 2>/dev/null; }

# Only root, and root only where it may mount, can make nodes that are containers.
can_contain() { [ "$(id -u)" = 0 ] && unshare --mount true 2>/dev/null; }

# Debian packages of which the named command, or module, is missing.
missing_packages() {
    command -v python3 >/dev/null || echo python3
    python_has_venv || echo python3-venv
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    if can_contain; then
        command -v systemd-nspawn >/dev/null || echo systemd-container
        command -v mmdebstrap >/dev/null || echo mmdebstrap
        command -v ip >/dev/null || echo iproute2
    else
        # Container nodes bring NumPy in their image; process nodes use this machine's.
        /usr/bin/python3 -c 'import numpy' 2>/dev/null || echo python3-numpy
    fi
    [ "$(id -u)" != 0 ] || missing_from_list "${lock%.lock}.apt"
}

is_installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

# What the tests talk to: real servers and programs; a line "PACKAGE PROGRAM" is content with the program from elsewhere.
# Without them, as an ordinary user, those tests say so and skip.
missing_from_list() {
    [ -e "$1" ] || return 0
    sed 's/ *#.*//' "$1" | while read -r package; do
        [ -z "$package" ] || is_installed "${package%% *}" || command -v "${package#* }" >/dev/null || echo "${package%% *}"
    done
}

install_packages() {
    [ "$(id -u)" = 0 ] || fail "missing: $*; ask for them: apt-get install $*"
    command -v apt-get >/dev/null || fail "missing: $*; install what your system has in their place"
    say "installing $* with apt-get"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >/dev/null
    # A release may lack a program that only tests use; those tests then say so and skip.
    for package; do
        shift
        if apt-cache show "$package" >/dev/null 2>&1; then set -- "$@" "$package"; else say "no package $package here"; fi
    done
    [ $# -gt 0 ] || return 0
    # systemd-container must not bring a systemd that starts services here; it only lends its programs.
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >/dev/null
}

# uv installs in seconds what takes pip a minute; pip is enough where uv cannot be had or cannot reach an index.
fetch_packages() {
    if .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-uv.lock \
        && .venv/bin/uv pip install -q --python .venv/bin/python --require-hashes -r "$lock"; then
        return 0
    fi
    say "uv could not install the packages; trying pip"
    .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r "$lock"
}

# The project itself, as a link: what is edited is what runs.
link_project() {
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
}

missing=$(missing_packages)
# shellcheck disable=SC2086 - one word a package is meant
[ -z "$missing" ] || install_packages $missing
python_is_new || fail "python3 is $(python3 -V 2>&1) and 3.11 is needed; put a newer python3 first on PATH"
if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    rm -rf .venv
    python3 -m venv .venv
fi
say "installing the packages of $lock into .venv"
fetch_packages
link_project
touch "$stamp"
