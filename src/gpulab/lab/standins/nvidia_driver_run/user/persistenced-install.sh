#!/bin/sh
# gpulab stand-in, not NVIDIA software: installs the sample unit next to this script, as the original sample does.
set -e
cd "$(dirname "$0")"
id nvidia-persistenced >/dev/null 2>&1 || useradd --system --user-group --home-dir / --shell /usr/sbin/nologin \
    --comment "NVIDIA Persistence Daemon" nvidia-persistenced
sed "s/__USER__/nvidia-persistenced/" systemd/nvidia-persistenced.service.template \
    >/etc/systemd/system/nvidia-persistenced.service
systemctl daemon-reload
systemctl enable --now nvidia-persistenced.service
