"""Each fault once, in its short form: nothing is lost, nothing is counted twice, and the worker recovers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.faults import FAULTS
from tests.faults.rig import Rig
from tests.faults.trial import Scale
from tests.faults.trying import Fault, try_fault

SHORT = Scale(numbers=2_000, rate=500.0)
SHIFTING = Scale(numbers=4_000, rate=1_000.0)
"""A model's own burstiness is measured first; after the shift events flow until the incident is there."""

pytestmark = [
    pytest.mark.integration,
    pytest.mark.kafka,
    pytest.mark.faults,
    pytest.mark.timeout(480),  # fifteen seconds where nothing else runs; what a trial waits for has limits of its own
]


def _short_form() -> list[object]:
    return [
        pytest.param(name, fault, id=name.replace(" ", "-"), marks=[pytest.mark.slow] if fault.slow else [])
        for name, fault in FAULTS.items()
    ]


@pytest.mark.parametrize(("name", "fault"), _short_form())
async def test_nothing_is_lost_and_nothing_counted_twice_by(name: str, fault: Fault, rig: Rig, tmp_path: Path) -> None:
    verdict = await try_fault(name, fault, rig, tmp_path, SHIFTING if fault.shifts else SHORT)
    assert verdict.problems == ()
    assert (verdict.lost, verdict.double) == (0, 0)
    assert verdict.events > 0
