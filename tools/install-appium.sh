#!/bin/sh
# Installs Appium with its fake and chromium drivers into .appium of this checkout, for the tests; quick when it is there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
place=${1:-$here/../.appium}
mkdir -p "$place"
cmp -s "$here/appium/package.json" "$place/installed.json" && exit 0

if ! command -v npm >/dev/null 2>&1; then
    echo "The tests need npm to install Appium: sudo apt-get install --no-install-recommends npm" >&2
    exit 2
fi
echo "installing Appium for the tests into $place ..."
cp "$here/appium/package.json" "$place/package.json"
# No script of a package runs: Appium's would look for more drivers to install.
npm install --prefix "$place" --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error
cp "$here/appium/package.json" "$place/installed.json"
