#!/usr/bin/env bash
# Fetches what scripts/demo_guest.mjs boots to build/guest: Debian's cloud kernel, the modules that
# it needs for virtio disks, and busybox. Packages are downloaded and unpacked, nothing is
# installed, and the system's own lists stay as they are. Needs apt-get and dpkg on amd64.
set -euo pipefail
cd "$(dirname "$0")/.."

into=$PWD/build/guest
if [ -s "$into/vmlinuz" ]; then
  echo "the guest's kernel is in build/guest"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
mkdir -p lists/partial cache/archives/partial
options=(-o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o "APT::Sandbox::User=root")
apt-get -q "${options[@]}" update
# The package of this name is empty; it depends on the kernel of the day.
kernel=$(apt-cache "${options[@]}" depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p' | head -1)
if [ -z "$kernel" ]; then
  echo "no linux-image-cloud-amd64 here: only Debian has it" >&2
  exit 1
fi
apt-get -q "${options[@]}" download "$kernel" busybox-static
for package in ./*.deb; do dpkg -x "$package" root; done

rm -rf "$into"
mkdir -p "$into/modules"
# In the order in which they are loaded; what the kernel has built in is not there.
drivers=(virtio/virtio_ring virtio/virtio virtio/virtio_pci_legacy_dev
  virtio/virtio_pci_modern_dev virtio/virtio_pci block/virtio_blk)
number=10
for driver in "${drivers[@]}"; do
  for file in root/{,usr/}lib/modules/*/kernel/drivers/"$driver".ko; do
    if [ -f "$file" ]; then cp "$file" "$into/modules/$number-$(basename "$file")"; fi
  done
  number=$((number + 1))
done
cp "$(find root -path '*bin/busybox' -type f | head -1)" "$into/busybox"
# Last, so that what is there is whole.
cp root/boot/vmlinuz-* "$into/vmlinuz"
echo "the guest's kernel is in build/guest"
