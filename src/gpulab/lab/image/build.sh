#!/usr/bin/env bash
# Usage: build.sh ROOT SUITE SOURCES CACHE [MIRROR]
# Makes the root file system of a container host in ROOT. SOURCES is a sources.list for it (may be empty), CACHE keeps
# downloaded packages. Run it in a mount namespace of its own: then a kill at any moment leaves no mount behind.
set -euo pipefail
root=$1 suite=$2 sources=$3 cache=$4 mirror=${5:-}
here=$(dirname "$(readlink -f "$0")")
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

packages() { grep -v '^#' "$here/$1"; }
in_root() { chroot "$root" "$@"; }

echo "== base system"
mkdir -p "$cache"
debootstrap --variant=minbase --cache-dir="$cache" --include="$(packages base.txt | paste -sd,)" "$suite" "$root" ${mirror:+"$mirror"}

mount -t proc proc "$root/proc"
# No service starts while the image is made.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 0755 "$root/usr/sbin/policy-rc.d"
[ ! -s "$sources" ] || cp "$sources" "$root/etc/apt/sources.list"

# A host of the lab does not outlive this machine, so dpkg need not wait for the disk after every file.
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/gpulab-lab"

echo "== kernel"
# This kernel never boots, but /boot, /lib/modules and the initramfs are real. A full initramfs takes minutes; a small one seconds.
printf 'MODULES=list\nCOMPRESS=gzip\nCOMPRESSLEVEL=1\nRESUME=none\n' >"$root/etc/initramfs-tools/conf.d/gpulab-lab"
in_root apt-get -q update
mapfile -t kernel < <(packages kernel.txt)
in_root apt-get -q install --yes --no-install-recommends "${kernel[@]}"

echo "== packages for later"
in_root apt-get clean
mapfile -t downloaded < <(packages downloaded.txt)
in_root apt-get -q install --yes --no-install-recommends --download-only "${downloaded[@]}"

echo "== settings"
# Every host makes its own keys and its own machine id.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id"
mkdir -p "$root/etc/systemd/system/ssh.service.d"
printf '[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n' \
  >"$root/etc/systemd/system/ssh.service.d/50-gpulab-lab.conf"
printf 'PermitRootLogin prohibit-password\nPasswordAuthentication no\n' >"$root/etc/ssh/sshd_config.d/50-gpulab-lab.conf"
install -d -m 0700 "$root/root/.ssh"
printf 'This is a container host of a gpulab lab: it has no kernel of its own and no GPU.\n' >"$root/etc/motd"
rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf" "$root/etc/hostname"
umount "$root/proc"
