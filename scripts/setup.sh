# Sourced by the other scripts: from a fresh clone to a virtual environment with a built C core, then only what changed.
#
# Needs Python 3.11 or later and a C compiler; says which Debian package is missing, and installs it itself where it may
# (root, with CI set). What was done last is told by stamps in .venv, so that a second run takes no time.
#
#   set_up EXTRAS      EXTRAS: "" or "[test]". Afterwards $VENV/bin has python, xenproc and the rest.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/.venv

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 3; }

# ---- Debian packages ----

may_install() { [ "$(id -u)" = 0 ] && [ -n "${CI:-}" ] && command -v apt-get >/dev/null; }

# need WHAT PACKAGE...: something is missing that these packages have. Returns if it could be installed.
need() {
    local what=$1
    shift
    if ! may_install; then
        say "missing: $what. On Debian or Ubuntu: apt-get install $*"
        exit 3
    fi
    apt_install "$@"
}

apt_install() {
    say "installing: $*"
    # One list for all runs of a machine that stays: fetched once an hour at most.
    if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mmin -60 -print -quit 2>/dev/null)" ]; then
        apt-get update -qq >/dev/null
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >/dev/null
}

# ---- Python, compiler, headers ----

is_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local name
    for name in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$name" >/dev/null && is_python "$name"; then
            PYTHON=$(command -v "$name")
            return 0
        fi
    done
    return 1
}

# The package of the Python in use: python3-dev for Debian's default, python3.12-dev for another one of Debian's.
python_package() {
    "$PYTHON" - "$1" <<'END'
import os, sys
version = "%d.%d" % sys.version_info[:2]
default = os.path.realpath("/usr/bin/python3").endswith(version)
print(("python3" if default else "python" + version) + "-" + sys.argv[1])
END
}

from_sysconfig() { "$PYTHON" -c "import sysconfig; print($1)"; }

# What the build will use: $CC, or the compiler that this Python was built with.
compiler() { printf '%s' "${CC:-$(from_sysconfig 'sysconfig.get_config_var("CC").split()[0]')}"; }

# compiles HEADER...: does a program with these headers compile against the Python in use?
compiles() {
    local include
    include=$(from_sysconfig 'sysconfig.get_path("include")')
    printf '#include <%s>\n' "$@" | $(compiler) -I"$include" -std=c11 -fsyntax-only -x c - >/dev/null 2>&1
}

check_host() {
    case "$(uname -s)-$(uname -m)" in
        Linux-x86_64) ;;
        *) die "xenproc runs on Linux on x86-64; this is $(uname -s) on $(uname -m)" ;;
    esac
    find_python || { need "Python 3.11 or later" python3 && find_python; } || die "no Python 3.11 or later was found"
    "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null || need "Python's venv module" "$(python_package venv)"
    command -v "$(compiler)" >/dev/null || need "The C compiler $(compiler)" gcc libc6-dev
    compiles stdio.h stdatomic.h || need "The C library's headers" gcc libc6-dev
    compiles linux/userfaultfd.h linux/seccomp.h || need "The kernel's headers" linux-libc-dev
    compiles Python.h || need "Python.h of $("$PYTHON" -V)" "$(python_package dev)"
    compiles stdio.h stdatomic.h linux/userfaultfd.h Python.h || die "$(compiler) cannot compile a program with Python.h"
}

# ---- the environment ----

digest() { (cd "$ROOT" && "$@" | sha256sum | cut -d' ' -f1); }
what_is_needed() { cat pyproject.toml setup.py; "$PYTHON" -VV; printf '%s\n' "$ROOT"; }
what_is_built() { find native -type f \( -name '*.[ch]' -o -name build.py \) -print0 | sort -z | xargs -0 sha256sum; }

# pip's own words only when it fails.
quiet() {
    local log=$VENV/set-up.log
    "$@" >"$log" 2>&1 && return
    cat "$log" >&2
    say "this failed: $*"
    if grep -q 'ffi\.h' "$log"; then
        say "cffi had to be built, and libffi's headers are missing. On Debian or Ubuntu: apt-get install libffi-dev"
    fi
    exit 3
}

install_package() {
    say "setting up .venv (once; a minute or two)"
    # A Python that is gone or has changed leaves an environment that cannot be mended.
    [ -x "$VENV/bin/python" ] && is_python "$VENV/bin/python" || rm -rf "$VENV"
    [ -x "$VENV/bin/pip" ] || "$PYTHON" -m venv "$VENV" || die "could not make $VENV"
    quiet "$VENV/bin/python" -m pip install --disable-pip-version-check "setuptools>=77" "cffi>=2"
    quiet "$VENV/bin/python" -m pip install --disable-pip-version-check --no-build-isolation --editable "$ROOT$1"
}

set_up() {
    local extras=$1 stamp needed built
    find_python || check_host
    needed="$(digest what_is_needed) $extras"
    built=$(digest what_is_built)
    stamp=$VENV/stamp
    # Python itself is enough for an environment that holds more than what is asked for.
    if ! grep -qxF "$needed" "$stamp" 2>/dev/null || [ ! -x "$VENV/bin/python" ]; then
        check_host
        install_package "$extras"
        printf '%s\n' "$needed" "${needed% *} " "$built" >"$stamp"
    elif ! grep -qxF "$built" "$stamp" || [ ! -e "$ROOT/xenproc/_native.abi3.so" ]; then
        check_host
        say "building the C core"
        (cd "$ROOT" && quiet "$VENV/bin/python" native/build.py)
        printf '%s\n' "$(grep -vE '^[0-9a-f]{64}$' "$stamp")" "$built" >"$stamp.new"
        mv "$stamp.new" "$stamp"
    fi
}
