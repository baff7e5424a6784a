# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The long messages, as recorded from nvidia-installer 590.48.01 (00aaa9f) on 2026-11-22."""

# ruff: noqa: E501  # each message is one line, so that it can be searched for

from __future__ import annotations

FAILED = "Installation has failed.  Please see the file '{log}' for details.  You may find suggestions on fixing installation problems in the README available on the Linux driver download page at www.nvidia.com."
INVALID_COMMANDLINE = "Invalid commandline, please run `{program} --help` for usage information."
NO_PACKAGE = (
    "No package found for installation.  Please run this utility with the '--help' option for usage information."
)
NOT_ROOT = "nvidia-installer must be run as root"

NO_GPU = "You do not appear to have an NVIDIA GPU supported by the {version} NVIDIA Linux graphics driver installed in this system.  For further details, please see the appendix SUPPORTED NVIDIA GRAPHICS CHIPS in the README available on the Linux driver download page at www.nvidia.com."
INCOMPATIBLE_TYPE = "The '{kind}' kernel modules are incompatible with the GPU(s) detected on this system. They will be installed anyway, but are not expected to work."
WHICH_TYPE = "Multiple kernel module types are available for this system. Which would you like to use?"

EXISTING_DRIVER = "There appears to already be a driver installed on your system (version: {old}).  As part of installing this driver (version: {new}), the existing driver will be uninstalled.  Are you sure you want to continue?"
MODULES_ONLY_MISMATCH = "The '--kernel-modules-only' option can only be used to install kernel modules on top of an existing driver installation of the same driver version.  The existing driver installation is {old}, but the kernel modules are {new}."
MODULES_ONLY_NO_DRIVER = "The '--kernel-modules-only' option can only be used to install kernel modules on top of an existing driver installation of the same driver version.  No existing driver installation was detected."
ALTERNATE_PRESENT = "The NVIDIA driver appears to have been installed previously using a different installer. To prevent potential conflicts, it is recommended either to update the existing installation using the same mechanism by which it was originally installed, or to uninstall the existing installation before installing this driver."
ALTERNATE_AVAILABLE = "An alternate method of installing the NVIDIA driver was detected. (This is usually a package provided by your distributor.) A driver installed via that method may integrate better with your system than a driver installed by nvidia-installer."
ALTERNATE_REVIEW = "Please review the message provided by the maintainer of this alternate installation method and decide how to proceed:"
ALTERNATE_CANCELED = "The installation was canceled due to the availability or presence of an alternate driver installation. Please see {log} for more details."
HOOK_FAILED = "The distribution-provided {hook} script failed!  Are you sure you want to continue?"
CONTINUE_ANYWAY = "The installer has encountered the following error during installation: '{problem}'.  Would you like to continue installation anyway?"

