#!/usr/bin/env bash
# Builds nbd-tester-client, the client of the nbd project's own tests, which no package has, from
# Debian's source package, to build/nbd, where test/interop/nbd_tester.long.test.ts finds it; its
# transactions and certificates too. They are not kept here. Needs apt-get on Debian or Ubuntu,
# dpkg-dev, gcc, pkg-config, and the headers of glib and GnuTLS; nothing is installed, and the
# system's own lists stay as they are.
set -euo pipefail
cd "$(dirname "$0")/.."

into=$PWD/build/nbd
if [ -x "$into/nbd-tester-client" ]; then
  echo "nbd-tester-client is in build/nbd"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# fetch_source FOLDER EDIT: gets nbd's source from the system's sources, as sed changes them. A
# mirror may lack the source of its older releases, so stable is asked too.
fetch_source() {
  local folder=$work/$1 edit=$2
  mkdir -p "$folder/lists/partial" "$folder/source" "$folder/package"
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
    case $file in
      *.list) sed -n 's/^deb /deb-src /p' "$file" ;;
      *.sources) sed 's/^Types:.*/Types: deb-src/' "$file" | sed "$edit" ;;
    esac > "$folder/source/$(basename "$file")" 2>/dev/null || true
  done
  local options=(-q -o "Dir::Etc::sourcelist=-" -o "Dir::Etc::sourceparts=$folder/source"
    -o "Dir::State::lists=$folder/lists" -o "APT::Sandbox::User=root")
  apt-get "${options[@]}" update &&
    (cd "$folder/package" && apt-get "${options[@]}" --only-source source nbd)
}

fetch_source own '' ||
  fetch_source stable '/^Suites:/s/\b\(oldoldstable\|oldstable\|bullseye\|bookworm\)\b/stable/g'
source=$(find "$work" -path '*/package/nbd-*' -maxdepth 3 -type d | head -1)

# What its configure would find; it asks for a parser generator that the client does not need.
cat > "$source/config.h" <<'END'
#define HAVE_GNUTLS 1
#define WITH_GNUTLS 1
#define SIZEOF_UNSIGNED_SHORT_INT 2
#define SIZEOF_UNSIGNED_INT 4
#define SIZEOF_UNSIGNED_LONG_INT 8
#define SIZEOF_UNSIGNED_LONG_LONG_INT 8
#define PACKAGE_VERSION "zcache"
#define VERSION "zcache"
END
rm -rf "$into"
mkdir -p "$into"
cp "$source"/tests/run/*.tr "$into/"
cp -r "$source/tests/run/certs" "$into/certs"
cd "$source"
# shellcheck disable=SC2046 # flags are words
gcc -O1 -w -I. -o "$work/client" tests/run/nbd-tester-client.c cliserv.c buffer.c crypto-gnutls.c \
  $(pkg-config --cflags --libs glib-2.0 gnutls)
# Last, so that what is there is whole.
cp "$work/client" "$into/nbd-tester-client"
echo "nbd-tester-client is in build/nbd"
