# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installation, in the original's order of work: build first, then remove the old driver, then DKMS and files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from . import commands, copying, dkms, kernel, modules, preparation, removal, selection, signing, state, texts
from .initramfs import Initramfs
from .kernel import Built, KernelPaths
from .options import Options
from .outcome import StoppedError
from .package import Entry, Package, module_sources, read_package
from .preparation import Findings
from .ui import Ui


def _is_dkms_configuration(entry: Entry) -> bool:
    return Path(entry.destination).name == "dkms.conf"


class Installation:
    """One run in the package's directory."""

    def __init__(self, ui: Ui, options: Options, initramfs: Initramfs) -> None:
        self.ui = ui
        self.options = options
        self.initramfs = initramfs
        self.recorder = state.Recorder(ui)
        self.findings = Findings(skip_module_load=options.flag("skip-module-load"))
        self.scratch = commands.Scratch(commands.temporary_directory(options.text("tmpdir")))

    def run(self) -> None:
        """Install; a :class:`StoppedError` ends it early."""
        package = read_package()
        if package is None:
            self.ui.error(texts.NO_PACKAGE)
            raise StoppedError(says_failed=True)
        try:
            self._run(package)
        finally:
            self.scratch.remove()

    def _run(self, package: Package) -> None:
        self._prepare(package)
        built: Built | None = None
        paths: KernelPaths | None = None
        if not self.options.no_kernel_modules:
            paths, built = self._build(package)
        selected = selection.select(self.ui, self.options, package)
        if not self.options.modules_only:
            removal.remove_previous(self.ui)
            self.recorder.start(package.version, package.description)
        entries = self._kernel_entries(package, paths, built) if paths and built else []
        if not self.options.modules_only:
            selected = selection.without_foreign_glvnd(self.ui, self.options, selected)
        self._install(package, [*entries, *selected.without("source").entries])
        self._finish(package)

    def _prepare(self, package: Package) -> None:
        ui, options, findings = self.ui, self.options, self.findings
        preparation.check_x(ui, options)
        preparation.unload_modules(ui, options, findings)
        preparation.choose_flavour(ui, options, package.version, findings)
        ui.log(f"Installing NVIDIA driver version {package.version}.")
        if options.modules_only:
            removal.require_same_version(ui, package.version)
        else:
            preparation.check_existing_driver(ui, package.version)
            preparation.check_alternate_installs(ui, options)
        preparation.run_hook(ui, options, "pre-install")
        self._note_no_precompiled()

    def _note_no_precompiled(self) -> None:
        if self.options.text("kernel-name"):
            self.ui.log("Not probing for precompiled kernel interfaces.")

    def _build(self, package: Package) -> tuple[KernelPaths, Built]:
        ui, options, findings = self.ui, self.options, self.findings
        kernel.check_tools(ui)
        preparation.handle_nouveau(ui, options, self.initramfs, findings)
        self._note_no_precompiled()
        paths = kernel.find_paths(ui, options, self.recorder)
        self.scratch.write()
        built = kernel.build(ui, options, paths, findings.build_directory, package.modules)
        names = list(built.names)
        if not signing.sign(ui, options, paths, built.directory, names):
            raise StoppedError(says_failed=True)
        if not findings.skip_module_load and not modules.test_load(ui, built.directory, names):
            raise StoppedError(says_failed=True)
        return paths, built

    def _kernel_entries(self, package: Package, paths: KernelPaths, built: Built) -> list[Entry]:
        """Return the module files and their sources, after DKMS has had its turn with them."""
        ui, options = self.ui, self.options
        by_hand = [
            Entry("source", f"{paths.modules}/{name}.ko", f"{built.directory}/{name}.ko") for name in built.names
        ]
        sources = [] if options.flag("no-kernel-module-source") else module_sources(package, built.directory)
        sources = self._with_configuration(package, built, sources)
        if (
            dkms.tool() is None
            or not sources
            or not ui.yes_no(texts.DKMS_QUESTION, default=options.flag("dkms", default=True))
        ):
            return [*by_hand, *sources] if not options.modules_only else by_hand
        already = options.modules_only and dkms.is_installed(package.version, paths.name)
        if not options.modules_only:
            for entry in sources:
                self._copy(entry)
        registered = dkms.register(ui, package.version, built, paths, sources, self.scratch.directory)
        if already:
            ui.error(texts.DKMS_ALREADY.format(version=package.version, kernel=paths.name))
            raise StoppedError(says_failed=True)
        if options.modules_only:
            return [] if registered else by_hand
        return [entry.already_there() for entry in sources] if registered else [*by_hand, *sources]

    def _with_configuration(self, package: Package, built: Built, sources: list[Entry]) -> list[Entry]:
        """Replace the template of dkms.conf by the finished file, as the last of the sources."""
        finished = [entry for entry in sources if not _is_dkms_configuration(entry)]
        for entry in filter(_is_dkms_configuration, sources):
            with Path(entry.source).open(encoding="utf-8") as file:
                template = file.read()
            text = dkms.configuration(template, package.version, built.names, kernel.concurrency(self.options))
            finished.append(replace(entry, source=self.scratch.write(text)))
        return finished

    def _copy(self, entry: Entry) -> bool:
        self.recorder.directories(str(Path(entry.destination).parent))
        return copying.copy(self.ui, entry.source, entry.destination, entry.mode)

    def _install(self, package: Package, entries: list[Entry]) -> None:
        ui = self.ui
        ui.begin("Searching for conflicting files:", "Searching")
        conflicts = [entry for entry in entries if not entry.in_place and os.path.lexists(entry.destination)]
        ui.progress(0.5)
        ui.end()
        ui.begin(f"Installing '{package.description}' ({package.version}):", "Installing")
        self.initramfs.refresh(
            forced=preparation.rebuild_choice(self.options), nouveau_disabled=self.findings.nouveau_disabled
        )
        for entry in conflicts:
            self.recorder.put_aside(entry.destination)
        # Files first, then links; the configuration of DKMS is the last file that is noted.
        ordered = sorted(entries, key=lambda entry: (entry.is_link, _is_dkms_configuration(entry)))
        for number, entry in enumerate(ordered, 1):
            self._install_one(entry)
            ui.progress(number / (len(ordered) + 1))
        self._run_commands()
        ui.end()
        ui.log("Driver file installation is complete.")
        self._check(ordered)

    def _install_one(self, entry: Entry) -> None:
        if entry.is_link:
            self.recorder.directories(str(Path(entry.destination).parent))
            if not os.path.lexists(entry.destination):
                Path(entry.destination).symlink_to(entry.target)
            self.recorder.link(entry.destination, entry.target)
        elif entry.in_place:
            if Path(entry.destination).exists():
                self.recorder.file(entry.destination)
        elif self._copy(entry):
            self.recorder.file(entry.destination)
        else:
            self._ask_to_continue(f"Cannot install {entry.destination}")

    def _ask_to_continue(self, problem: str) -> None:
        answers = ["Continue installation", "Abort installation"]
        if self.ui.choose(texts.CONTINUE_ANYWAY.format(problem=problem), answers, default=0) == 1:
            raise StoppedError(says_failed=True)

    def _run_commands(self) -> None:
        """Run the commands that make the new files known."""
        lines = [commands.find("ldconfig") or "ldconfig"]
        if not self.options.flag("skip-depmod") and not self.options.no_kernel_modules:
            lines.append(f"{commands.find('depmod') or 'depmod'} -a {self.options.text('kernel-name') or ''}")
        systemctl = commands.find("systemctl")
        if systemctl and self.options.flag("systemd", default=True):
            lines.append(f"{systemctl} daemon-reload")
        for line in lines:
            self.ui.output(f"executing: '{line}'...")
            status, output = commands.stream(line, self.ui.output)
            if status != 0:
                self.ui.error(f"Failed to execute `{line}`: {output}")
                self._ask_to_continue(f"Failed to execute `{line}`")

    def _check(self, entries: list[Entry]) -> None:
        ui = self.ui
        ui.begin("Running post-install sanity check:", "Checking")
        missing = [entry for entry in entries if entry.is_link and not os.path.lexists(entry.destination)]
        for entry in missing:
            ui.error(f"Unable to get file properties for '{entry.destination}' (No such file or directory).")
            names = {"link": entry.destination, "target": entry.target, "description": "driver"}
            ui.warn(texts.MISSING_LINK.format(**names))
        ui.end()
        ui.log(f"Post-install sanity check {'failed' if missing else 'passed'}.")

    def _finish(self, package: Package) -> None:
        ui, findings = self.ui, self.findings
        preparation.run_hook(ui, self.options, "post-install")
        if not findings.skip_module_load and not self.options.no_kernel_modules:
            modules.load_for_use(ui)
        if findings.has_gpu and not self.options.modules_only:
            ui.yes_no(texts.XCONFIG, default=False)
        ui.message(f"Installation of the {package.description} (version: {package.version}) is now complete.")
        if findings.reboot_reasons:
            ui.warn(texts.REBOOT.format(reasons="\n".join(f"  * {reason}" for reason in findings.reboot_reasons)))
