# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print every file of this host as JSON: kind, mode, owner and target, and of files younger than SINCE the sha256."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from pathlib import Path

NOT_OF_THE_HOST = {"/proc", "/sys", "/dev", "/tmp", "/opt/gpulab-test", "/opt/pkg", "/opt/stock"}


def describe(path: str, since: float) -> str:
    """Return what decides whether a file is the same."""
    found = os.lstat(path)
    what = [stat.filemode(found.st_mode), found.st_uid, found.st_gid]
    if stat.S_ISLNK(found.st_mode):
        what.append(os.readlink(path))  # noqa: PTH115 - as above
    elif stat.S_ISREG(found.st_mode) and found.st_ctime > since:
        what.append(hashlib.sha256(Path(path).read_bytes()).hexdigest())
    return " ".join(map(str, what))


def main(since: float) -> dict[str, str]:
    """Walk the whole file system."""
    tree = {}
    for directory, names, files in os.walk("/"):
        names[:] = [name for name in names if os.path.join(directory, name) not in NOT_OF_THE_HOST]  # noqa: PTH118
        for name in (*names, *files):
            path = os.path.join(directory, name)  # noqa: PTH118 - as above
            tree[path] = describe(path, since)
    return tree


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(float(sys.argv[1]))))
