#!/bin/sh
# @TITLE@
# STAND-IN of the lab: a self-extracting archive that behaves like NVIDIA's and carries the tools named in its
# standin.json. It has no driver in it.
label="@LABEL@"
md5="@MD5@"
skip=@SKIP@
size=@SIZE@
# The original stops here when it is run by dash; so does this one.
arguments=("$@")
tmproot="${TMPDIR:-/tmp}"
mode=run

usage() {
    cat <<'HELP'
Options:
  --silent              Installation without questions; accepts the EULA. As an
                        ordinary user one of --driver, --uninstall, --toolkit
                        must be given. Without any of them root installs all.
  --driver              Install the CUDA driver.
  --toolkit             Install the CUDA toolkit.
  --toolkitpath=<path>  Where the toolkit goes.
  --defaultroot=<path>  Where libraries outside the toolkit path go.
  --installpath=<path>  Sets every path at once.
  --extract=<path>      Only extract the parts to a directory.
  --override            Ignore compiler, third-party library and toolkit checks.
  --no-man-page --no-opengl-libs --no-drm
  --kernel-source-path=<path> -m=<type>
  --tmpdir=<path>       Used instead of /tmp (full, noexec, ...).
  --uninstall           Remove.
  --nox11               Do not open an xterm.
  --check               Check the integrity of the archive.
  --help                This text.
This file is a stand-in of the lab.
HELP
}

for argument in "${arguments[@]}"; do
    case "$argument" in
        --help) usage; exit 0 ;;
        --check) mode=check ;;
        --tmpdir=*) tmproot="${argument#--tmpdir=}" ;;
        *) ;;
    esac
done

sum=$(tail -n "+$skip" "$0" | md5sum | cut -d ' ' -f 1)
if [ "$sum" != "$md5" ]; then
    echo "Error in MD5 checksums: $sum is different from $md5" >&2
    exit 2
fi
if [ "$mode" = check ]; then
    echo "Verifying archive integrity... MD5 checksums are OK. All good."
    exit 0
fi

scratch="$tmproot/selfgz$$"
if ! mkdir -p "$scratch"; then
    echo "Cannot create target directory $scratch" >&2
    echo "You should try option --tmpdir=<path>" >&2
    exit 1
fi
trap 'rm -rf "$scratch"; exit 15' HUP INT TERM
if ! tail -n "+$skip" "$0" | tar -xzf - --ignore-zeros --no-same-owner -C "$scratch"; then
    rm -rf "$scratch"
    echo "Extraction failed." >&2
    exit 1
fi
cd "$scratch" || exit 1
./cuda-installer "${arguments[@]}"
result=$?
cd /
rm -rf "$scratch"
exit $result
@END@