TOOL_MISSING = "Unable to find the development tool `{tool}` in your path; please make sure that you have the package '{package}' installed.  If {package} is installed on your system, then please check that `{tool}` is in your PATH."
LIBC_HEADERS = "You do not appear to have libc header files installed on your system.  Please install your distribution's libc development package."
CC_SANITY = "The CC sanity check failed:\n\nThe C compiler '{compiler}' does not appear to be able to\ncreate object files.  Please make sure you have \nyour Linux distribution's libc development package\ninstalled and that '{compiler}' is a valid C compiler\nname."
NO_KERNEL_SOURCE = "Unable to find the kernel source tree for the currently running kernel.  Please make sure you have installed the kernel source files for your kernel and that they are properly configured; on Red Hat Linux systems, for example, be sure you have the 'kernel-source' or 'kernel-devel' RPM installed.  If you know the correct kernel source files are installed, you may specify the kernel source path with the '--kernel-source-path' command line option."
KERNEL_SOURCE_PATH = "The kernel source path '{path}' is invalid.  Please make sure you have installed the kernel source files for your kernel and that they are properly configured."
NO_VERSION_HEADER = "Neither the '{source}/include/linux/version.h' nor the '{output}/include/generated/uapi/linux/version.h' kernel header file exists. The most likely reason for this is that the kernel source files in '{source}' have not been configured."
STEP_FAILED = 'An error occurred while performing the step: "{step}". See {log} for details.'
MODULE_NOT_CREATED = "The {module} kernel module was not created."
MODULE_NEEDED = {
    "nvidia-uvm": "The nvidia-uvm kernel module failed to build. This kernel module is required for the proper operation of CUDA. If you do not need to use CUDA, you can try to install this driver package again with the '--no-unified-memory' option.",
    "nvidia-drm": "The nvidia-drm kernel module failed to build. This kernel module is required for the proper operation of DRM-KMS. If you do not need to use DRM-KMS, you can try to install this driver package again with the '--no-drm' option.",
    "nvidia-peermem": "The nvidia-peermem kernel module failed to build. This kernel module is required for GPUDirect RDMA. If you do not need GPUDirect RDMA, you can try to install this driver package again with the '--no-peermem' option.",
}
LOAD_FAILED = "Unable to load the kernel module '{module}.ko'.  This happens most frequently when this kernel module was built against the wrong or improperly configured kernel sources, with a version of gcc that differs from the one used to build the target kernel, or if another driver, such as nouveau, is present and prevents the NVIDIA kernel module from obtaining ownership of the NVIDIA device(s), or no NVIDIA device installed in this system is supported by this NVIDIA Linux graphics driver release.\n\nPlease see the log entries 'Kernel module load error' and 'Kernel messages' at the end of the file '{log}' for more information."
MODULE_BUSY = "An NVIDIA kernel module '{module}' appears to be already loaded in your kernel.  This may be because it is in use (for example, by an X server, a CUDA program, or the NVIDIA Persistence Daemon), but this may also happen if your kernel was configured without support for module unloading.  Please be sure to exit any programs that may be using the GPU(s) before attempting to upgrade your driver.  If no GPU-based programs are running, you know that your kernel supports module unloading, and you still receive this message, then an error may have occurred that has corrupted an NVIDIA kernel module's usage count, for which the simplest remedy is to reboot your computer."

SECURE_BOOT = "The target kernel has CONFIG_MODULE_SIG set, which means that it supports cryptographic signatures on kernel modules. On some systems, the kernel may refuse to load modules without a valid signature from a trusted key. This system also has UEFI Secure Boot enabled; many distributions enforce module signature verification on UEFI systems when Secure Boot is enabled. Would you like to sign the NVIDIA kernel module?"
NO_SIGN_FILE = "nvidia-installer cannot sign {module}.ko without the `sign-file` module signing program, and was unable to automatically locate it. If you need to sign the NVIDIA kernel modules, please try again and set the '--module-signing-script' option on the installer's command line."

NO_COMPAT32 = "Unable to find a suitable destination to install 32-bit compatibility libraries. Your system may not be set up for 32-bit compatibility. 32-bit compatibility files will not be installed; if you wish to install them, re-run the installation and set a valid directory with the --compat32-libdir option."
NO_VULKAN = 'This NVIDIA driver package includes Vulkan components, but no Vulkan ICD loader was detected on this system. The NVIDIA Vulkan ICD will not function without the loader. Most distributions package the Vulkan loader; try installing the "vulkan-loader", "vulkan-icd-loader", or "libvulkan1" package.'

DKMS_QUESTION = "Would you like to register the kernel module sources with DKMS? This will allow DKMS to automatically build a new module, if your kernel changes later."
DKMS_FAILED = "Failed to register the NVIDIA kernel modules with DKMS. The NVIDIA kernel modules will be installed, but will not be automatically rebuilt if you change your kernel."
DKMS_ALREADY = "DKMS kernel modules with version {version} are already installed for the {kernel} kernel."

