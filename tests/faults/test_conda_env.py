# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""conda_env on hosts where something is wrong: refused before a change, or repaired and gone on with."""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Iterator

import pytest
from labhost import LabHost, Playbook, PlayResult

from gpulab.lab import Lab
from gpulab.lab.faults import Fault

PREFIX = "/opt/miniforge3"
ENVIRONMENT = f"{PREFIX}/envs/rtx5090"
CONDA = f"{PREFIX}/bin/conda"
PAUSES = "/run/gpulab-standin"


@pytest.fixture(autouse=True)
def no_faults(lab: Lab) -> Iterator[None]:
    """Leave the depot as it should be."""
    yield
    lab.set_faults()


@pytest.fixture(scope="module")
def bare_host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    """Start a host for the tests in which nothing may be changed."""
    lab.add_host("conda-bare")
    yield LabHost(lab, "conda-bare", tmp_path_factory.mktemp("conda-bare"))
    lab.remove_host("conda-bare")


class Made(t.NamedTuple):
    """A host that has got the environment in three runs, and what was seen after the two that were killed."""

    host: LabHost
    in_installer: str
    conda_was_there: bool
    between_packages: str
    records: int
    last: PlayResult


@pytest.fixture(scope="module")
def made(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Give a host the environment from second sources, with downloads that break off once and runs that are killed."""
    lab.add_host("conda-ready")
    host = LabHost(lab, "conda-ready", tmp_path_factory.mktemp("conda-ready"))
    release = installer(lab)
    sources = [f"{lab.depot_url}/files/not-there.sh", *release["sources"]]
    variables = {
        "conda_env_installer": {**release, "sources": sources},
        "conda_env_mirror": f"{lab.depot_url}/no-mirror-here",
    }
    lab.set_faults(
        Fault("/files/Miniforge3-*", "truncate", bytes=5_000_000, times=1),
        Fault("/conda/*/python-3*", "truncate", bytes=1_000_000, times=1),
    )
    in_installer = kill_at(host, "installer", f"test -e {PREFIX}/pkgs/base.txt", **variables)
    conda_was_there = host.sh(f"test -e {CONDA}", check=False).returncode == 0
    between_packages = kill_at(host, "link", f"ls {ENVIRONMENT}/conda-meta/*.json", **variables)
    linked = len(records(host))
    last = host.apply("conda_env", **variables)
    lab.set_faults()
    yield Made(host, in_installer, conda_was_there, between_packages, linked, last)
    lab.remove_host("conda-ready")


@pytest.fixture
def ready_host(made: Made) -> LabHost:
    """Return a host that has the environment."""
    assert (made.last.failed, made.last.changed) == (0, 1), made.last.stdout
    return made.host


def standin(lab: Lab) -> t.Any:
    return next(found for found in lab.standins if found.kind == "miniforge")


def installer(lab: Lab, **changes: t.Any) -> dict[str, t.Any]:
    """Return the stand-in as the lookup would."""
    found = standin(lab)
    release = {"version": found.version, "file": found.file, "size": found.size, "sha256": found.sha256}
    return {**release, "sources": [found.url(lab.depot_url)], "standin": True, **changes}


def lock(lab: Lab) -> str:
    return str(standin(lab).lock.replace("{depot}", lab.depot_url))


def assert_refused(host: LabHost, *words: str, **variables: t.Any) -> None:
    """Expect the same refusal in check mode and for real, and no trace of a change."""
    before = host.sh("ls -A /opt; ls /etc/profile.d; cat /etc/bash.bashrc").stdout
    for check in (True, False):
        result = host.apply("conda_env", check=check, **variables)
        assert result.failed == 1, result.stdout
        assert all(word in result.message for word in words), result.message
    assert host.sh("ls -A /opt; ls /etc/profile.d; cat /etc/bash.bashrc").stdout == before


def assert_fetch_fails(host: LabHost, *words: str, **variables: t.Any) -> None:
    """Expect a failure of the fetching step, and no trace of a change."""
    result = host.apply("conda_env", **variables)
    assert result.failed == 1, result.stdout
    assert all(word in result.message for word in words), result.message
    assert host.sh("ls -A /opt; ls /etc/profile.d").stdout.split() == []


def assert_ready(host: LabHost) -> None:
    """Expect a host on which nothing is left to do and whose Python works."""
    again = host.apply("conda_env")
    assert (again.failed, again.changed) == (0, 0), again.stdout
    assert host.sh(f"{ENVIRONMENT}/bin/python -m pip --version").stdout.startswith(f"pip 26.0 from {ENVIRONMENT}/")


def records(host: LabHost) -> list[str]:
    return host.sh(f"cd {ENVIRONMENT}/conda-meta && ls *.json").stdout.split()


def steps(result: t.Any) -> list[str]:
    found: list[str] = result.tasks[-1]["result"]["steps"]
    return found


def test_wrong_installer(bare_host: LabHost) -> None:
    wrong = installer(bare_host.lab, sha256="0" * 64)
    found = installer(bare_host.lab)["sha256"]
    assert_fetch_fails(
        bare_host, f"with sha256 {found}", f"Expected: a file with sha256 {'0' * 64}", conda_env_installer=wrong
    )


def test_html_page_instead_of_the_installer(bare_host: LabHost) -> None:
    bare_host.lab.set_faults(Fault("/files/Miniforge3-*", "html"))
    assert_fetch_fails(bare_host, "sent an HTML page where the file should be", "Miniforge3-")


def test_wrong_package(bare_host: LabHost) -> None:
    lines = lock(bare_host.lab).splitlines()
    wrong = "\n".join(line[:-64] + "0" * 64 if "/python-3.11" in line else line for line in lines)
    assert_fetch_fails(
        bare_host, "no source gave python-3.11", "0" * 64, conda_env_lock={"text": wrong, "python": "3.11"}
    )


def test_miniconda_is_refused_with_every_other_reason(bare_host: LabHost) -> None:
    """Another reason is the channel that somebody has named, one more a directory that nobody else may enter."""
    prefix = "/srv/private/m"
    record = {
        "name": "conda",
        "version": "26.3.1",
        "build": "py313_0",
        "channel": "https://repo.anaconda.com/pkgs/main",
    }
    bare_host.sh(f"mkdir -p -m 700 /srv/private && mkdir -p {prefix}/conda-meta /etc/conda")
    bare_host.sh(f"echo '{json.dumps(record)}' > {prefix}/conda-meta/conda-26.3.1-py313_0.json")
    bare_host.sh("printf 'channels:\\n  - defaults\\n' > /etc/conda/.condarc")
    words = (f"Found: {prefix} is Miniconda or Anaconda", "To do: move it away", "Nothing was changed.")
    words += ("/etc/conda/.condarc lists defaults", "take defaults out of /etc/conda/.condarc")
    words += ("other users cannot pass /srv/private", "chmod o+x /srv/private")
    assert_refused(bare_host, *words, conda_env_prefix=prefix)
    bare_host.sh("rm -r /etc/conda /srv/private")


def test_other_directory_is_refused(bare_host: LabHost) -> None:
    bare_host.sh(f"mkdir {PREFIX} && echo precious > {PREFIX}/data")
    assert_refused(bare_host, f"Found: {PREFIX} is no conda installation", "look at /opt/miniforge3 and move it away")
    assert bare_host.sh(f"cat {PREFIX}/data").stdout == "precious\n"
    bare_host.sh(f"rm -r {PREFIX}")


def test_small_disk(bare_host: LabHost) -> None:
    mounted = bare_host.lab.exec(
        bare_host.name, "mkdir -p /srv/small && mount -t tmpfs -o size=50m tmpfs /srv/small", privileged=True
    )
    assert mounted.returncode == 0, mounted.stderr
    assert_refused(
        bare_host, "MB free on /srv/small", "To do: free space on /srv/small", conda_env_prefix="/srv/small/m"
    )
    bare_host.lab.exec(bare_host.name, "umount /srv/small", privileged=True)


def wait_for(host: LabHost, condition: str, playbook: Playbook) -> None:
    """Wait until a bash line is true on the host, while the play goes on."""
    while host.sh(condition, check=False).returncode:
        if playbook.process.poll() is not None:
            message = f"the play ended before this was true: {condition}\n{playbook.wait().stdout}"
            raise AssertionError(message)
        time.sleep(0.2)


def kill_at(host: LabHost, stage: str, condition: str, **variables: t.Any) -> str:
    """Start the role, stop it at a stage of the stand-in, kill its job there, and return the message of the run."""
    host.sh(f"mkdir -p {PAUSES} && touch {PAUSES}/pause-{stage}")
    playbook = host.start("conda_env", **variables)
    wait_for(host, condition, playbook)
    host.sh("systemctl kill --signal=KILL gpulab-conda-env")
    host.sh(f"rm {PAUSES}/pause-{stage}")
    result = playbook.wait()
    assert result.failed == 1, result.stdout
    return result.message


def test_killed_run_goes_on(made: Made) -> None:
    """Killed in the installer, and later between two packages of the environment."""
    assert "ended without a result at: Install Miniforge" in made.in_installer
    assert "run again, it continues" in made.in_installer
    assert not made.conda_was_there
    assert "ended without a result at: Create the environment" in made.between_packages
    assert made.records < 7
    assert (made.last.failed, made.last.changed) == (0, 1), made.last.stdout
    assert any("because its creation was cut off" in step for step in steps(made.last))
    assert_ready(made.host)


def test_second_source_and_broken_downloads(ready_host: LabHost) -> None:
    """The first source answers 404, the second breaks off once and is gone on with; so do mirror and channel."""
    asked = [json.loads(line) for line in ready_host.lab.requests.read_text(encoding="utf-8").splitlines()]
    assert any(request["range"] == "bytes=5000000-" and "Miniforge3-" in request["path"] for request in asked)
    assert any("/no-mirror-here/standin-forge/" in json.dumps(request) for request in asked)


def test_drift_is_repaired_and_pip_is_left_alone(ready_host: LabHost) -> None:
    before = records(ready_host)
    found = standin(ready_host.lab)
    drift = f"@EXPLICIT\n{found.older_line}\n{found.extra_line}".replace("{depot}", ready_host.lab.depot_url)
    ready_host.sh(
        f"printf '%s\\n' '{drift}' > /tmp/drift.txt && {CONDA} install -y -p {ENVIRONMENT} --file /tmp/drift.txt"
    )
    ready_host.sh(f"{CONDA} remove -y --force-remove -p {ENVIRONMENT} tzdata && rm {ENVIRONMENT}/ssl/cacert.pem")
    package = f"{ENVIRONMENT}/lib/python3.11/site-packages/of_pip"
    ready_host.sh(f"mkdir {package} && echo 'here = True' > {package}/__init__.py")
    planned = ready_host.apply("conda_env", check=True)
    assert any("of_pip" in path for path in ready_host.sh(f"ls -d {package}").stdout.split())
    done = ready_host.apply("conda_env")
    assert (done.failed, done.changed) == (0, 1), done.stdout
    assert steps(planned) == steps(done)
    words = " ".join(steps(done))
    for expected in ("gpulab-standin-extra-1.0", "(found wheel-0.44.0-standin_0)", "tzdata", "(lacks ssl/cacert.pem)"):
        assert expected in words
    assert records(ready_host) == before
    assert ready_host.sh(f"{ENVIRONMENT}/bin/python -c 'import of_pip; print(of_pip.here)'").stdout == "True\n"
    assert ready_host.sh(f"{ENVIRONMENT}/bin/wheel version").stdout == "wheel 0.45.1\n"
    assert_ready(ready_host)


@pytest.mark.whole
def test_damaged_python_and_a_half_record_are_repaired(ready_host: LabHost) -> None:
    ready_host.sh(f"rm {ENVIRONMENT}/lib/python3.11/os.py")
    ready_host.sh(
        f"cd {ENVIRONMENT}/conda-meta && head -c 300 pip-26.0-standin_0.json > x && mv x pip-26.0-standin_0.json"
    )
    result = ready_host.apply("conda_env")
    assert (result.failed, result.changed) == (0, 1), result.stdout
    assert "(lacks lib/python3.11/os.py)" in " ".join(steps(result))
    assert_ready(ready_host)


def test_access_is_restored(ready_host: LabHost) -> None:
    ready_host.sh(
        f"chmod 700 {PREFIX}/envs && rm /etc/profile.d/gpulab-conda.sh && sed -i '/gpulab/d' /etc/bash.bashrc"
    )
    ready_host.sh(f"printf 'channels:\\n  - bioconda\\n' > {PREFIX}/condarc.d/50-gpulab.yml")
    result = ready_host.apply("conda_env")
    assert len(steps(result)) == 4, result.stdout
    activated = ready_host.sh(
        "su nobody -s /bin/bash -c \"HOME=/tmp bash -lc 'conda activate rtx5090 && command -v python'\""
    )
    assert activated.stdout == f"{ENVIRONMENT}/bin/python\n"
    assert_ready(ready_host)


def test_adopted_miniforge(ready_host: LabHost) -> None:
    ready_host.sh(f"rm {PREFIX}/.gpulab-miniforge.json")
    result = ready_host.apply("conda_env")
    assert (result.failed, result.changed) == (0, 0), result.stdout
    assert result.tasks[-1]["result"]["miniforge"]["owner"] == "adopted"


@pytest.mark.whole
def test_older_miniforge_is_updated(ready_host: LabHost) -> None:
    ready_host.sh(f'echo \'{{"version": "26.1.0-0"}}\' > {PREFIX}/.gpulab-miniforge.json')
    result = ready_host.apply("conda_env")
    assert any(step.startswith("Update Miniforge 26.1.0-0") for step in steps(result)), result.stdout
    assert_ready(ready_host)
