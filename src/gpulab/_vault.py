# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-vault as a program: it asks for the password itself or reads it from a file; plain text stays in pipes."""

from __future__ import annotations

import subprocess
import sys
import typing as t
from pathlib import Path

from gpulab._errors import OperatorError

if t.TYPE_CHECKING:
    import argparse


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option by which a command takes the password from a file."""
    parser.add_argument("--vault-password-file", type=Path, metavar="FILE", help="instead of asking for it")


def encrypt(text: str, output: Path, password_file: Path | None) -> None:
    """Give the text to ansible-vault, which writes the file; the plain text never lies on the disk."""
    done = _run(["encrypt", f"--output={output.resolve()}"], "-", password_file, text, keep=bool(password_file))
    if done.returncode != 0:
        raise OperatorError(
            found=f"ansible-vault ended with {done.returncode}: {(done.stderr or '').strip()[-300:]}",
            expected="an encrypted file.",
            action="give a password twice when it asks, or name a file with --vault-password-file.",
        )


def decrypt(path: Path, password_file: Path | None) -> str:
    """Return what an encrypted file holds."""
    done = _run(["decrypt", "--output=-"], str(path.resolve()), password_file, None, keep=True)
    if done.returncode != 0:
        raise OperatorError(
            found=f"ansible-vault could not open {path}: {(done.stderr or '').strip()[-300:]}",
            expected="the password that it was encrypted with.",
            action="give that one when it asks, or name a file that holds it with --vault-password-file.",
        )
    return done.stdout


def _run(
    command: list[str], name: str, password_file: Path | None, text: str | None, *, keep: bool
) -> subprocess.CompletedProcess[str]:
    """Run ansible-vault; without a password file its question has to reach the terminal, so its errors do too."""
    program = str(Path(sys.executable).with_name("ansible-vault"))
    words = [f"--vault-password-file={password_file.resolve()}"] if password_file else []
    return subprocess.run(
        [program, *command, *words, name],
        input=text,
        text=True,
        check=False,
        stdout=subprocess.PIPE if keep else None,
        stderr=subprocess.PIPE if password_file else None,
    )


__all__ = ["add_option", "decrypt", "encrypt"]