X_RUNNING = "You appear to be running an X server.  Installing the NVIDIA driver while X is running is not recommended, as doing so may prevent the installer from detecting some potential installation problems, and it may not be possible to start new graphics applications after a new driver is installed.  If you choose to continue installation, it is highly recommended that you reboot your computer after installation to use the newly installed driver."
NOUVEAU_IN_USE = "The Nouveau kernel driver is currently in use by your system.  This driver is incompatible with the NVIDIA driver, and must be disabled before proceeding."
NOUVEAU_WRITE = "Nouveau can usually be disabled by adding files to the modprobe configuration directories and rebuilding the initramfs.\n\nWould you like nvidia-installer to attempt to create these modprobe configuration files for you?"
NOUVEAU_WRITTEN = "One or more modprobe configuration files to disable Nouveau have been written.  You will need to reboot your system and possibly rebuild the initramfs before these changes can take effect.  Note if you later wish to reenable Nouveau, you will need to delete these files: {files}"
NOUVEAU_CONTINUE = "nvidia-installer is not able to perform some of the sanity checks which detect potential installation problems while Nouveau is loaded. Would you like to continue installation without these sanity checks, or abort installation, confirm that Nouveau has been properly disabled, and attempt installation again later?"
NOUVEAU_PROCEED = (
    "Proceeding with installation despite the presence of Nouveau. Kernel module load tests will be skipped."
)
NOUVEAU_REASON = "Nouveau is running: any attempt to disable it will not take effect until after a reboot."
RUNNING_REASON = (
    "An NVIDIA kernel module was already loaded: the newly installed one will not be used until after a reboot."
)
REBOOT = "It is strongly recommended that you reboot your computer after exiting the installer, due to the following condition(s) which the installer detected: \n\n{reasons}\n\nIf you continue to use the computer without rebooting, you may not be able to start new programs which use the NVIDIA GPU(s) until after you reboot or reload the NVIDIA kernel modules."

INITRAMFS_REASONS = "The initramfs will likely need to be rebuilt due to the following condition(s):\n{reasons}\n\nWould you like to rebuild the initramfs?"
INITRAMFS_UNKNOWN = "Unable to determine whether NVIDIA kernel modules are present in the initramfs. Existing NVIDIA kernel modules in the initramfs, if any, may interfere with the newly installed driver. Would you like to rebuild the initramfs?"

XCONFIG = "Would you like to run the nvidia-xconfig utility to automatically update your X configuration file so that the NVIDIA X driver will be used when you restart X?  Any pre-existing X configuration file will be backed up."
RESTORE_XCONFIG = "If you plan to no longer use the NVIDIA driver, you should make sure that no X screens are configured to use the NVIDIA X driver in your X configuration file. If you used nvidia-xconfig to configure X, it may have created a backup of your original configuration. Would you like to run `nvidia-xconfig --restore-original-backup` to attempt restoration of the original X configuration file?"
MISSING_LINK = "The symbolic link '{link}' does not exist.  This is necessary for correct operation of the {description}.  You can create this symbolic link manually by executing `ln -sf {target} {link}`."

SANITY_NO_DRIVER = "Unable to find any installed NVIDIA driver.  The sanity check feature is only intended to be used with an existing NVIDIA driver installation."
SANITY_START = "The currently installed driver is: '{description}' (version: {version}).  nvidia-installer will now check that all installed files still exist."
SANITY_GOOD = "'{description}' (version: {version}) appears to be installed correctly."
SANITY_BAD = "The '{description}' installation has been altered since it was originally installed.  It is recommended that you reinstall."
NO_DRIVER = "There is no NVIDIA driver currently installed."
ALTERED = "Your driver installation has been altered since it was initially installed; this may happen, for example, if you have since installed the NVIDIA driver through a mechanism other than nvidia-installer (such as your distribution's native package management system).  nvidia-installer will attempt to uninstall as best it can.  Please see the file '{log}' for details."
