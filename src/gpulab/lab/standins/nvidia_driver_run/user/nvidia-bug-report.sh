#!/bin/sh
# gpulab stand-in, not NVIDIA software.
echo "nvidia-bug-report.sh: gpulab stand-in @VERSION@, not NVIDIA software; it does nothing." >&2
exit 1
