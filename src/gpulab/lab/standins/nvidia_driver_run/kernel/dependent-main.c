// SPDX-License-Identifier: GPL-3.0-or-later
// Copyright: (c) 2026, gpulab contributors
// gpulab stand-in, not NVIDIA software: @MODULE@ does nothing but depend on nvidia, as the original does.
#include <linux/init.h>
#include <linux/module.h>

// Weak, so that the installer's build of this module alone links too; resolved, it makes depmod see the dependency.
extern const char gpulab_standin_nvidia_version[] __attribute__((weak));
static const char *const needs __used = gpulab_standin_nvidia_version;

@PARAMETERS@static int __init standin_init(void)
{
	pr_info("@MODULE@: gpulab stand-in @VERSION@, not NVIDIA software\n");
	return 0;
}

static void __exit standin_exit(void)
{
}

module_init(standin_init);
module_exit(standin_exit);
MODULE_LICENSE("@LICENSE@");
MODULE_VERSION("@VERSION@");
MODULE_DESCRIPTION("gpulab stand-in for @MODULE@, not NVIDIA software, drives no GPU");
