# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the stand-in: the options of conda 26.3 that gpulab and its users need, named alike."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import sys
import typing as t
from pathlib import Path

from . import activation, packages, places
from .explicit import CondaError

VERSION = "@CONDA_VERSION@"
_TITLE = "gpulab stand-in"


def main(argv: list[str], root: str) -> int:
    """Run a command and return conda's exit status."""
    os.environ.setdefault("HOME", "/root")
    if argv[:1] == ["shell.posix"]:
        return _shell(argv[1:], Path(root))
    args = _parser().parse_args(argv)
    if args.version or not args.command:
        print(f"conda {VERSION} ({_TITLE})")
        return 0
    try:
        return _COMMANDS[args.command](args, Path(root))
    except CondaError as error:
        print(f"\n{error}\n", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="conda", description=f"conda {VERSION} ({_TITLE})")
    parser.add_argument("-V", "--version", action="store_true")
    commands = parser.add_subparsers(dest="command")
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("-n", "--name")
    place.add_argument("-p", "--prefix")
    place.add_argument("--json", action="store_true")
    common = argparse.ArgumentParser(add_help=False, parents=[place])
    for option in ("-y/--yes", "-q/--quiet", "--offline", "-v/--verbose"):
        common.add_argument(*option.split("/"), action="store_true")
    for name in ("create", "install"):
        command = commands.add_parser(name, parents=[common])
        command.add_argument("--file", action="append", default=[])
        command.add_argument("packages", nargs="*")
    for name in ("remove", "uninstall"):
        command = commands.add_parser(name, parents=[common])
        command.add_argument("--force-remove", "--force", action="store_true")
        command.add_argument("--all", action="store_true")
        command.add_argument("packages", nargs="*")
    listing = commands.add_parser("list", parents=[place])
    for option in ("--explicit", "--md5", "--sha256"):
        listing.add_argument(option, action="store_true")
    listing.add_argument("regex", nargs="?", default="")
    environment = commands.add_parser("env", parents=[place])
    environment.add_argument("action", choices=["list", "remove"])
    environment.add_argument("-y", "--yes", action="store_true")
    commands.add_parser("info", parents=[place]).add_argument("-e", "--envs", action="store_true")
    config = commands.add_parser("config", parents=[place])
    config.add_argument("--show", nargs="*")
    config.add_argument("--show-sources", action="store_true")
    run = commands.add_parser("run", parents=[place])
    run.add_argument("--no-capture-output", "--live-stream", action="store_true")
    run.add_argument("argv", nargs=argparse.REMAINDER)
    return parser


def _create(args: argparse.Namespace, root: Path) -> int:
    prefix = _prefix(args, root, new=True)
    if (prefix / "conda-meta").is_dir():
        _confirm(args, f"WARNING: A conda environment already exists at '{prefix}'\n\nRemove existing environment?")
        shutil.rmtree(prefix)
    elif prefix.exists():
        _confirm(args, f"WARNING: A directory already exists at the target location '{prefix}'")
    linked = packages.install_explicit(
        _listing(args), prefix=prefix, cache=places.package_cache(root), offline=args.offline
    )
    (prefix / "conda-meta").mkdir(parents=True, exist_ok=True)
    (prefix / "conda-meta" / "history").touch()
    places.register(prefix)
    _report(args, prefix, linked)
    name = activation.environment_name(prefix, root)
    if not (args.quiet or args.json):
        print(f"#\n# To activate this environment, use\n#\n#     $ conda activate {name}\n")
    return 0


def _install(args: argparse.Namespace, root: Path) -> int:
    prefix = _existing(args, root)
    linked = packages.install_explicit(
        _listing(args), prefix=prefix, cache=places.package_cache(root), offline=args.offline
    )
    _report(args, prefix, linked)
    return 0


def _remove(args: argparse.Namespace, root: Path) -> int:
    prefix = _existing(args, root)
    if args.all:
        if prefix == root:
            raise CondaError("CondaEnvironmentError: cannot remove root environment, add -n NAME or -p PREFIX option")
        _confirm(args, f"Everything found within the environment ({prefix}) will be deleted.")
        shutil.rmtree(prefix)
        return 0
    if not args.packages:
        raise CondaError("CondaValueError: no package names supplied")
    if not args.force_remove:
        raise CondaError(f"the {_TITLE} has no solver: say --force-remove, dependents are then left alone")
    _confirm(args, "Remove: " + ", ".join(args.packages))
    _report(args, prefix, packages.remove(args.packages, prefix=prefix, cache=places.package_cache(root)))
    return 0


def _list(args: argparse.Namespace, root: Path) -> int:
    prefix = _existing(args, root)
    pattern = re.compile(args.regex)
    records = [record for name, record in sorted(packages.records(prefix).items()) if pattern.search(name)]
    if args.json:
        print(json.dumps([_summary(record) for record in records], indent=2))
    elif args.explicit:
        print("# This file may be used to create an environment using:\n# $ conda create --name <env> --file <this"
              f" file>\n# platform: linux-64\n# created-by: conda {VERSION} ({_TITLE})\n@EXPLICIT")  # fmt: skip
        for record in records:
            digest = (
                f"#sha256:{record['sha256']}"
                if args.sha256 and record.get("sha256")
                else f"#{record['md5']}"
                if args.md5
                else ""
            )
            print(record["url"] + digest)
    else:
        print(f"# packages in environment at {prefix}:\n#\n# Name                    Version          Build  Channel")
        for record in records:
            channel = record["channel"].rsplit("/", 1)[-1]
            print(f"{record['name']:<25} {record['version']:>15} {record['build']:>15}  {channel}")
    return 0


