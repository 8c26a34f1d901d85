#!/bin/sh
# Installs the Debian packages that the tests use real parts from; quick when all are there, says the command if not root.
set -eu
packages="
pulseaudio pulseaudio-utils libpulse0
pipewire pipewire-pulse wireplumber dbus-daemon
libportaudio2 libasound2-plugins
chromium chromium-driver firefox-esr
openssh-server openssh-client openssl rsync socat ser2net uhubctl iproute2 curl
postgresql-15 libfaketime
xvfb at-spi2-core libatk-adaptor openbox mate-calc mousepad zenity featherpad gtk-3-examples
"

command -v npm >/dev/null 2>&1 || packages="$packages npm"
appium=$(dirname "$0")/install-appium.sh

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "The tests need these Debian packages or their like:" $packages >&2
    for program in pulseaudio pactl pipewire-pulse chromium chromedriver firefox npm ssh; do
        command -v "$program" >/dev/null 2>&1 || { echo "$program is missing" >&2; exit 2; }
    done
    exec sh "$appium"
fi

missing=
for package in $packages; do
    # shellcheck disable=SC2016 # the dollar belongs to dpkg-query
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exec sh "$appium"

if [ "$(id -u)" != 0 ]; then
    echo "The tests need packages that are not installed. Install them, then try again:" >&2
    echo "    sudo apt-get install --no-install-recommends$missing" >&2
    exit 2
fi

echo "installing for the tests:$missing"
export DEBIAN_FRONTEND=noninteractive
# No service of a test part may start by itself: the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -q
# shellcheck disable=SC2086 # a list of words
apt-get install -q -y --no-install-recommends $missing
sh "$appium"
