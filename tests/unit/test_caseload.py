"""The caseload of a partition of ``profiles``: references whose forwarded rows were damaged on the way."""

from __future__ import annotations

from agents.baseline import Collecting
from agents.caseload import Caseload
from agents.registry import Registration
from schemas.profiles import BaselineRows
from tests.support.data import rows_of
from tests.support.profiling import draft

SPEC = draft()
COLLECTED = Registration(SPEC, None, 0, SPEC.hash)
VERSION = ("m", "1")
SOURCE = ("predictions", 3)


def forwarded(start: int, stop: int) -> BaselineRows:
    x, plan = SPEC.signals
    collecting = Collecting(SPEC, SPEC.hash, *SOURCE)
    count = stop - start
    rows = rows_of(SPEC, {x: [1.0] * count, plan: ["free"] * count}, offsets=list(range(start, stop)))
    collecting.add(rows, stop)
    (event,) = collecting.take()
    return event


def collected(cases: Caseload) -> int:
    (status,) = cases.statuses([VERSION])
    return status.rows


def test_rows_behind_a_damaged_record_wait_until_its_rows_come_again() -> None:
    cases = Caseload()
    cases.collect(forwarded(0, 20), COLLECTED)
    cases.miss(VERSION, SOURCE, 20)
    cases.collect(forwarded(40, 60), COLLECTED)
    assert collected(cases) == 20
    cases.collect(forwarded(20, 40), COLLECTED)
    cases.collect(forwarded(40, 60), COLLECTED)
    assert collected(cases) == 60


def test_rows_before_a_damaged_record_and_of_other_partitions_are_taken() -> None:
    cases = Caseload()
    cases.miss(VERSION, ("predictions", 4), 0)
    cases.miss(VERSION, SOURCE, 20)
    cases.collect(forwarded(0, 20), COLLECTED)
    assert collected(cases) == 20
