# shellcheck shell=bash
# The installer of scripts/setup, scripts/lock and scripts/check_locks, which source this file in the project's directory:
# uv, pinned in requirements-uv.txt and installed with pip into .venv-uv, or FLEET2MQTT_UV_VENV.

readonly uv_venv=${FLEET2MQTT_UV_VENV:-.venv-uv}
readonly uv=$uv_venv/bin/uv

# Interpreters are searched for by these scripts. uv downloads none unless it is told to.
export UV_PYTHON_DOWNLOADS=never

fail() {
    echo "$0: $*" >&2
    exit 1
}

# Print the first interpreter that meets a condition: first_python CONDITION CANDIDATE...
# A pyenv shim may be in PATH for a version that is not enabled, so each candidate is run.
first_python() {
    local condition=$1 candidate
    shift
    for candidate in "$@"; do
        if "$candidate" -c "import sys; $condition or sys.exit(1); print(sys.executable)" 2>/dev/null; then
            return
        fi
    done
    return 1
}

# The stamp names everything that an environment is made from. It is written last, so an interrupted run is repeated.
is_current() { [[ -f $1/.made-from && $(<"$1/.made-from") == "$2" ]] && "$1/bin/python" -c ''; }

python_of_bridge() {
    # Debian packages ensurepip apart from python3, in python3-venv.
    first_python 'import venv, ensurepip; sys.version_info >= (3, 11)' python3 python3.13 python3.12 python3.11 ||
        fail "Python 3.11 or newer with venv and ensurepip is required (Debian: apt-get install python3 python3-venv)"
}

pip() { "$uv_venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# uv does not read pip's configuration: hand over its package index and certificates, where uv has none of its own.
configure_uv() {
    local options index certificates
    options=$(pip config list)
    pip_option() { sed -n "/^\(:env:\|global\|install\)\.$1='/{s/[^']*'\(.*\)'/\1/p;q}" <<<"$options"; }
    index=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-$(pip_option index-url)}}
    certificates=${SSL_CERT_FILE:-$(pip_option cert)}
    [[ -z $index ]] || export UV_DEFAULT_INDEX=$index
    [[ -z $certificates ]] || export SSL_CERT_FILE=$certificates
    # A home directory that cannot be written to has no cache.
    mkdir -p "${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/uv}" 2>/dev/null || export UV_NO_CACHE=1
}

install_uv() {
    local lock=requirements-uv.txt python made_from
    made_from=$(sha256sum "$lock")
    if ! is_current "$uv_venv" "$made_from"; then
        python=$(python_of_bridge)
        echo "$0: $lock into $uv_venv"
        rm -f "$uv_venv/.made-from"
        "$python" -m venv --clear "$uv_venv"
        pip install -qq --require-hashes --only-binary :all: --requirement "$lock"
        echo "$made_from" >"$uv_venv/.made-from"
    fi
    configure_uv
}
