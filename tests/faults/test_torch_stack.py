# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong with torch_stack: the index, the disk, the connection, plugins and people."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from labhost import LabHost, Playbook
from wheellayers import MADE, UV, Place, lock, pins, prepared_host

from gpulab.lab import Fault, Lab

SMALL, OTHER = pins("torch-small"), pins("torch-small-other")
LOG = "/var/log/gpulab/torch_stack.log"


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    yield from prepared_host(lab, "torch-faults", tmp_path_factory.mktemp("torch"))


@pytest.fixture
def place(host: LabHost, lab: Lab) -> Iterator[Place]:
    yield Place.make(host)
    lab.set_faults()


@pytest.fixture(scope="module")
def installed(host: LabHost) -> Place:
    """Share one environment with everything: every test that damages it sees it repaired."""
    place = Place.make(host)
    done = place.torch()
    assert (done.rc, done.changed) == (0, 1), done.message
    return place


def settled(place: Place) -> None:
    """See that everything of the lock is there and that one more run changes nothing."""
    assert SMALL.items() <= place.installed().items()
    again = place.torch()
    assert (again.rc, again.changed) == (0, 0), again.message


def repaired(place: Place) -> str:
    """Apply once, see a change and that it is the last one; return the diff."""
    result = place.torch()
    assert (result.rc, result.changed) == (0, 1), result.message
    settled(place)
    return str(result.tasks[-1]["result"]["diff"])


def test_wrong_hash(place: Place) -> None:
    before = place.installed()
    wrong = lock("torch-small").replace("sha256:020e229e", "sha256:ffffffff")
    result = place.torch(torch_stack_lock=wrong)
    assert "the index gave a file for filelock==4.2.11 with sha256 020e229e" in result.message
    assert "Expected: sha256 ffffffff" in result.message
    assert "nothing was installed" in result.message
    assert place.installed() == before
    repaired(place)


@pytest.mark.whole
def test_wrong_hash_of_uv(place: Place) -> None:
    place.sh("rm -rf /opt/gpulab/uv")
    result = place.torch(torch_stack_uv_lock=f"uv==0.13.9 --hash=sha256:{'0' * 64}")
    assert "the index gave a file for uv 0.13.9 with sha256 d7f459fe" in result.message
    assert place.sh("ls -d /opt/gpulab/uv", check=False).returncode != 0


@pytest.mark.whole
def test_corrupt_file_on_the_mirror(place: Place, lab: Lab) -> None:
    lab.set_faults(Fault("/wheels/jinja2-*.whl", "corrupt", bytes=1))
    result = place.torch()
    lab.set_faults()
    assert result.rc == 2
    assert "jinja2" in result.message
    assert "jinja2" not in place.installed()
    repaired(place)


@pytest.mark.whole
def test_html_page_instead_of_a_wheel(place: Place, lab: Lab) -> None:
    lab.set_faults(Fault("/wheels/jinja2-*.whl", "html"))
    result = place.torch()
    assert "the index gave something that is no wheel" in result.message
    assert "a portal or a proxy" in result.message


@pytest.mark.whole
def test_mirror_that_is_completed_later(place: Place, lab: Lab) -> None:
    lab.set_faults(Fault("/simple/jinja2/", "missing"))
    result = place.torch()
    lab.set_faults()
    assert "the index has no jinja2 that fits this environment" in result.message
    repaired(place)


def test_no_environment(host: LabHost) -> None:
    place = Place(host, f"{MADE}-absent", "/var/cache/gpulab/uv")
    told = place.torch(check=True)
    assert (told.rc, told.changed) == (0, 1), "in check mode the environment may still be missing"
    result = place.torch()
    assert result.message.startswith(f"Found: there is no Python environment in {place.env}.")
    assert "run the role conda_env first" in result.message


def times(place: Place, pattern: str) -> int:
    """Return how often a line stands in the job's log."""
    return int(place.sh(f"grep -c '{pattern}' {LOG} || true", check=False).stdout or "0")


def start_and_wait_for_the_download(place: Place, lab: Lab, bytes_per_second: int) -> Playbook:
    lab.set_faults(Fault("/wheels/torchaudio-*.whl", "slow", bytes=bytes_per_second))
    before = times(place, "^Downloading torchaudio")
    playbook = place.start_torch()
    for _ in range(240):
        if times(place, "^Downloading torchaudio") > before:
            return playbook
        time.sleep(0.5)
    raise AssertionError(playbook.wait().stdout)


