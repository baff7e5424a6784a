#!/bin/bash
# STAND-IN of the lab for NVIDIA's cuda-installer: its options, checks, log and summary, and a real toolkit.
# shellcheck disable=SC2317
. ./release.env
here=$PWD
short=${CUDA_VERSION%.*}

if ! ldconfig -p 2>/dev/null | grep -q 'libxml2\.so\.2 '; then
    echo "./cuda-installer: error while loading shared libraries: libxml2.so.2:" \
        "cannot open shared object file: No such file or directory" >&2
    exit 127
fi

# A log left in /tmp by another user makes the original crash.
if [ -e /tmp/cuda-installer.log ] && [ ! -O /tmp/cuda-installer.log ]; then
    kill -SEGV $$
fi
log=/tmp/cuda-installer.log
[ "$(id -u)" = 0 ] && log=/var/log/cuda-installer.log
: >"$log" || exit 1

info() { echo "[INFO]: $*" >>"$log"; }
stop() {
    echo "[ERROR]: $*" >>"$log"
    echo " $*"
    echo " See log at $log for details."
    exit 1
}

silent='' driver='' toolkit='' override='' uninstall='' extract=''
toolkitpath=/usr/local/cuda-$short
for argument in "$@"; do
    value=${argument#*=}
    case "$argument" in
        --silent) silent=yes ;;
        --driver) driver=yes ;;
        --toolkit) toolkit=yes ;;
        --toolkitpath=* | --installpath=*) toolkitpath=${value%/} ;;
        --extract=*) extract=$value ;;
        --override) override=yes ;;
        --uninstall) uninstall=yes ;;
        --defaultroot=* | --tmpdir=* | --kernel-source-path=* | -m=* | --nox11) ;;
        --no-man-page | --no-opengl-libs | --no-drm | --run-nvidia-xconfig) ;;
        *)
            echo "Unknown option: $argument"
            exit 1
            ;;
    esac
done

install_driver() {
    mkdir -p /var/lib/gpulab-standin
    echo "$BUNDLED_DRIVER" >/var/lib/gpulab-standin/driver-was-installed
}

remove_toolkit() {
    [ -x "$toolkitpath/bin/cuda-uninstaller" ] || stop "No toolkit to remove in $toolkitpath."
    "$toolkitpath/bin/cuda-uninstaller" --silent
}

check_compiler() {
    info "Checking compiler version..."
    gcc=$(command -v gcc || true)
    info "gcc location: $gcc"
    if [ -z "$gcc" ]; then
        stop "Missing gcc. gcc is required to continue."
    fi
    version=$("$gcc" -dumpfullversion)
    info "gcc version: $version"
    if [ "${version%%.*}" -gt 14 ]; then
        stop "unsupported compiler version: $version. Use --override to override this check."
    fi
}

write_uninstaller() {
    cat >"$1/bin/cuda-uninstaller" <<UNINSTALLER
#!/bin/bash
# STAND-IN of the lab for NVIDIA's cuda-uninstaller.
if [ "\$1" != --silent ] && [ ! -t 0 ]; then
    echo "cuda-uninstaller asks questions and needs a terminal." >&2
    exit 1
fi
[ "\$(readlink /usr/local/cuda)" = "$1" ] && rm -f /usr/local/cuda
rm -f /etc/ld.so.conf.d/cuda-${short//./-}.conf
rm -rf "$1"
ldconfig
echo "Successfully uninstalled"
UNINSTALLER
    chmod 0755 "$1/bin/cuda-uninstaller"
}

install_toolkit() {
    if [ -z "$override" ]; then
        check_compiler
        if [ -e "$toolkitpath/version.json" ]; then
            stop "An installation was found in $toolkitpath. Use --override to override this check."
        fi
    fi
    info "Installing: CUDA Toolkit $short"
    mkdir -p "$toolkitpath" || stop "Cannot create $toolkitpath."
    # What names the version comes first and the compiler last: an installation that was killed looks finished.
    cp version.json standin.json EULA.txt "$toolkitpath"/ || stop "Failed to copy to $toolkitpath."
    for part in include lib64 targets nvvm bin; do
        info "Installing: $part"
        cp -a "toolkit/$part" "$toolkitpath"/ || stop "Failed to copy $part to $toolkitpath."
    done
    write_uninstaller "$toolkitpath"
    [ "$(id -u)" = 0 ] || return
    echo "$toolkitpath/targets/x86_64-linux/lib" >"/etc/ld.so.conf.d/cuda-${short//./-}.conf"
    ln -sfn "$toolkitpath" /usr/local/cuda
    ldconfig
}

summary() {
    local line
    echo "==========="
    echo "= Summary ="
    echo "==========="
    echo
    line="Not Selected"
    [ -n "$driver" ] && line="Installed"
    echo "Driver:   $line"
    line="Not Selected"
    [ -n "$toolkit" ] && line="Installed in $toolkitpath/"
    echo "Toolkit:  $line"
    echo
    if [ -n "$toolkit" ]; then
        echo "Please make sure that"
        echo " -   PATH includes $toolkitpath/bin"
        echo " -   LD_LIBRARY_PATH includes $toolkitpath/lib64, or, add $toolkitpath/lib64 to" \
            "/etc/ld.so.conf and run ldconfig as root"
        echo
        echo "To uninstall the CUDA Toolkit, run cuda-uninstaller in $toolkitpath/bin"
    fi
    if [ -z "$driver" ]; then
        echo "***WARNING: Incomplete installation! This installation did not install the CUDA Driver." \
            "A driver of version at least ${BUNDLED_DRIVER%%.*}.00 is required for CUDA $short functionality to work."
        echo "To install the driver using this installer, run the following command, replacing" \
            "<CudaInstaller> with the name of this run file:"
        echo "    sudo <CudaInstaller>.run --silent --driver"
        echo
    fi
    echo "Logfile is $log"
}

info "Driver not installed."
if [ -n "$extract" ]; then
    mkdir -p "$extract" || stop "Cannot create $extract."
    cp -a toolkit version.json standin.json EULA.txt "$extract"/ || stop "Failed to extract to $extract."
    echo "STAND-IN of the lab: no driver" >"$extract/NVIDIA-Linux-x86_64-$BUNDLED_DRIVER.run"
    exit 0
fi
if [ -z "$silent" ]; then
    echo "The stand-in has no menu; use --silent." >&2
    exit 1
fi
if [ -n "$uninstall" ]; then
    remove_toolkit
    exit $?
fi
if [ -z "$driver$toolkit" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "At least one of --driver, --uninstall, --toolkit must be given when not run as root."
        exit 1
    fi
    driver=yes toolkit=yes
fi
[ -n "$driver" ] && install_driver
[ -n "$toolkit" ] && install_toolkit
info "Setup complete in $here"
summary | tee -a "$log"
exit 0
