// SPDX-License-Identifier: GPL-3.0-or-later
// Copyright: (c) 2026, gpulab contributors
// gpulab stand-in, not NVIDIA software: no device, no GPU. It only shows that a module of this version is loaded, in
// /sys/module/nvidia/version (from MODULE_VERSION) and /proc/driver/nvidia/version, and has the control device
// (major 195, minor 255: README chapter 4), which can be held open and answers nothing.
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

const char gpulab_standin_nvidia_version[] = "@VERSION@";
EXPORT_SYMBOL(gpulab_standin_nvidia_version);

#define CONTROL_MAJOR 195
#define CONTROL_MINOR 255
#define CONTROL_NAME "nvidiactl"

static struct proc_dir_entry *directory;

static int show_version(struct seq_file *file, void *unused)
{
	seq_printf(file, "NVRM version: @KERNEL_MODULE_NAME@  %s  gpulab stand-in, not NVIDIA software\n",
		   gpulab_standin_nvidia_version);
	seq_puts(file, "GCC version:  " __VERSION__ "\n");
	return 0;
}

static int open_control(struct inode *inode, struct file *file)
{
	return 0;
}

static const struct file_operations control = {
	.owner = THIS_MODULE, // whoever has it open keeps the module in use
	.open = open_control,
};

static int __init standin_init(void)
{
	int failed = __register_chrdev(CONTROL_MAJOR, CONTROL_MINOR, 1, CONTROL_NAME, &control);

	if (failed < 0)
		return failed;
	directory = proc_mkdir("driver/nvidia", NULL);
	if (!directory || !proc_create_single("version", 0444, directory, show_version)) {
		proc_remove(directory);
		__unregister_chrdev(CONTROL_MAJOR, CONTROL_MINOR, 1, CONTROL_NAME);
		return -ENOMEM;
	}
	pr_info("nvidia: gpulab stand-in @VERSION@, not NVIDIA software: there is no GPU behind it\n");
	return 0;
}

static void __exit standin_exit(void)
{
	proc_remove(directory);
	__unregister_chrdev(CONTROL_MAJOR, CONTROL_MINOR, 1, CONTROL_NAME);
}

module_init(standin_init);
module_exit(standin_exit);
MODULE_LICENSE("@LICENSE@");
MODULE_VERSION("@VERSION@");
MODULE_DESCRIPTION("gpulab stand-in for the NVIDIA kernel module, not NVIDIA software, drives no GPU");
