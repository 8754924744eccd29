"""Each fault once, in its short form: nothing is lost, nothing is counted twice, and the worker recovers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REQUIRE_KAFKA
from tests.faults.faults import FAULTS
from tests.faults.rig import running_rig
from tests.faults.trial import Fault, Rig, Scale, try_fault
from tests.support.kafka import KafkaUnavailableError

SHORT = Scale(numbers=4_000, rate=1_000.0)
SHIFTING = Scale(numbers=6_000, rate=1_000.0)
"""An incident takes some time to be sure of."""

pytestmark = [pytest.mark.integration, pytest.mark.kafka, pytest.mark.faults]


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    try:
        with running_rig() as running:
            yield running
    except KafkaUnavailableError as error:
        if os.environ.get(REQUIRE_KAFKA) == "1":
            pytest.fail(f"{REQUIRE_KAFKA} is 1, but: {error}")
        pytest.skip(f"the Apache Kafka part is left out: {error}")


def _short_form() -> list[object]:
    return [
        pytest.param(name, fault, id=name.replace(" ", "-"), marks=[pytest.mark.slow] if fault.slow else [])
        for name, fault in FAULTS.items()
        if not fault.unsettled
    ]


@pytest.mark.parametrize(("name", "fault"), _short_form())
async def test_nothing_is_lost_and_nothing_counted_twice_by(name: str, fault: Fault, rig: Rig, tmp_path: Path) -> None:
    verdict = await try_fault(name, fault, rig, tmp_path, SHIFTING if fault.shifts else SHORT)
    assert verdict.problems == ()
    assert (verdict.lost, verdict.double) == (0, 0)
    assert verdict.events > 0
