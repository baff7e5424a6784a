#!/bin/sh
# NAME:  Miniforge3 (gpulab stand-in)
# VER:   @VERSION@
# PLAT:  linux-64
#
# This is NOT Miniforge. It is a stand-in that gpulab builds for its lab, with the options, the exit codes and the
# layout of Miniforge's installer; the Python inside is Debian 12's, the conda inside is driven by py-rattler.

set -eu
unset LD_LIBRARY_PATH PYTHONPATH PYTHONHOME

PREFIX="${HOME:-/opt}/miniforge3"
BATCH=0
FORCE=0
UPDATE=0
THIS_FILE=$(basename "$0")
THIS_PATH=$(cd "$(dirname "$0")" && pwd)/$THIS_FILE
PAYLOAD_START=@PAYLOAD_START@
PAYLOAD_SIZE=@PAYLOAD_SIZE@

usage() {
    cat <<EOF
usage: $THIS_FILE [options]

Installs Miniforge3 @VERSION@ (gpulab stand-in)
-b           run install in batch mode (without manual intervention)
-f           no error if install prefix already exists
-h           print this help message and exit
-p PREFIX    install prefix, defaults to $PREFIX, must not contain spaces.
-s           skip running pre/post-link/install scripts
-u           update an existing installation
EOF
}

# Where a fault test wants to stop an installation half-way, it makes this file and removes it afterwards.
pause_at() {
    while [ -e "/run/gpulab-standin/pause-$1" ]; do sleep 0.2; done
}

while getopts "bfhp:su" option; do
    case "$option" in
        b) BATCH=1 ;;
        f) FORCE=1 ;;
        h) usage; exit 2 ;;
        p) PREFIX=$OPTARG ;;
        s) ;;
        u) UPDATE=1; FORCE=1 ;;
        *) printf "ERROR: did not recognize option '%s', please try -h\n" "$option" >&2; exit 1 ;;
    esac
done

if [ "$BATCH" = 0 ]; then
    printf 'ERROR: the gpulab stand-in for Miniforge asks no questions: run it with -b.\n' >&2
    exit 1
fi

case "$PREFIX" in
    *' '*) printf 'ERROR: Cannot install into directories with spaces.\n' >&2; exit 1 ;;
esac

if [ "$FORCE" = 0 ] && [ -e "$PREFIX" ]; then
    printf "ERROR: File or directory already exists: '%s'\n" "$PREFIX" >&2
    printf 'If you want to update an existing installation, use the -u option.\n' >&2
    exit 1
fi

FOUND_SIZE=$(tail -c "+$PAYLOAD_START" "$THIS_PATH" | wc -c)
if [ "$FOUND_SIZE" -ne "$PAYLOAD_SIZE" ]; then
    printf 'ERROR: size of %s should be %s bytes\n' "$THIS_FILE" "$((PAYLOAD_START - 1 + PAYLOAD_SIZE))" >&2
    exit 1
fi

if ! mkdir -p "$PREFIX"; then
    printf "ERROR: Could not create directory: '%s'\n" "$PREFIX" >&2
    exit 1
fi
PREFIX=$(cd "$PREFIX" && pwd)
printf 'PREFIX=%s\n' "$PREFIX"
printf 'This is the gpulab stand-in for Miniforge3 @VERSION@.\n'

printf 'Unpacking bootstrapper...\n'
mkdir -p "$PREFIX/conda-meta" "$PREFIX/pkgs" "$PREFIX/envs"
touch "$PREFIX/conda-meta/history"
printf 'Unpacking payload...\n'
tail -c "+$PAYLOAD_START" "$THIS_PATH" | tar -xzf - -C "$PREFIX" --no-same-owner
pause_at installer

printf '\nInstalling base environment...\n\n'
"$PREFIX/pkgs/@PYTHON_DIST@/bin/python3.11" -I -c \
    'import sys; sys.path.insert(0, sys.argv[1]); from gpulab_standin_conda.base import main; main(*sys.argv[2:])' \
    "$PREFIX/pkgs/@CONDA_DIST@/lib/gpulab-standin" "$PREFIX" "$PREFIX/pkgs/base.txt"
rm -f "$PREFIX/pkgs/base.txt"

if [ "$UPDATE" = 0 ] || [ ! -e "$PREFIX/.condarc" ]; then
    printf 'channels:\n  - conda-forge\n' > "$PREFIX/.condarc"
fi
printf 'installation finished.\n'
exit 0
