# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong with a driver, as shell lines for hosts of every kind, and what gpu_verify says about it."""

from __future__ import annotations

from dataclasses import dataclass

LIB = "/usr/lib/x86_64-linux-gnu"
STALE = "570.1.2"
# Packages with the names of a distribution's driver, one of them held and one a 32-bit library, its mark for
# nvidia-installer, and two that are no driver.
DISTRO_PACKAGES = r"""
cd /root; for name in nvidia-driver-535 libnvidia-compute-535 nvidia-container-toolkit cuda-keyring; do
  mkdir -p $name/DEBIAN $name/usr/share/$name; touch $name/usr/share/$name/part
  printf 'Package: %s\nVersion: 535.183.01-1\nArchitecture: all\nMaintainer: lab <lab@example.org>\nDescription: x\n' \
    $name > $name/DEBIAN/control
done
mkdir -p nvidia-driver-535/usr/lib/nvidia; touch nvidia-driver-535/usr/lib/nvidia/alternate-install-present
dpkg --add-architecture i386; cp -r libnvidia-compute-535 libnvidia-gl-535
sed -i 's/compute/gl/; s/: all/: i386\nMulti-Arch: same/' libnvidia-gl-535/DEBIAN/control
for name in */DEBIAN; do dpkg-deb -b ${name%/DEBIAN} > /dev/null; done
dpkg -i ./*.deb > /dev/null
apt-mark -qq hold nvidia-driver-535"""
# One more of them with modules for KERNEL that its builder has made, as Ubuntu has them: those that lie outside DKMS.
PREBUILT = r"""
name=linux-modules-nvidia-535-KERNEL modules=lib/modules/KERNEL/kernel; cd /root
mkdir -p $name/DEBIAN $name/$modules/nvidia-535
printf 'Package: %s\nVersion: 6.1.0-1\nArchitecture: all\nMaintainer: lab <lab@example.org>\nDescription: x\n' \
  $name > $name/DEBIAN/control
cp /$modules/drivers/video/nvidia*.ko $name/$modules/nvidia-535"""
# Another driver and what is none, in an archive of their own: which versions would apt install?
OFFERS = r"""
mkdir -p /srv/offers; cd /srv/offers
for name in nvidia-driver-999-open libnvidia-compute-999 nvidia-container-toolkit cuda-toolkit-12-9; do
  mkdir -p tree/$name/DEBIAN
  printf 'Package: %s\nVersion: 999.1\nArchitecture: all\nMaintainer: lab <lab@example.org>\nDescription: x\n' \
    $name > tree/$name/DEBIAN/control; dpkg-deb -b tree/$name $name.deb > /dev/null
done
dpkg-scanpackages . > Packages 2> /dev/null
list=sources.list.d/offers.list; echo 'deb [trusted=yes] file:/srv/offers ./' > /etc/apt/$list
apt-get -q update -o Dir::Etc::sourcelist=$list -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 > /dev/null
apt-cache policy nvidia-driver-999-open libnvidia-compute-999 nvidia-container-toolkit cuda-toolkit-12-9 |
  sed -n 's/  Candidate: //p'
rm -r /etc/apt/$list /srv/offers"""
OFFERED = ["(none)", "(none)", "999.1", "999.1"]
# A security archive, as unattended-upgrades knows Debian's: a kernel, a part of a driver, the container toolkit.
SECURITY = r"""set -e; export DEBIAN_FRONTEND=noninteractive
install='apt-get -q install --yes --no-install-recommends unattended-upgrades'
$install > /dev/null || { apt-get -q update > /dev/null && $install > /dev/null; }
echo 'APT::Install-Recommends "false";' > /etc/apt/apt.conf.d/60security
mkdir -p /srv/security/tree/DEBIAN; cd /srv/security
for version in 1 999; do for name in linux-image-lab-amd64 nvidia-driver-libs nvidia-container-toolkit; do
  printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: lab <lab@example.org>\nDescription: x\n' \
    $name $version > tree/DEBIAN/control; dpkg-deb -b tree ${name}_$version.deb > /dev/null
done; done
dpkg -i ./*_1.deb > /dev/null; rm ./*_1.deb; dpkg-scanpackages . > Packages 2> /dev/null
codename=$(. /etc/os-release; echo $VERSION_CODENAME)
printf '%s\n' 'Origin: Debian' 'Label: Debian-Security' "Codename: $codename-security" SHA256: \
  " $(sha256sum < Packages | cut -d' ' -f1) $(stat -c %s Packages) Packages" > Release
list=sources.list.d/security.list; echo 'deb [trusted=yes] file:/srv/security ./' > /etc/apt/$list
apt-get -q update -o Dir::Etc::sourcelist=$list -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 > /dev/null"""
NO_SECURITY = """dpkg --purge linux-image-lab-amd64 nvidia-driver-libs > /dev/null
rm -r /srv/security /etc/apt/sources.list.d/security.list"""
# A job that has the driver's control device open.
HOLDER = """mknod /dev/nvidiactl c 195 255
systemd-run --quiet --unit job --property StandardInput=file:/dev/nvidiactl sleep 3600"""
# A dpkg that dies in the middle, once: its journal is left, and apt wants to know nothing before it is settled.
INTERRUPTED_DPKG = r"""mkdir -p /root/fatal/DEBIAN
printf 'Package: fatal\nVersion: 1\nArchitecture: all\nMaintainer: lab <lab@example.org>\nDescription: x\n' \
  > /root/fatal/DEBIAN/control
printf '#!/bin/sh\n[ -e /root/died ] || { touch /root/died; kill -KILL $PPID; }\n' > /root/fatal/DEBIAN/postinst
chmod 0755 /root/fatal/DEBIAN/postinst
dpkg-deb -b /root/fatal > /dev/null
dpkg -i /root/fatal.deb > /dev/null 2>&1 || true
test -n "$(ls /var/lib/dpkg/updates)" """
# One that was killed while it unpacked a package, which apt takes for installed from then on.
HALF_UNPACKED = r"""mkdir /root/bin
printf '#!/bin/sh\ncase $1 in --fsys-tarfile) kill -KILL $PPID ;; esac\nexec /usr/bin/dpkg-deb "$@"\n' \
  > /root/bin/dpkg-deb
chmod 0755 /root/bin/dpkg-deb
apt-get -q --yes --no-install-recommends --option DPkg::Path=/root/bin:/usr/sbin:/usr/bin:/sbin:/bin install PACKAGE \
  > /dev/null 2>&1 || true
[ "$(dpkg-query -W -f '${db:Status-Eflag}' PACKAGE)" = reinstreq ]"""