def kill_with_children(playbook: Playbook) -> None:
    """End a run as a lost controller does: Ansible's forks would go on asking the host."""
    pid = playbook.process.pid
    forks = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    for process in (pid, *map(int, forks)):
        os.kill(process, signal.SIGKILL)
    playbook.wait()


@pytest.mark.whole
def test_killed_while_it_downloads(place: Place, lab: Lab) -> None:
    playbook = start_and_wait_for_the_download(place, lab, 20_000)
    place.sh("systemctl kill --signal=KILL gpulab-torch-stack; systemctl stop gpulab-torch-stack", check=False)
    result = playbook.wait()
    lab.set_faults()
    assert "ended without a result at: Install" in result.message
    assert "torchaudio" not in place.installed()
    repaired(place)


@pytest.mark.whole
def test_controller_killed_while_the_host_downloads(place: Place, lab: Lab) -> None:
    started = times(place, "^== job .* starts")
    playbook = start_and_wait_for_the_download(place, lab, 150_000)
    kill_with_children(playbook)
    result = place.torch()
    assert (result.rc, result.changed) == (0, 1), result.message
    assert times(place, "^== job .* starts") == started + 1, "the job was found again, not started twice"
    settled(place)


def test_killed_while_it_links(installed: Place) -> None:
    """What a kill between two files leaves: a package without its end, one without its record, and no note."""
    installed.sh(f"cd {installed.site} && rm -r jinja2/ext.py torchaudio/lib markupsafe-*/RECORD filelock-*.dist-info")
    installed.sh(f"rm {installed.env}/etc/gpulab/wheels.json")
    before = installed.fetched()
    repaired(installed)
    assert installed.fetched() == before, "the cache has everything"


def test_plugin_replaces_packages(installed: Place) -> None:
    other = " ".join(f"{name}=={version}" for name, version in OTHER.items())
    free = "PIP_CONFIG_FILE=/dev/null"  # as somebody who means it: without the constraints
    installed.sh(f"{free} {installed.pip} install --no-deps {pip_index(installed)} {other} idna==3.20")
    assert OTHER.items() <= installed.installed().items()
    result = installed.torch()
    assert (result.rc, result.changed) == (0, 1), result.message
    assert result.tasks[-1]["result"]["steps"] == [
        "Install torchaudio 2.9.1, filelock 4.2.11",
        "Prove machine code sm_120 in torchaudio",
    ]
    assert installed.installed()["idna"] == "3.20", "what a plugin added is left alone"
    settled(installed)


@pytest.mark.whole
def test_same_version_with_other_content(installed: Place) -> None:
    """As after a wheel of the same version from another index: its record and its files agree with each other."""
    record = "jinja2-*.dist-info/RECORD"
    installed.sh(
        f"cd {installed.site} && sed -i 's#^jinja2/utils.py,.*#jinja2/utils.py,sha256=AAAA,3#' {record}"
        " && rm jinja2/utils.py && printf abc > jinja2/utils.py"
    )
    assert "was replaced by another build of the same version" in repaired(installed)


def test_edited_file_is_cured_in_every_environment(installed: Place) -> None:
    """An editor that writes in place changes the cache and all environments at once: they share the file."""
    second = Place(installed.host, f"{installed.env}-second", installed.cache)
    installed.sh(f"{installed.env}/bin/python -m venv --without-pip --system-site-packages {second.env}")
    assert second.torch().rc == 0
    installed.sh(f"echo 'import nothing' >> {installed.site}/jinja2/utils.py")
    for place in (installed, second):
        assert "import nothing" in place.sh(f"tail -1 {place.site}/jinja2/utils.py").stdout
        assert "has altered files: jinja2/utils.py" in repaired(place)
        assert "import nothing" not in place.sh(f"cat {place.site}/jinja2/utils.py").stdout


def test_second_environment_costs_no_second_copy(installed: Place) -> None:
    second = Place(installed.host, f"{installed.env}-copy", installed.cache)
    installed.sh(f"cp -a {MADE} {second.env}")
    asked = installed.fetched()
    repaired(second)
    assert installed.fetched() == asked, "nothing is fetched again"
    first = [f"{installed.site}/{name}" for name in SMALL]
    both = [*first, *(f"{second.site}/{name}" for name in SMALL)]
    once, twice = kilobytes(installed, installed.cache, *first), kilobytes(installed, installed.cache, *both)
    assert twice - once < once / 50, f"{twice - once} KB more for {once} KB: directories only"
    library = "torchaudio/lib/libtorchaudio.so"
    inodes = installed.sh(f"stat -c %i {installed.site}/{library} {second.site}/{library}").stdout.split()
    assert inodes[0] == inodes[1]


