# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule by which a verification ends, as a table."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_rule
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import (
    CHECKS,
    Check,
    Level,
    failed,
    not_proven,
    passed,
    warned,
)

ROOT = Path(__file__).parents[4]
NATIVE = passed("native_code", "sm_120")
CARDS = passed("cards", "1 on PCI and in NVML")
NO_CARDS = not_proven("cards", "no NVIDIA driver is loaded")


@pytest.mark.parametrize(
    ("checks", "required", "expect_gpu", "failure", "verified"),
    [
        pytest.param([NATIVE, CARDS], ["native_code", "cards"], True, None, True, id="all-proven"),
        pytest.param(
            [warned("native_code", "one reader")], ["native_code"], True, None, True, id="a-warning-is-proven"
        ),
        pytest.param([NATIVE, NO_CARDS], ["cards"], True, "cards is required and not proven", False, id="required"),
        pytest.param([NATIVE, NO_CARDS], ["native_code"], True, None, True, id="not-required"),
        pytest.param(
            [NATIVE, NO_CARDS], ["native_code", "cards"], False, None, False, id="no-gpu-is-excused-not-verified"
        ),
        pytest.param(
            [not_proven("native_code", "there is no nvcc")],
            ["native_code"],
            False,
            "native_code is required and not proven",
            False,
            id="no-gpu-excuses-only-what-needs-one",
        ),
        pytest.param(
            [NATIVE, failed("cards", "1 of 2")], ["native_code"], True, "cards failed: 1 of 2", False, id="failed"
        ),
        pytest.param(
            [NATIVE, failed("cards", "1 of 2")], ["native_code"], False, "cards failed", False, id="failed-without-gpu"
        ),
        pytest.param([NATIVE], ["torch_build"], True, "torch_build is required and not proven", False, id="not-made"),
        pytest.param([NATIVE], ["torch_launch"], False, None, False, id="not-made-and-excused"),
        pytest.param([], [], True, None, True, id="nothing-asked"),
        pytest.param(
            [passed("memory_test", "x", card="GPU-0"), not_proven("memory_test", "out of memory", card="GPU-1")],
            ["memory_test"],
            True,
            "memory_test of GPU-1 is required and not proven: out of memory",
            False,
            id="one-card-of-two-is-open",
        ),
        pytest.param(
            [passed("memory_test", "x", card="GPU-0"), failed("memory_test", "2 wrong", card="GPU-1")],
            [],
            True,
            "memory_test of GPU-1 failed: 2 wrong",
            False,
            id="one-card-of-two-failed",
        ),
    ],
)
def test_the_rule(
    checks: list[Check],
    required: list[str],
    expect_gpu: bool,  # noqa: FBT001
    failure: str | None,
    verified: bool,  # noqa: FBT001
) -> None:
    found = _verify_rule.verdict(checks, required, expect_gpu=expect_gpu)
    assert (found is None) == (failure is None)
    assert (failure or "") in (found or "")
    assert _verify_rule.is_verified(checks, required) is verified


def test_a_required_check_must_exist() -> None:
    with pytest.raises(OperatorError, match="native_cod.*names of checks: driver_loaded"):
        _verify_rule.check_names(["cards", "native_cod"])
    assert _verify_rule.check_names(["cards", "cards"]) == ("cards",)


QUICK = [name for name, kind in CHECKS.items() if kind.level is Level.QUICK]


@pytest.mark.parametrize(
    ("level", "minutes", "python", "more", "less"),
    [
        pytest.param(Level.QUICK, 0, True, {"torch_matmul"}, {"diffusion_sdxl", "endurance"}, id="quick"),
        pytest.param(Level.FULL, 0, True, {"cards", "diffusion_sdxl"}, {"endurance"}, id="full"),
        pytest.param(Level.QUICK, 5, True, {"cards", "endurance"}, {"diffusion_sdxl"}, id="quick-and-endurance"),
        pytest.param(Level.FULL, 5, False, {"cards", "endurance"}, {"torch_build", "diffusion_sdxl"}, id="no-torch"),
    ],
)
def test_what_a_run_makes(level: Level, minutes: float, python: bool, more: set[str], less: set[str]) -> None:  # noqa: FBT001
    asked = _verify_rule.asked_checks(level, minutes, python=python)
    assert more <= set(asked)
    assert not less & set(asked)
    assert list(asked) == [name for name in CHECKS if name in asked]
    assert not python or set(QUICK) <= set(asked)


def test_the_role_requires_every_check_in_every_run_that_makes_it() -> None:
    """But for what is said only of a driver that gpu_driver has installed."""
    defaults = yaml.safe_load((ROOT / "roles/gpu_verify/defaults/main.yml").read_text())
    assert defaults["gpu_verify_require"] == [name for name in CHECKS if name != "driver_drift"]
