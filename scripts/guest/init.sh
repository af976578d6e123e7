#!/bin/busybox sh
# The first and only program of the guest that scripts/demo_guest.mjs boots: uses the first virtio
# disk as swap, the second as a file system, and says on the console what came of it. After each
# step it waits for a line, while the host looks at what is stored.
/bin/busybox mkdir -p /proc /sys /dev /mnt
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
say() { echo "guest: $*"; }
step() {
  say "$*"
  read -r _
}
fail() {
  say "FAILED $*"
  poweroff -f
}
for module in /modules/*.ko; do insmod "$module" || fail "insmod $module"; done
for _ in 1 2 3 4 5 6 7 8 9 10; do
  [ -b /dev/vdb ] && break
  sleep 1
done

mkswap /dev/vda >/dev/null || fail mkswap
swapon -d /dev/vda || fail swapon
step "memory $(sed -n 's/^MemTotal: *//p' /proc/meminfo)"
/need_much "$(sed 's/.*need_mib=\([0-9]*\).*/\1/' /proc/cmdline)" || fail "pages"
step "swapped $(sed -n 's/^pswpout //p' /proc/vmstat) out $(sed -n 's/^pswpin //p' /proc/vmstat) in"
swapoff /dev/vda || fail swapoff
blkdiscard /dev/vda || fail blkdiscard
step "swap discarded"

mke2fs /dev/vdb >/dev/null 2>&1 || fail mke2fs
mount -t ext4 /dev/vdb /mnt || mount -t ext2 /dev/vdb /mnt || fail mount
n=0
while [ $n -lt 8 ]; do
  # Numbers as text, which shrink, and noise, which does not.
  seq $((n * 100000)) $((n * 100000 + 100000)) > "/mnt/text$n"
  head -c 500000 /dev/urandom > "/mnt/noise$n"
  n=$((n + 1))
done
(cd /mnt && sha256sum text* noise*) > /sums || fail write
umount /mnt || fail umount
echo 3 > /proc/sys/vm/drop_caches
mount -t ext4 /dev/vdb /mnt || mount -t ext2 /dev/vdb /mnt || fail "mount again"
(cd /mnt && sha256sum -c /sums >/dev/null) || fail checksums
step "checksums $(wc -l < /sums) files agree"
rm /mnt/text* /mnt/noise[0-3]
sync
fstrim /mnt || fail fstrim
step "trimmed"
(cd /mnt && grep -E ' noise[4-7]$' /sums | sha256sum -c >/dev/null) || fail "checksums after"
umount /mnt
step "over"
poweroff -f
