#!/usr/bin/env bash
# Usage: pack.sh ROOT ARCHIVE: packs the root file system, readable for the user who asked.
set -euo pipefail
tar --directory="$1" --numeric-owner --create . | gzip -1 >"$2"
chmod 0644 "$2"
