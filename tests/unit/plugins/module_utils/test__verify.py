# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule by which a verification ends, as a table."""

from __future__ import annotations

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import (
    Check,
    failed,
    not_proven,
    passed,
    warned,
)

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
    ],
)
def test_the_rule(
    checks: list[Check],
    required: list[str],
    expect_gpu: bool,  # noqa: FBT001
    failure: str | None,
    verified: bool,  # noqa: FBT001
) -> None:
    found = _verify.verdict(checks, required, expect_gpu=expect_gpu)
    assert (found is None) == (failure is None)
    assert (failure or "") in (found or "")
    assert _verify.is_verified(checks, required) is verified


@pytest.mark.parametrize(("text", "digits"), [("12.0", "120"), ("9.0", "90"), ("9.0a", "90a"), ("12.0f", "120f")])
def test_arch(text: str, digits: str) -> None:
    assert _verify.parse_arch(text) == digits


@pytest.mark.parametrize("text", ["sm_120", "120", "12", "", "12.0+PTX", "12.0 "])
def test_an_arch_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(OperatorError, match="gpu_verify_arch"):
        _verify.parse_arch(text)


def test_a_required_check_must_exist() -> None:
    with pytest.raises(OperatorError, match="native_cod.*names of checks: driver_loaded"):
        _verify.check_names(["cards", "native_cod"])
    assert _verify.check_names(["cards", "cards"]) == ("cards",)
