# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bare host: python3 is not installed, as a minimal installation of Debian leaves it."""

from __future__ import annotations

import typing as t

from gpulab._errors import OperatorError

if t.TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

# The packages that are installed, by name: to a pattern apt answers a line for each package that the archive knows.
WITHOUT_PYTHON: t.Final = r"""
export DEBIAN_FRONTEND=noninteractive
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 'python3*' 'libpython3*' | sed -n 's/^installed //p')
apt-get -q --yes purge $installed && ! command -v python3
"""


def remove_python(host: str, execute: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    """Purge python3 and all that needs it; `execute` runs a bash line as root on the host."""
    done = execute(WITHOUT_PYTHON)
    if done.returncode != 0:
        raise OperatorError(
            found=f"python3 could not be removed from {host}: {(done.stderr or done.stdout).strip()[-500:]}",
            expected="apt-get to purge it.",
            action=f"look at the host (gpulab lab ssh {host}), or reinstall it once more.",
        )


__all__ = ["WITHOUT_PYTHON", "remove_python"]
