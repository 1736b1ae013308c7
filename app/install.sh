#!/bin/sh
# Install the packages into .venv, unless they are installed: sh app/install.sh [run] [tools]
#
# `run` checks first that the embedded PostgreSQL can run here. `tools` installs the development
# tools too. Only sh and Python's standard library can be used here.
set -eu
cd "$(dirname "$0")/.."
# The account of the embedded PostgreSQL must be able to read .venv.
umask 022

say() {
    printf '%s\n' "$@" >&2
}

fail() {
    say "" "$@"
    exit 1
}

# Print the version of a Python such as 3.11.2, or nothing.
version_of() {
    "$1" -V 2>/dev/null | sed -n 's/^Python \(3[0-9.]*\).*/\1/p'
}

is_new_enough() {
    minor=${1#3.}
    [ -n "$1" ] && [ "${minor%%.*}" -ge 11 ]
}

is_same_minor() {
    [ "${1%.*}" = "${2%.*}" ]
}

# Set `python` and `version` to the first suitable Python.
find_python() {
    too_old="" incomplete=""
    for python in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
        version=$(version_of "$python")
        if ! is_new_enough "$version"; then
            too_old="$too_old${version:+ $python is $version.}"
        elif "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            return
        else
            incomplete=${incomplete:-$python}
        fi
        [ -z "${PYTHON:-}" ] || break
    done
    [ -z "$incomplete" ] || fail \
        "$incomplete has no module to create a virtual environment." \
        "On Debian and Ubuntu, run as root: apt install ${incomplete##*/}-venv" \
        "Then run make again."
    fail \
        "Flagstone needs Python 3.11 or newer.${too_old:- No Python was found.}" \
        "Install a newer one, then run make again. make finds python3.11 to python3.14." \
        "For another name, add PYTHON=/path/to/python to the command."
}

# Set `reason` if .venv must be built again.
check_venv() {
    reason=""
    [ -e .venv/pyvenv.cfg ] || return 0
    current=$(version_of .venv/bin/python)
    first=$(sed -n 's/^version = //p' .venv/pyvenv.cfg)
    folder=$(sed -n 's/^command = .* -m venv //p' .venv/pyvenv.cfg)
    if [ -z "$current" ]; then
        reason="its Python ${first:+$first }is missing"
    elif ! is_new_enough "$current"; then
        reason="it has Python $current"
    elif [ -n "$first" ] && ! is_same_minor "$first" "$current"; then
        reason="it was made by Python $first, and runs $current"
    elif [ -n "${PYTHON:-}" ] && ! is_same_minor "$(version_of "$PYTHON")" "$current"; then
        reason="it has Python $current, and PYTHON is $PYTHON"
    elif [ -n "$folder" ] && [ "$folder" != "$(cd .venv && pwd -P)" ]; then
        reason="it was made in $folder"
    fi
}

# As root: fail if the account that runs PostgreSQL cannot enter this folder.
check_reach() {
    if [ "$(id -u)" != 0 ] || [ -n "${DATABASE_URL:-}${DATABASE_URL_FILE:-}${EMBEDDED_ACCOUNT:-}" ] ||
        grep -Eqs '^[^#]*(DATABASE_URL|EMBEDDED_ACCOUNT)' .env; then
        return 0
    fi
    account=postgres
    id "$account" >/dev/null 2>&1 || account=nobody
    closed=$("$python" -c '
import os, pathlib, pwd, sys
entry = pwd.getpwnam(sys.argv[1])
here = pathlib.Path.cwd()
os.setgroups([])
os.setgid(entry.pw_gid)
os.setuid(entry.pw_uid)
for folder in [*reversed(here.parents), here]:
    try:
        os.chdir(folder)
    except PermissionError:
        print(folder)
        break
' "$account" 2>/dev/null) || return 0
    [ -z "$closed" ] || fail \
        "The account $account cannot enter $closed." \
        "PostgreSQL does not run as root, so Flagstone runs it as $account. Choose one:" \
        "  - run make as an ordinary user, in a folder of that user" \
        "  - move $(pwd) to a place that every account can enter, such as /opt" \
        "  - let every account enter it: chmod o+x $closed" \
        "  - set DATABASE_URL to a PostgreSQL of your own"
}

# Read pip's output, and count the packages on a terminal. The line `failed` ends it.
show_progress() {
    count=0
    while read -r word rest; do
        case $word in
            Collecting)
                count=$((count + 1))
                [ ! -t 2 ] || printf '\r  %s of %s: %s\033[K' "$count" "$1" "${rest%% *}" >&2
                ;;
            Installing)
                [ ! -t 2 ] || printf '\r  Unpack\033[K' >&2
                ;;
            failed)
                return 1
                ;;
        esac
    done
    [ ! -t 2 ] || printf '\r\033[K' >&2
}

install_packages() {
    total=$(grep -v win32 "$lock" | grep -c '^[a-z].*==')
    began=$(date +%s)
    say "Install the $total packages of $lock"
    { .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r "$lock" ||
        echo failed; } | show_progress "$total" || fail \
        "The packages could not be installed. The lines above have the reason." \
        "pip needs its package index: behind a proxy set HTTPS_PROXY, for a mirror PIP_INDEX_URL." \
        "Then run make again: it continues here."
    say "Installed in $(($(date +%s) - began)) s"
}

lock=requirements.lock stamp=.venv/.installed duration="a minute"
case " $* " in
    *" tools "*) lock=tests/requirements.lock stamp=.venv/.installed-dev duration="two minutes" ;;
esac

check_venv
if [ -z "$reason" ] && [ -e "$stamp" ] && [ -z "$(find "$lock" -newer "$stamp")" ]; then
    exit 0
fi
if [ -n "$reason" ] || [ ! -x .venv/bin/pip ]; then
    find_python
else
    python=.venv/bin/python
fi
case " $* " in
    *" run "*) check_reach ;;
esac
[ -w . ] || fail \
    "$(id -un) cannot write to $(pwd), where .venv must be." \
    "Copy this folder to one that $(id -un) can write to, or change its owner. Then run make again."
if [ -n "$reason" ]; then
    say "Remove .venv: $reason"
    rm -rf .venv
fi
if [ ! -x .venv/bin/pip ]; then
    say "Create .venv with Python $version. The first time takes about $duration."
    "$python" -m venv "$(pwd -P)/.venv" || fail \
        "Python could not create .venv. The lines above have the reason. Then run make again."
fi
install_packages
# Last, so that an interrupted installation is continued.
touch .venv/.installed "$stamp"
