# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The diffusion libraries: when the picture is made again, and which pictures prove nothing."""

from __future__ import annotations

import json
import struct
import typing as t
import zlib
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._diffusion_component import DiffusionComponent
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from fakehost import FakeHost
from wheelhost import ENV, SITE, UV_LOCK, FakeUv, add_env, add_uv, add_wheel, lock_line

LOCK = lock_line("diffusers", "0.40.0") + lock_line("safetensors", "0.8.0")
IMAGE = "/var/lib/gpulab/diffusion/proof.png"
DRIVER = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.178.04  Release Build\n"
RESULT = {"device": "cpu", "seconds": 0.9, "finite": True, "versions": {"diffusers": "0.40.0"}}


def png(size: int, shades: tuple[int, int] = (10, 200)) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = bytes([0, *([shades[0]] * (size - 1)), shades[1]])
    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * size))


class Painter:
    """Stands for the Python that runs the script: leaves a picture and prints a result."""

    def __init__(self, host: FakeHost, picture: bytes | None, said: str, rc: int = 0, stderr: str = "") -> None:
        self.host, self.picture, self.said, self.rc, self.stderr = host, picture, said, rc, stderr
        self.calls: list[tuple[str, ...]] = []
        host.commands[f"{ENV}/bin/python -I /var/lib/gpulab/diffusion/tiny_pipeline.py"] = self

    def __call__(self, command: tuple[str, ...]) -> tuple[int, str, str]:
        self.calls.append(command)
        if self.picture is not None:
            self.host.add(command[command.index("--image") + 1], self.picture)
        return self.rc, self.said, self.stderr


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    made = FakeHost(tmp_path)
    add_env(made)
    add_uv(made)
    FakeUv(made, {}).install()
    return made


@pytest.fixture
def painter(host: FakeHost) -> Painter:
    return Painter(host, png(64), "a warning\n" + json.dumps(RESULT) + "\n")


def component(**params: t.Any) -> DiffusionComponent:
    options = {
        "env": ENV, "cache": "/var/cache/gpulab/uv", "index_url": "", "uv_lock": UV_LOCK, "lock": LOCK, "space_gb": 0.0,
        "script": "print('picture')", "image": IMAGE, "size": 64, "steps": 4, "seed": 7, "expect_gpu": True,
        "attention": "measured",
    }  # fmt: skip
    return DiffusionComponent.from_params({**options, **params})


def bring_about(host: FakeHost, wanted: DiffusionComponent) -> list[str]:
    plan = wanted.plan(wanted.read(host))
    for step in plan.steps:
        wanted.apply(host, step, lambda _detail: None)
    assert wanted.plan(wanted.read(host)).steps == ()
    return [step.title for step in plan.steps]


CPU, CUDA = f"Make a picture on the CPU: {IMAGE}", f"Make a picture on the GPU: {IMAGE}"


def test_a_fresh_environment(host: FakeHost, painter: Painter) -> None:
    assert bring_about(host, component())[-1] == CPU
    proof = component().report(component().read(host))["proof"]
    assert proof["outcome"] == "pass"
    assert proof["why"] == "made on the CPU, because no NVIDIA driver with a GPU is loaded"
    assert proof["lock_sha256"] == component().layer.lock_sha256
    assert (proof["device"], proof["image"], proof["versions"]) == ("cpu", IMAGE, {"diffusers": "0.40.0"})
    (call,) = painter.calls
    assert " ".join(call[-8:]) == "--device cpu --size 64 --steps 4 --seed 7"
    assert host.read_text("/var/lib/gpulab/diffusion/tiny_pipeline.py") == "print('picture')"


def test_a_second_run_makes_no_picture(host: FakeHost, painter: Painter) -> None:
    bring_about(host, component())
    assert bring_about(host, component()) == []
    assert len(painter.calls) == 1


def test_a_gpu_that_comes_later_makes_the_picture_again(host: FakeHost, painter: Painter) -> None:
    bring_about(host, component())
    host.add("/proc/driver/nvidia/version", DRIVER)
    host.add("/dev/nvidiactl")
    host.add("/dev/nvidia0")
    assert bring_about(host, component()) == [CUDA]
    assert "cuda" in painter.calls[-1]
    assert component().report(component().read(host))["proof"]["why"] == ""


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"script": "print('another')"}, id="script"),
        pytest.param({"size": 32}, id="size"),
        pytest.param({"seed": 8}, id="seed"),
        pytest.param({"lock": LOCK + lock_line("idna", "3.20")}, id="lock"),
    ],
)
def test_what_it_depends_on_makes_it_again(host: FakeHost, painter: Painter, change: dict[str, t.Any]) -> None:
    bring_about(host, component())
    painter.picture = png(change.get("size", 64))
    assert bring_about(host, component(**change))[-1] == CPU