@dataclass(frozen=True)
class Damage:
    """Lines for a shell, and the words that name it; in both KERNEL stands for the release of a kernel."""

    script: str
    words: str


def neighbour(version: str) -> str:
    """Return the version that differs from this one in its last digit alone."""
    return f"{version[:-1]}{(int(version[-1]) + 1) % 10}"


def stale_entry(version: str) -> str:
    """Have DKMS know one more version, whose modules say that they are of it."""
    source = f"/usr/src/nvidia-{STALE}"
    return (
        f"cp -a /usr/src/nvidia-{version} {source}; grep -rlF {version} {source} | xargs sed -i s/{version}/{STALE}/;"
        f" dkms add -m nvidia -v {STALE}"
    )


def damages(version: str, run: str, other: str) -> dict[str, Damage]:
    """Return what can be done to a host with this version; ``run`` is the path of another version's .run."""
    return {
        "dkms-added-but-not-built": Damage(
            f"rm -rf /var/lib/nvidia; dkms remove nvidia/{version} --all; rm -f {LIB}/libcuda.so.1;"
            f" mkdir -p /usr/src/nvidia-{version}; dkms add -m nvidia -v {version} || true",
            "no driver from a .run is installed",
        ),
        "record-lost": Damage("rm -rf /var/lib/nvidia", "no driver from a .run is installed"),
        "record-of-a-run-killed-at-dkms-import": Damage(
            "sed -i 2q /var/lib/nvidia/log; rm /lib/modules/KERNEL/updates/dkms/*",
            "the record of the installation, /var/lib/nvidia/log, is damaged",
        ),
        "modules-removed-from-one-kernel": Damage(
            "rm /lib/modules/KERNEL/updates/dkms/nvidia*.ko", "the module of kernel KERNEL: "
        ),
        "half-built-in-dkms": Damage(
            f"rm /var/lib/dkms/nvidia/{version}/KERNEL/x86_64/module/nvidia-uvm.ko",
            "the module of kernel KERNEL: DKMS says nothing",
        ),
        "module-truncated": Damage(
            "truncate -s 1000 /lib/modules/KERNEL/updates/dkms/nvidia.ko", "the module of kernel KERNEL"
        ),
        "dkms-entry-removed": Damage(f"dkms remove nvidia/{version} --all", f"DKMS does not know nvidia/{version}"),
        "two-versions-in-dkms": Damage(
            f"{stale_entry(version)}; dkms install -m nvidia -v {STALE} -k KERNEL --force",
            f"DKMS has another driver, nvidia/{STALE}",
        ),
        "stale-dkms-of-another-version": Damage(stale_entry(version), f"DKMS has another driver, nvidia/{STALE}"),
        "library-overwritten-by-a-package": Damage(
            f"""mkdir -p /root/libcuda1/DEBIAN /root/libcuda1{LIB}
cp /usr/bin/true /root/libcuda1{LIB}/libcuda.so.{version}
cd /root; printf 'Package: libnvidia-compute-535\\nVersion: 1\\nArchitecture: all\\nMaintainer: lab <l@example.org>\\n\
Description: x\\n' > libcuda1/DEBIAN/control; dpkg-deb -b libcuda1; dpkg -i libcuda1.deb""",
            "(the file belongs to the package libnvidia-compute-535 now)",
        ),
        "library-of-another-version": Damage(
            f"cp {LIB}/libnvidia-ml.so.{version} {LIB}/libnvidia-ml.so.{neighbour(version)}; ldconfig",
            f"libnvidia-ml.so.{neighbour(version)}",
        ),
        "source-removed": Damage(f"rm -r /usr/src/nvidia-{version}", f"DKMS has lost the source of nvidia/{version}"),
        "uninstalled-without-dkms": Damage(
            f"mv /usr/sbin/dkms /root; nvidia-uninstall --silent; mv /root/dkms /usr/sbin;"
            f" test -e /var/lib/dkms/nvidia/{version} && test -e /lib/modules/KERNEL/updates/dkms/nvidia.ko",
            "no driver from a .run is installed",
        ),
        "killed-while-copying": Damage(
            f"rm -f /usr/bin/nvidia-smi {LIB}/libnvidia-* /var/lib/gpulab/driver/proven.json; ldconfig",
            "/usr/bin/nvidia-smi is missing or empty",
        ),
        "second-driver-by-hand": Damage(
            f"sh {run} --silent -M open --dkms --skip-module-load --no-x-check --kernel-name=KERNEL",
            f"a driver {other} was installed over it from another .run",
        ),
        "settings-changed": Damage(
            "echo > /etc/modprobe.d/50-gpulab-nvidia.conf; rm /etc/apt/preferences.d/50-gpulab-nvidia;"
            " systemctl disable nvidia-persistenced.service",
            "/etc/apt/preferences.d/50-gpulab-nvidia was changed; nvidia-persistenced.service is not enabled",
        ),
    }