def _env(args: argparse.Namespace, root: Path) -> int:
    if args.action == "remove":
        args.all, args.packages = True, []
        return _remove(args, root)
    found = places.environments(root)
    if args.json:
        print(json.dumps({"envs": [str(path) for path in found]}, indent=2))
        return 0
    print("\n# conda environments:\n#")
    active = os.environ.get("CONDA_PREFIX", "")
    for path in found:
        print(f"{activation.environment_name(path, root):<22} {'*' if str(path) == active else ' '} {path}")
    print()
    return 0


def _info(args: argparse.Namespace, root: Path) -> int:
    if args.envs:
        return _env(argparse.Namespace(**{**vars(args), "action": "list"}), root)
    found, sources = places.settings(root)
    info = {
        "channels": found.get("channels", []),
        "conda_version": VERSION,
        "standin": True,
        "envs": [str(path) for path in places.environments(root)],
        "envs_dirs": [str(path) for path in places.environment_folders(root)],
        "pkgs_dirs": [str(places.package_cache(root))],
        "platform": "linux-64",
        "python_version": ".".join(str(part) for part in sys.version_info[:3]),
        "root_prefix": str(root),
        "config_files": sources,
    }
    print(json.dumps(info, indent=2) if args.json else "\n".join(f"{k:>20} : {v}" for k, v in info.items()))
    return 0


def _config(args: argparse.Namespace, root: Path) -> int:
    found, sources = places.settings(root)
    if args.show_sources:
        print("\n".join(f"==> {source} <==\n{Path(source).read_text()}" for source in sources))
        return 0
    shown = {key: value for key, value in found.items() if not args.show or key in args.show}
    print(json.dumps(shown, indent=2) if args.json else "\n".join(f"{key}: {value}" for key, value in shown.items()))
    return 0


def _run(args: argparse.Namespace, root: Path) -> int:
    prefix = _existing(args, root)
    code = activation.activate(prefix, activation.environment_name(prefix, root), os.environ, root)
    os.execvp("bash", ["bash", "-c", f"{code}exec {shlex.join(args.argv)}"])  # noqa: S606


def _shell(argv: list[str], root: Path) -> int:
    """Answer the shell function of etc/profile.d/conda.sh."""
    try:
        if argv[:1] == ["deactivate"]:
            print(activation.deactivate(os.environ, root), end="")
        elif argv[:1] == ["reactivate"]:
            print(activation.reactivate(os.environ, root), end="")
        else:
            name = argv[1] if len(argv) > 1 else "base"
            prefix = Path(name).absolute() if "/" in name else places.named_environment(name, root)
            print(activation.activate(prefix, activation.environment_name(prefix, root), os.environ, root), end="")
    except CondaError as error:
        print(f"\n{error}\n", file=sys.stderr)
        return 1
    return 0


def _listing(args: argparse.Namespace) -> str:
    texts = []
    for name in args.file:
        if not Path(name).is_file():
            raise CondaError(f"EnvironmentFileNotFound: '{name}' file not found")
        texts.append(Path(name).read_text())
    listing = "\n".join(texts)
    if args.packages or "@EXPLICIT" not in listing:
        raise CondaError(f"the {_TITLE} has no solver: give --file with an @EXPLICIT list and no package names")
    return listing


def _prefix(args: argparse.Namespace, root: Path, *, new: bool = False) -> Path:
    if args.prefix:
        return Path(args.prefix).absolute()
    if args.name:
        return places.environment_folders(root)[0] / args.name if new else places.named_environment(args.name, root)
    if new:
        raise CondaError("ArgumentError: one of the arguments -n/--name -p/--prefix is required")
    return Path(os.environ.get("CONDA_PREFIX") or root)


def _existing(args: argparse.Namespace, root: Path) -> Path:
    prefix = _prefix(args, root)
    if not (prefix / "conda-meta").is_dir():
        raise CondaError(f"EnvironmentLocationNotFound: Not a conda environment: {prefix}")
    return prefix


def _summary(record: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        "base_url": record["channel"].rsplit("/", 1)[0],
        "build_number": record["build_number"],
        "build_string": record["build"],
        "channel": record["channel"].rsplit("/", 1)[-1],
        "dist_name": f"{record['name']}-{record['version']}-{record['build']}",
        "name": record["name"],
        "platform": record["subdir"],
        "version": record["version"],
    }


def _confirm(args: argparse.Namespace, question: str) -> None:
    if args.yes:
        return
    if input(f"{question}\n\nProceed (y/[n])? ").strip().lower() not in ("y", "yes"):
        raise CondaError("CondaSystemExit: Exiting.")


def _report(args: argparse.Namespace, prefix: Path, names: list[str]) -> None:
    if args.json:
        print(json.dumps({"success": True, "prefix": str(prefix), "actions": names}, indent=2))
    elif not args.quiet:
        print(f"\nThis is the {_TITLE}: no solver, explicit lists only.\n\n## Package Plan ##\n\n"
              f"  environment location: {prefix}\n")  # fmt: skip
        print("".join(f"  {name}\n" for name in names) or "# All requested packages already installed.\n")
        print("Executing transaction: done")


_COMMANDS: dict[str, t.Callable[[argparse.Namespace, Path], int]] = {
    "create": _create,
    "install": _install,
    "remove": _remove,
    "uninstall": _remove,
    "list": _list,
    "env": _env,
    "info": _info,
    "config": _config,
    "run": _run,
}

__all__ = ["main"]