@pytest.mark.usefixtures("painter")
def test_a_missing_or_other_picture_is_made_again(host: FakeHost) -> None:
    bring_about(host, component())
    host.remove(IMAGE)
    assert bring_about(host, component()) == [CPU]
    host.add(IMAGE, png(64, (1, 2)))
    assert bring_about(host, component()) == [CPU]


@pytest.mark.usefixtures("painter")
def test_a_lower_layer_that_changed_makes_it_again(host: FakeHost) -> None:
    bring_about(host, component())
    note = host.read_text(f"{ENV}/etc/gpulab/wheels.json") or ""
    other = '{"torch": {"version": "2.9.1", "hashes": ["a"], "payload": "b"}, '
    host.write_text(f"{ENV}/etc/gpulab/wheels.json", other + note.lstrip("{"))
    assert bring_about(host, component()) == [CPU]


@pytest.mark.usefixtures("painter")
def test_a_repaired_package_makes_it_again(host: FakeHost) -> None:
    bring_about(host, component())
    host.remove(f"{SITE}/safetensors-0.8.0.dist-info")
    add_wheel(host, "safetensors", "0.7.0", installer="pip")
    assert bring_about(host, component()) == ["Install safetensors 0.8.0", CPU]


@pytest.mark.parametrize(
    ("picture", "result", "words"),
    [
        pytest.param(png(32), RESULT, "it is 32x32", id="size"),
        pytest.param(png(64, (9, 9)), RESULT, "it shows one shade only", id="one shade"),
        pytest.param(png(64), {**RESULT, "finite": False}, "not finite", id="not finite"),
        pytest.param(png(64), {"device": "cpu"}, "not finite", id="does not say"),
        pytest.param(b"<html>", RESULT, "it is not a PNG file", id="no picture"),
        pytest.param(None, RESULT, "it is not a PNG file", id="nothing"),
    ],
)
def test_a_bad_picture_proves_nothing(
    host: FakeHost, picture: bytes | None, result: dict[str, t.Any], words: str
) -> None:
    Painter(host, picture, json.dumps(result))
    with pytest.raises(OperatorError) as caught:
        bring_about(host, component())
    assert words in caught.value.found
    assert component().report(component().read(host))["proof"]["outcome"] == "not_proven"
    assert host.read_bytes(IMAGE) is None


@pytest.mark.parametrize(
    ("rc", "said", "stderr", "words"),
    [
        (1, "", "Traceback\nModuleNotFoundError: No module named 'torch'\n", "No module named 'torch'"),
        (-9, "", "", "ended on cpu with -9: it said nothing"),
        (0, "no json\n", "", "ended on cpu with 0"),
    ],
    ids=["import", "killed", "nonsense"],
)
def test_a_script_that_fails_is_told(host: FakeHost, rc: int, said: str, stderr: str, words: str) -> None:
    Painter(host, png(64), said, rc, stderr)
    with pytest.raises(OperatorError) as caught:
        bring_about(host, component())
    assert words in caught.value.found


@pytest.mark.parametrize("image", ["proof.png", "/var/lib/proof.jpg"])
def test_a_picture_needs_a_place(image: str) -> None:
    with pytest.raises(OperatorError, match="diffusion_stack_image is"):
        component(image=image)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}'])
def test_an_unreadable_note_is_no_note(host: FakeHost, text: str) -> None:
    host.add(IMAGE, png(64))
    host.add("/var/lib/gpulab/diffusion/proof.json", text)
    assert not component().read(host).proven


QUICKER = "Make the attention that was measured to be the quickest the default"
MEASURED = {"name": "attention_backends", "figures": {"environment": {"TORCH_CUDNN_SDPA_DEPRIORITIZED": "1"}}}
PTH = f"{SITE}/gpulab_attention.pth"


def test_the_measured_attention_becomes_the_default(host: FakeHost, painter: Painter) -> None:
    bring_about(host, component())
    host.add("/var/lib/gpulab/verify.json", json.dumps({"checks": [MEASURED]}))
    assert bring_about(host, component()) == [QUICKER]
    assert "os.environ.setdefault('TORCH_CUDNN_SDPA_DEPRIORITIZED', '1')" in (host.read_text(PTH) or "")
    assert len(painter.calls) == 1, "the picture does not depend on it"


@pytest.mark.parametrize(
    ("document", "attention"),
    [(json.dumps({"checks": [MEASURED]}), "own"), (json.dumps({"checks": []}), "measured")],
    ids=["asked-for", "measured-anew"],
)
def test_torch_chooses_again(host: FakeHost, painter: Painter, document: str, attention: str) -> None:
    host.add("/var/lib/gpulab/verify.json", json.dumps({"checks": [MEASURED]}))
    assert QUICKER in bring_about(host, component())
    host.add("/var/lib/gpulab/verify.json", document)
    assert bring_about(host, component(attention=attention)) == ["Leave the choice of attention to torch"]
    assert host.read_text(PTH) is None
    assert painter.calls