def refusing(version: str) -> str:
    """Return a DKMS that refuses a version, and no other, at a moment when the old driver is gone."""
    return _dkms_that(f'*ldtarball*{version}*) echo "dkms: database is locked" >&2; exit 1')


def failing_for_one_kernel(version: str) -> str:
    """Return a DKMS that cannot build a version for KERNEL."""
    return _dkms_that(f'*" install "*{version}*KERNEL*) echo "Error! Bad return status" >&2; exit 10')


def _dkms_that(does: str) -> str:
    return f"""mv /usr/sbin/dkms /usr/sbin/dkms.real
cat > /usr/sbin/dkms << 'END'
#!/bin/sh
case " $* " in {does};; esac
exec /usr/sbin/dkms.real "$@"
END
chmod 755 /usr/sbin/dkms"""


WHOLE_DKMS = "mv /usr/sbin/dkms.real /usr/sbin/dkms"

__all__ = [
    "DISTRO_PACKAGES",
    "HALF_UNPACKED",
    "HOLDER",
    "INTERRUPTED_DPKG",
    "LIB",
    "NO_SECURITY",
    "OFFERED",
    "OFFERS",
    "PREBUILT",
    "SECURITY",
    "STALE",
    "WHOLE_DKMS",
    "Damage",
    "damages",
    "failing_for_one_kernel",
    "neighbour",
    "refusing",
    "stale_entry",
]
