#!/bin/sh
# Makes the virtual environment, and says what is missing where the machine's Python cannot.
# usage: make-venv.sh PYTHON FOLDER
set -eu
python=$1
folder=$2

if ! command -v "$python" >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get update -q && apt-get install -q -y --no-install-recommends python3 python3-venv
    else
        echo "labctl needs Python 3.11 or newer; on Debian: sudo apt-get install python3 python3-venv" >&2
        exit 2
    fi
fi

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "labctl needs Python 3.11 or newer, and $python is $("$python" -V 2>&1)." >&2
    echo "Name another one: make PYTHON=/path/to/python3.11 ..." >&2
    exit 2
fi

# Debian splits venv's ensurepip off into a package of its own.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get update -q && apt-get install -q -y --no-install-recommends python3-venv
    else
        echo "$python cannot make virtual environments; on Debian: sudo apt-get install python3-venv" >&2
        exit 2
    fi
fi

echo "making a virtual environment in $folder ..."
"$python" -m venv "$folder"
