#!/bin/sh
# gpulab stand-in, not NVIDIA software: a self-extracting archive with the options of NVIDIA's .run files.
# Below the last line of this script follows a tar archive; it is not compressed, so that its bytes never change.
title="NVIDIA Accelerated Graphics Driver for Linux-x86_64 @VERSION@ (gpulab stand-in, not NVIDIA software)"
target="NVIDIA-Linux-x86_64-@VERSION@"
script="./nvidia-installer"
checksum="@CHECKSUM@"
archive_size=@ARCHIVE_SIZE@
header_size=@HEADER_SIZE@
unpacked_kilobytes=@UNPACKED_KILOBYTES@

archive() {
    tail -c "+$((header_size + 1))" "$0"
}

usage() {
    cat <<EOF

$title

$0 [options] [options of nvidia-installer]

  --info                  Print embedded info and exit.
  --lsm                   Print embedded LSM entry (or no LSM) and exit.
  --pkg-history           Print the package history and exit.
  --list                  Print the list of files in the archive and exit.
  --check                 Check the integrity of the archive and exit.
  -x | --extract-only     Extract the contents of the archive, but do not run the installer.
  --target <directory>    Extract into this directory.
  --keep                  Do not delete the extracted files after running the installer.
  --extract-decompress    Print the embedded decompressor and exit.
  --add-this-kernel       Not part of this stand-in.
  --apply-patch <file>    Not part of this stand-in.

Every other option is passed to nvidia-installer; see --advanced-options.

EOF
}

info() {
    cat <<EOF
Identification: $title
Target directory: $target
Uncompressed size: $unpacked_kilobytes KB
Compression: none
Script run after extraction:
     $script
$target will be removed after extraction
EOF
}

verify() {
    printf 'Verifying archive integrity... '
    size=$(wc -c <"$0")
    if [ "$size" -ne "$((header_size + archive_size))" ]; then
        echo "Unexpected archive size." >&2
        exit 2
    fi
    found=$(archive | sha256sum | cut -d " " -f 1)
    if [ "$found" != "$checksum" ]; then
        echo "Error in SHA256 checksums: $found is different from $checksum" >&2
        exit 2
    fi
    echo "SHA256 checksums are OK. All good."
}

extract() {
    echo "Creating directory $1"
    mkdir -p "$1" || exit 1
    verify
    echo "Uncompressing $title..."
    archive | (cd "$1" && tar -xf - --no-same-owner) || {
        echo "Extraction failed." >&2
        exit 1
    }
}

unavailable() {
    echo "$0: $1 is not part of this gpulab stand-in." >&2
    exit 1
}

extract_only=no
keep=no
directory=""
count=$#
while [ "$count" -gt 0 ]; do
    argument=$1
    shift
    count=$((count - 1))
    case $argument in
    --info) info; exit 0 ;;
    --lsm) echo "No LSM."; exit 0 ;;
    --pkg-history) echo "No package history: gpulab stand-in, not NVIDIA software."; exit 0 ;;
    --list) archive | tar -tf -; exit $? ;;
    --check) verify; exit 0 ;;
    --extract-decompress) printf '#!/bin/sh\nexec cat "$@"\n'; exit 0 ;;
    --help | -h) usage; exit 0 ;;
    --add-this-kernel | --apply-patch) unavailable "$argument" ;;
    -x | --extract-only) extract_only=yes ;;
    --keep) keep=yes ;;
    --target)
        if [ "$count" -lt 1 ]; then
            echo "$0: --target requires a directory." >&2
            exit 1
        fi
        directory=$1
        shift
        count=$((count - 1))
        ;;
    *) set -- "$@" "$argument" ;;
    esac
done

if [ "$extract_only" = yes ]; then
    extract "${directory:-$target}"
    exit 0
fi

if [ -z "$directory" ]; then
    if [ "$keep" = yes ]; then
        directory=$target
    else
        directory=$(mktemp -d "${TMPDIR:-/tmp}/selfgz.XXXXXX") || exit 1
    fi
fi
extract "$directory"
here=$PWD
cd "$directory" || exit 1
"$script" "$@"
status=$?
cd "$here" || exit 1
[ "$keep" = yes ] || rm -rf "$directory"
exit "$status"
# The archive begins behind the end of this line.