@pytest.mark.whole
def test_cache_on_another_file_system(place: Place) -> None:
    cache = mounted(place, "200m")
    result = place.torch(torch_stack_cache=cache)
    assert result.rc == 0, result.message
    assert "are on different file systems" in result.stdout
    assert place.torch(torch_stack_cache=cache).changed == 0


def test_full_disk(place: Place) -> None:
    cache, before = mounted(place, "4m"), place.installed()
    result = place.torch(torch_stack_cache=cache, torch_stack_space_gb=0)
    assert f"Found: the disk became full while uv worked with {cache}" in result.message
    assert "free space on that file system" in result.message
    assert place.installed() == before
    mounted(place, "200m", "remount,")
    assert place.torch(torch_stack_cache=cache, torch_stack_space_gb=0).rc == 0
    assert SMALL.items() <= place.installed().items()


def test_too_little_space_is_refused_before_anything_is_fetched(place: Place) -> None:
    cache, asked = mounted(place, "4m"), place.fetched()
    result = place.torch(check=True, torch_stack_cache=cache, torch_stack_space_gb=10)
    assert f"0.0 GB free on {cache.rpartition('/')[0]}" in result.message
    assert "10.0 GB (torch_stack_space_gb)" in result.message
    assert place.fetched() == asked


def test_constraints_are_obeyed(installed: Place) -> None:
    other = f"filelock=={OTHER['filelock']}"
    by_pip = installed.sh(f"{installed.pip} install {pip_index(installed)} {other}", check=False)
    assert by_pip.returncode != 0
    assert f"The user requested (constraint) filelock=={SMALL['filelock']}" in by_pip.stdout
    activated = f". /opt/miniforge3/etc/profile.d/conda.sh; conda activate {installed.env};"
    index = f"--default-index {installed.host.lab.depot_url}/simple/"
    by_uv = installed.sh(f"{activated} {UV} pip install --python $CONDA_PREFIX {index} {other}", check=False)
    assert by_uv.returncode != 0
    words = re.sub(r"\s+", " ", by_uv.stderr)
    assert f"you require {other} and filelock=={SMALL['filelock']}" in words
    assert "CONSTRAINT" not in installed.sh(f"{activated} conda deactivate; env").stdout
    free = installed.sh(f"{installed.pip} install {pip_index(installed)} --dry-run idna", check=False)
    assert free.returncode == 0, "other packages are nobody's business"
    settled(installed)


@pytest.mark.whole
def test_named_index(place: Place) -> None:
    """Else the hosts' own /etc/pip.conf names the depot, as a site does with its mirror; uv does not read that."""
    result = place.torch(torch_stack_index_url=f"{place.host.lab.depot_url}/simple/")
    assert (result.rc, result.changed) == (0, 1), result.message
    settled(place)


def test_lock_without_torch_says_what_it_does_not_prove(installed: Place) -> None:
    told = installed.torch().tasks[-1]["result"]
    assert told["native_code"]["torchaudio"]["outcome"] == "pass"
    assert told["native_code"]["torch"] == {
        "outcome": "not_proven",
        "why": "the lock has no torch, so nothing was proven about it",
        "libraries": {},
    }
    refused = installed.torch(torch_stack_native_packages=["torch"])
    assert refused.message.startswith("Found: torch_stack_lock has no torch.")


@pytest.mark.whole
def test_machine_code_for_another_gpu(place: Place) -> None:
    for _attempt in range(2):
        result = place.torch(torch_stack_arch="13.7")
        assert "torchaudio: no machine code sm_137 in torchaudio/lib/" in result.message


def pip_index(place: Place) -> str:
    url = place.host.lab.depot_url
    return f"--index-url {url}/simple/ --trusted-host {url.split('/')[2].split(':')[0]}"


def kilobytes(place: Place, *paths: str) -> int:
    """Return what paths take on disk, every inode counted once."""
    return int(place.sh(f"du -skc {' '.join(paths)} | tail -1").stdout.split()[0])


def mounted(place: Place, size: str, options: str = "") -> str:
    """Mount a small file system, or make it larger, and return a directory on it."""
    point = f"/mnt{place.cache}"
    command = f"mkdir -p {point} && mount -t tmpfs -o {options}size={size} tmpfs {point}"
    done = place.host.lab.exec(place.host.name, command, privileged=True)
    assert done.returncode == 0, done.stderr
    return f"{point}/uv"
