"""Failpoints: nothing unless they are set, and then at the time that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from agents.errors import SettingsError
from agents.failpoints import HANGING, VARIABLE, InjectedFaultError, Place, arm, failpoint, failpoint_or_hang


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm({})


def test_a_place_without_a_failpoint_is_passed() -> None:
    arm({})
    for place in Place:
        failpoint(place)


def test_a_failpoint_acts_at_its_place_and_at_no_other() -> None:
    arm({VARIABLE: f"{Place.STATE_SAVED}=raise"})
    failpoint(Place.COUNTED)
    with pytest.raises(InjectedFaultError, match=r"verdicts\.state_saved"):
        failpoint(Place.STATE_SAVED)


def test_a_failpoint_with_a_number_acts_at_that_time_and_once() -> None:
    arm({VARIABLE: f"{Place.COUNTED}=raise:3"})
    failpoint(Place.COUNTED)
    failpoint(Place.COUNTED)
    with pytest.raises(InjectedFaultError):
        failpoint(Place.COUNTED)
    failpoint(Place.COUNTED)


@pytest.mark.parametrize(
    "value",
    ["nowhere=kill", "profiling.counted=explode", "profiling.counted", "profiling.counted=kill:0", "joins.stored=hang"],
)
def test_a_failpoint_that_there_is_not_is_refused_in_one_line(value: str) -> None:
    with pytest.raises(SettingsError, match=VARIABLE):
        arm({VARIABLE: value})


@pytest.mark.parametrize("place", sorted(HANGING))
async def test_a_step_hangs_until_the_failpoints_are_set_anew(place: Place) -> None:
    arm({VARIABLE: f"{place}=hang"})
    step = asyncio.create_task(failpoint_or_hang(place))
    await asyncio.sleep(0.01)
    assert not step.done()
    arm({})
    await step


async def test_a_step_that_can_hang_fails_in_all_other_ways_too() -> None:
    arm({VARIABLE: f"{Place.BEFORE_SAVE}=raise"})
    with pytest.raises(InjectedFaultError):
        await failpoint_or_hang(Place.BEFORE_SAVE)
