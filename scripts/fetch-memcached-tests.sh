#!/usr/bin/env bash
# Fetches memcached's own protocol tests (Debian's source package) to build/memcached, where
# test/interop/memcached.long.test.ts finds them. They are not kept here. Needs apt-get on Debian or
# Ubuntu, dpkg-dev, gcc and perl; nothing is installed, and the system's own lists stay as they are.
set -euo pipefail
cd "$(dirname "$0")/.."

into=$PWD/build/memcached
if [ -d "$into/t" ] && [ -x "$into/timedrun" ]; then
  echo "memcached's tests are in build/memcached"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/source"

# The system's sources, as sources of source packages.
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
  case $file in
    *.list) sed -n 's/^deb /deb-src /p' "$file" ;;
    *.sources) sed 's/^Types:.*/Types: deb-src/' "$file" ;;
  esac > "$work/source/$(basename "$file")" 2>/dev/null || true
done
options=(-q -o "Dir::Etc::sourcelist=-" -o "Dir::Etc::sourceparts=$work/source"
  -o "Dir::State::lists=$work/lists" -o "APT::Sandbox::User=root")
apt-get "${options[@]}" update
(cd "$work" && apt-get "${options[@]}" --only-source source memcached)
source=$(find "$work" -maxdepth 1 -type d -name 'memcached-*' | head -1)
rm -rf "$into"
mkdir -p "$into/doc"
cp -r "$source/t" "$into/t"
cp "$source/doc/protocol.txt" "$into/doc/"
# The tests start their server through this, which ends it after ten minutes.
gcc -O1 -o "$into/timedrun" "$source/timedrun.c"
echo "memcached's tests are in build/memcached"
