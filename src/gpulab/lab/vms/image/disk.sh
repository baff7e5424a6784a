#!/usr/bin/env bash
# Usage: disk.sh ROOT DISK: a disk that starts with BIOS and UEFI alike (GPT: BIOS boot, EFI system, root), from a root
# file system; what starts it is installed by the seal. It has room for the whole stack; only what is used takes space.
set -euo pipefail
root=$1 disk=$2
mib=1048576 size=65536 efi=34 system=100
truncate --size "${size}M" "$disk"
sfdisk --quiet "$disk" <<END
label: gpt
start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649
start=2MiB, size=${efi}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=${system}MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
END
truncate --size "${efi}M" "$disk.efi"
mkfs.vfat -F 16 -n EFI "$disk.efi" >/dev/null
dd if="$disk.efi" of="$disk" bs=1M seek=2 conv=notrunc,sparse status=none
rm "$disk.efi"
mke2fs -q -F -t ext4 -L root -d "$root" -E "offset=$((system * mib)),lazy_itable_init=1,lazy_journal_init=1" "$disk" $(((size - system - 1) * 1024))k
