#!/usr/bin/env bash
# Installs the programs that tests and benchmarks compare with: a C compiler with liblz4, lz4 and
# zstd, memcached with its clients and Redis, perl for memcached's own tests, NBD clients and
# nbdkit, and (with CI=true) Chromium for the reports, memcached's and nbd's tests themselves, QEMU
# with a kernel for it, webpack, and the optional package zstd-napi. Needs root on Debian or Ubuntu;
# for others it names what is missing, and the tests that need it are skipped by name. With CI=true
# a missing program is a failure.
set -euo pipefail

missing=()
packages=()

# want NAME PACKAGES… -- TEST…: notes the packages if the test fails
want() {
  local name=$1
  shift
  local wanted=()
  while [ "$1" != "--" ]; do
    wanted+=("$1")
    shift
  done
  shift
  "$@" >/dev/null 2>&1 && return
  missing+=("$name")
  packages+=("${wanted[@]}")
}

has_lz4_header() {
  echo '#include <lz4.h>' | gcc -E -o /dev/null -
}

has_chromium() {
  command -v chromium || command -v chromium-browser || command -v google-chrome
}

has_zstd_napi() {
  (cd "$(dirname "$0")/.." && node -e 'require("zstd-napi/binding")')
}

has_webpack() {
  [ -e "$(dirname "$0")/../build/webpack/node_modules/webpack" ]
}

has_libnbd_python() {
  PATH="/usr/bin:$PATH" python3 -c 'import nbd'
}

check() {
  missing=()
  packages=()
  want gcc gcc libc6-dev -- command -v gcc
  want liblz4 liblz4-dev -- has_lz4_header
  want lz4 lz4 -- command -v lz4
  want zstd zstd -- command -v zstd
  want memcached memcached -- command -v memcached
  want redis-server redis-server -- command -v redis-server
  want nbdinfo libnbd-bin -- command -v nbdinfo
  want nbdfuse libnbd-bin fuse3 -- command -v nbdfuse
  want nbdsh python3-libnbd -- has_libnbd_python
  want nbdkit nbdkit -- command -v nbdkit
  want nbd-client nbd-client -- command -v nbd-client
  want qemu-img qemu-utils -- command -v qemu-img
  want fio fio -- command -v fio
  want mkfs.ext4 e2fsprogs -- command -v mkfs.ext4
  want memccapable libmemcached-tools -- command -v memccapable
  want memcaslap libmemcached-tools -- command -v memcaslap
  want prove perl -- command -v prove
  want "perl's TLS sockets" libio-socket-ssl-perl -- perl -MIO::Socket::SSL -e 1
  want openssl openssl -- command -v openssl
  want script bsdutils -- command -v script
  want systemd-analyze systemd -- command -v systemd-analyze
  if [ "${CI:-}" = "true" ]; then
    want chromium chromium -- has_chromium
    want dpkg-source dpkg-dev -- command -v dpkg-source
    want pkg-config pkg-config -- command -v pkg-config
    want "glib's headers" libglib2.0-dev -- pkg-config glib-2.0
    want "GnuTLS's headers" libgnutls28-dev -- pkg-config gnutls
    want qemu-system-x86_64 qemu-system-x86 -- command -v qemu-system-x86_64
  fi
}

check
if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  apt-get install -q -y --no-install-recommends "${packages[@]}" || true
  check
fi
if [ "${CI:-}" = "true" ]; then
  # As a development dependency, because npm installs no optional peer that is only named.
  has_zstd_napi 2>/dev/null ||
    (cd "$(dirname "$0")/.." && npm install --no-save --save-dev --no-audit --no-fund zstd-napi)
  has_zstd_napi
  has_webpack ||
    npm install --prefix "$(dirname "$0")/../build/webpack" --no-audit --no-fund webpack@5
  has_webpack
  "$(dirname "$0")/fetch-memcached-tests.sh"
  "$(dirname "$0")/fetch-nbd-tester.sh"
  "$(dirname "$0")/fetch-guest.sh"
fi
if [ ${#missing[@]} -eq 0 ]; then
  echo "all peers are installed"
  exit 0
fi
for name in "${missing[@]}"; do
  echo "skipped: $name is not installed" >&2
done
echo "to install: apt-get install ${packages[*]} (as root)" >&2
if [ "${CI:-}" = "true" ]; then
  exit 1
fi
