#!/usr/bin/env bash
# Usage: build.sh ROOT SUITE SOURCES CACHE FLAVOUR [MIRROR]
# Makes the root file system of a virtual machine in ROOT, with the kernel flavour cloud or generic. SOURCES is a
# sources.list for it (may be empty), CACHE keeps downloaded packages. Run it in a mount namespace of its own: then a
# kill at any moment leaves no mount behind.
set -euo pipefail
root=$1 suite=$2 sources=$3 cache=$4 flavour=$5 mirror=${6:-}
here=$(dirname "$(readlink -f "$0")")
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
case $flavour in
generic) packages=(linux-image-amd64 linux-headers-amd64) ;;
*) packages=("linux-image-$flavour-amd64" "linux-headers-$flavour-amd64") ;;
esac

names() { grep -v '^#' "$here/$1"; }
in_root() { chroot "$root" "$@"; }
add() { in_root apt-get -q install --yes --no-install-recommends "$@"; }

echo "== base system"
mkdir -p "$cache"
debootstrap --variant=minbase --cache-dir="$cache" --include="$(names base.txt | paste -sd,)" "$suite" "$root" ${mirror:+"$mirror"}
cp -a "$here/files/." "$root/"
mkdir -p "$root/boot/efi"
chown -R root:root "$root/etc" "$root/usr/local"

mount -t proc proc "$root/proc"
# No service starts while the image is made, and no dpkg of the build waits for the disk.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 0755 "$root/usr/sbin/policy-rc.d"
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/gpulab-build"
# What finds the root file system, instead of all that most machines may need.
printf 'virtio_pci\nvirtio_blk\next4\n' >>"$root/etc/initramfs-tools/modules"

echo "== kernel and tools"
# The kernel of the suite itself comes first, without its updates: the newer one is left for an update to bring.
[ ! -s "$sources" ] || grep -E " $suite " "$sources" >"$root/etc/apt/sources.list"
in_root apt-get -q update
mapfile -t tools < <(names tools.txt)
add "${packages[@]}" "${tools[@]}"

echo "== updates and packages for later"
[ ! -s "$sources" ] || cp "$sources" "$root/etc/apt/sources.list"
in_root apt-mark hold "${packages[@]}" >/dev/null
in_root apt-get -q update
in_root apt-get -q upgrade --yes --no-install-recommends
in_root apt-mark unhold "${packages[@]}" >/dev/null
in_root apt-get clean
mapfile -t downloaded < <(names downloaded.txt)
add --download-only "${packages[@]}" "${downloaded[@]}"

echo "== settings"
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/etc/dpkg/dpkg.cfg.d/gpulab-build"
: >"$root/etc/machine-id"
install -d -m 0700 "$root/root/.ssh"
in_root systemctl --quiet enable systemd-networkd.service gpulab-lab.service gpulab-lab-card.service
# Every unit less is half a second less under emulation.
mapfile -t masked < <(names masked.txt)
in_root systemctl --quiet mask "${masked[@]}"

# What a module for its kernel is built with, for a machine that builds faster than an emulated one.
(cd "$root" && tar --create --file "$root.headers.tar" usr/lib/modules/*/{build,source} usr/lib/linux-kbuild-* usr/src)
chmod 0644 "$root.headers.tar"
# The seal starts with these.
cp "$root"/boot/vmlinuz-* "$root.vmlinuz"
cp "$root"/boot/initrd.img-* "$root.initrd"
rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf" "$root/etc/hostname"
umount "$root/proc"
