"""Faults of the data: each is found and named, has an incident of its own, and asks nobody to retrain."""

from __future__ import annotations

import numpy as np
import pytest

from agents.responses import asks
from detector.budget import budget_of
from detector.judge import ModelJudge
from detector.layout import Layout
from detector.rows import INVALID, Rows
from schemas.outbound import Change, DriftEvent, DriftKind, Family, Response, Tier
from tests.support.faults import (
    AMOUNT,
    PLAN,
    Fault,
    Judged,
    checked_model,
    in_some,
    judged_with,
    sound_rows,
    totals_with,
    with_column,
)  # fmt: skip

SPEC = checked_model()


def amounts(rows: Rows) -> np.ndarray:
    return np.asarray(rows.columns[AMOUNT])


def plans(rows: Rows, share: float, bad: str | None) -> list[str | None]:
    return [
        None if each is None else str(each) for each in in_some(np.array(rows.columns[PLAN], dtype=object), share, bad)
    ]


FAULTS: dict[str, Fault] = {
    "quality:missing:amount": lambda rows: with_column(rows, AMOUNT, in_some(amounts(rows), 0.2, np.nan)),
    "quality:invalid:amount": lambda rows: with_column(rows, AMOUNT, in_some(amounts(rows), 0.1, np.inf)),
    "quality:missing:plan": lambda rows: with_column(rows, PLAN, plans(rows, 0.2, None)),
    "quality:invalid:plan": lambda rows: with_column(rows, PLAN, plans(rows, 0.1, INVALID)),
    "quality:unseen:plan": lambda rows: with_column(rows, PLAN, plans(rows, 0.05, "gold")),
    "quality:out_of_range:amount": lambda rows: with_column(rows, AMOUNT, in_some(amounts(rows), 0.2, 99_999.99)),
}


@pytest.mark.parametrize("signal", FAULTS)
def test_a_fault_is_named(signal: str) -> None:
    assert signal in judged_with(SPEC, FAULTS[signal]).firing


@pytest.mark.parametrize("seed", range(5))
def test_sound_rows_raise_nothing(seed: int) -> None:
    assert judged_with(SPEC, lambda rows: rows, faulty=6_400, seed=seed).events == []


@pytest.fixture(scope="module")
def broken() -> Judged:
    """A column that stops coming."""
    return judged_with(SPEC, lambda rows: with_column(rows, AMOUNT, np.full(len(rows), np.nan)))


def test_a_column_that_stops_coming_is_a_fault_and_no_drift(broken: Judged) -> None:
    assert {event.family for event in broken.events} == {Family.QUALITY}
    assert broken.firing == {"quality:missing:amount"}
    assert broken.events[-1].tier is Tier.SIGNIFICANT


def test_a_fault_never_asks_for_retraining(broken: Judged) -> None:
    assert not any(map(asks, broken.events))
    assert broken.events[-1].response is Response.ENHANCED_MONITORING


def test_the_event_tells_the_rate_and_what_it_was(broken: Judged) -> None:
    (verdict,) = broken.events[-1].signals
    assert (verdict.kind, verdict.score_name, verdict.expected_mean) == (DriftKind.QUALITY, "increase", 0.0)
    assert verdict.actual_mean == pytest.approx(1.0, abs=0.2)
    assert verdict.score == pytest.approx(verdict.actual_mean, abs=1e-4)
    assert "significant fault of the data" in broken.events[-1].summary


def test_the_status_names_the_incident_and_its_family(broken: Judged) -> None:
    (status,) = broken.judge.status()
    (incident,) = status.incidents
    assert (incident.family, incident.id, status.tier) == (Family.QUALITY, status.incident_id, Tier.SIGNIFICANT)
    assert "quality:missing:amount" in {each.signal for each in status.signals}


def test_drift_and_fault_are_two_incidents() -> None:
    def both(rows: Rows) -> Rows:
        return FAULTS["quality:missing:plan"](with_column(rows, AMOUNT, amounts(rows) * 1.5))

    found = judged_with(SPEC, both)
    opened = {event.family: event.incident_id for event in found.events if event.change is Change.OPENED}
    assert set(opened) == {Family.DRIFT, Family.QUALITY}
    assert len(set(opened.values())) == 2
    assert len(found.judge.status()[0].incidents) == 2


def test_a_judge_restored_in_the_midst_of_a_fault_decides_as_if_it_had_not_stopped() -> None:
    totals = list(totals_with(SPEC, FAULTS["quality:missing:amount"], faulty=640))
    unstopped, stopped = ModelJudge(SPEC), ModelJudge(SPEC)
    expected = [event for total in totals for event in unstopped.fold(total)]
    found: list[DriftEvent] = []
    for total in totals:
        found += stopped.fold(total)
        stopped = ModelJudge.restore(SPEC, stopped.state()) if found else stopped
    assert found == expected
    assert len(found) >= 3


def test_each_family_has_an_equal_share_of_the_budget() -> None:
    alone, shared = budget_of(checked_model(quality=None)), budget_of(SPEC)
    rates = len(Layout(SPEC).rates)
    assert shared.threshold == pytest.approx(alone.threshold + np.log(2))
    assert shared.thresholds[Family.QUALITY] == pytest.approx(alone.threshold + np.log(2 * rates / 4))


def test_totals_do_not_depend_on_how_the_log_was_cut() -> None:
    rows, layout = sound_rows(1_000, seed=8), Layout(SPEC)
    carry = layout.begin()
    pieces = [rows.slice(a, b) for a, b in ((0, 1), (1, 37), (37, 500), (500, 1_000))]
    counted = sum(sum(layout.count(piece, carry).parts.values()) for piece in pieces)
    assert np.array_equal(counted, sum(layout.count(rows).parts.values()))
