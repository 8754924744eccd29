"""Faults of the data: each is found and named, has an incident of its own, and asks nobody to retrain."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.budget import budget_of
from detector.judge import ModelJudge
from detector.layout import Layout
from detector.profile import Profile
from detector.quality.rates import RateReader
from detector.replay import replay_step
from detector.responses.retraining import wants
from detector.rows import INVALID, Rows
from detector.totals import RunningTotal
from schemas.codec import decode, encode
from schemas.model_spec import ModelSpec
from schemas.outbound import Change, DriftEvent, DriftKind, Family, Response, Tier
from schemas.profiles import ProfileTotal
from schemas.quality import Check, QualitySpec
from tests.support.data import MONDAY
from tests.support.faults import (
    AGE,
    AMOUNT,
    PLAN,
    SCORE,
    WARMTH,
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
LAYOUT = Layout(SPEC)


def amounts(rows: Rows) -> np.ndarray:
    return np.asarray(rows.columns[AMOUNT])


def plans(rows: Rows, share: float, bad: str | None) -> list[str | None]:
    return [
        None if each is None else str(each) for each in in_some(np.array(rows.columns[PLAN], dtype=object), share, bad)
    ]


def repeated(rows: Rows, run: int) -> Rows:
    """Every other run of rows is the one before it again."""
    places = np.arange(len(rows))
    again = places - np.where(places // run % 2 == 1, run, 0)
    columns = [np.asarray(column)[again] for column in rows.columns]
    columns[PLAN] = columns[PLAN].tolist()
    return replace(rows, times=rows.times[again], columns=tuple(columns))


FAULTS: dict[str, Fault] = {
    "quality:missing:amount": lambda rows: with_column(rows, AMOUNT, in_some(amounts(rows), 0.2, np.nan)),
    "quality:invalid:amount": lambda rows: with_column(rows, AMOUNT, in_some(amounts(rows), 0.1, np.inf)),
    "quality:missing:plan": lambda rows: with_column(rows, PLAN, plans(rows, 0.2, None)),
    "quality:invalid:plan": lambda rows: with_column(rows, PLAN, plans(rows, 0.1, INVALID)),
    "quality:unseen:plan": lambda rows: with_column(rows, PLAN, plans(rows, 0.05, "gold")),
    "quality:outliers:amount": lambda rows: with_column(rows, AMOUNT, in_some(amounts(rows), 0.1, 900.0)),
    "quality:unit:amount": lambda rows: with_column(rows, AMOUNT, amounts(rows) * 1_000),
    "quality:unit:prediction": lambda rows: with_column(rows, SCORE, np.asarray(rows.columns[SCORE]) * 100),
    "quality:unit:warmth": lambda rows: with_column(rows, WARMTH, np.asarray(rows.columns[WARMTH]) * 1.8 + 32),
    "quality:precision:amount": lambda rows: with_column(rows, AMOUNT, np.rint(amounts(rows))),
    "quality:precision:age": lambda rows: with_column(rows, AGE, np.asarray(rows.columns[AGE]) + 0.5),
    "quality:frozen:amount": lambda rows: with_column(rows, AMOUNT, np.full(len(rows), 150.0)),
    "quality:duplicates": lambda rows: repeated(rows, 50),
    "quality:late": lambda rows: replace(rows, times=in_some(rows.times, 0.2, MONDAY - 7_200)),
    "quality:out_of_range:amount": lambda rows: with_column(rows, AMOUNT, in_some(amounts(rows), 0.2, 99_999.99)),
}


@pytest.mark.parametrize("signal", FAULTS)
def test_a_fault_is_named(signal: str) -> None:
    assert signal in judged_with(SPEC, FAULTS[signal]).firing


@pytest.mark.parametrize("seed", range(3))
def test_sound_rows_raise_nothing(seed: int) -> None:
    assert judged_with(SPEC, lambda rows: rows, faulty=4_800, seed=seed).events == []


@pytest.fixture(scope="module")
def broken() -> Judged:
    """A column that stops coming."""
    return judged_with(SPEC, lambda rows: with_column(rows, AMOUNT, np.full(len(rows), np.nan)))


def test_a_column_that_stops_coming_is_a_fault_and_no_drift(broken: Judged) -> None:
    assert {event.family for event in broken.events} == {Family.QUALITY}
    assert broken.firing == {"quality:missing:amount"}
    assert broken.events[-1].tier is Tier.SIGNIFICANT


def test_a_fault_never_asks_for_retraining(broken: Judged) -> None:
    assert not any(wants(event, broken.judge.spec) for event in broken.events)
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


def test_what_a_step_did_to_a_fault_is_recomputed_from_its_rows_to_the_last_digit() -> None:
    judge, before = ModelJudge(SPEC), None
    for total in totals_with(SPEC, FAULTS["quality:missing:amount"], faulty=640):
        counts = Profile.decode_parts(total.parts, LAYOUT.width)
        events, step = judge.fold(total), counts if before is None else counts.subtract(before)
        before = counts
        if events:
            break
    (told,) = events[0].lineage.evidence
    (found,) = replay_step(SPEC, [told], {phase: vector for (_, phase), vector in step.parts.items()})
    assert told.signal == "quality:missing:amount"
    assert found.is_equal


def test_each_family_has_an_equal_share_of_the_budget() -> None:
    alone, shared = budget_of(checked_model(quality=None)), budget_of(SPEC)
    rates = len(Layout(SPEC).rates)
    assert shared.threshold == pytest.approx(alone.threshold + np.log(2))
    assert shared.thresholds[Family.QUALITY] == pytest.approx(alone.threshold + np.log(2 * rates / 5))


@given(cuts=st.lists(st.integers(0, 400), max_size=6), seed=st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_totals_do_not_depend_on_how_the_log_was_cut_nor_on_restarts(cuts: list[int], seed: int) -> None:
    sound = sound_rows(400, seed)
    rows = repeated(with_column(sound, AMOUNT, np.repeat(amounts(sound)[:8], 50)), 40)
    whole, cut = RunningTotal(LAYOUT, "predictions", 0), RunningTotal(LAYOUT, "predictions", 0)
    whole.add(rows, 400)
    ends = sorted({0, *cuts, 400})
    for start, stop in pairwise(ends):
        cut.add(rows.slice(start, stop), stop)
        cut = RunningTotal.from_event(decode(ProfileTotal, encode(cut.to_event())), LAYOUT)
    assert cut.to_event() == whole.to_event()
    assert counted(whole, "quality:frozen:amount")[1] > 0
    assert counted(whole, "quality:duplicates") == [200, 200]


def test_the_32nd_of_a_run_is_frozen_and_all_behind_it_in_the_run() -> None:
    rows = sound_rows(400, seed=1)
    total = RunningTotal(LAYOUT, "predictions", 0)
    total.add(with_column(rows, AMOUNT, np.repeat(amounts(rows)[:8], 50)), 400)
    assert counted(total, "quality:frozen:amount") == [400 - 8 * 19, 8 * 19]


def test_checks_may_be_left_out_of_a_spec_that_has_a_reference_but_not_added() -> None:
    fewer = ModelSpec(**SPEC.model_dump() | {"quality": {"checks": ["missing"]}})
    assert [rate.signal for rate in Layout(fewer).rates] == [
        f"quality:missing:{name}" for name in ("amount", "age", "warmth", "plan", "prediction")
    ]
    assert judged_with(fewer, FAULTS["quality:missing:plan"]).firing == {"quality:missing:plan"}
    assert ModelJudge(ModelSpec(**SPEC.model_dump() | {"quality": None})).layout.rates == ()
    without = checked_model(quality=None).model_dump()
    assert Layout(ModelSpec(**without | {"quality": {"checks": ["missing", "unseen"]}})).rates
    with pytest.raises(ValueError, match=r"was not counted for quality.checks: frozen: leave that out, or run"):
        ModelSpec(**without | {"quality": {"checks": ["frozen"]}})
    with pytest.raises(ValueError, match="another quality"):
        ModelSpec(**SPEC.model_dump() | {"quality": {"late_after": "5m"}})
    with pytest.raises(ValueError, match="not counted for service"):
        ModelSpec(**without | {"service": {}})


def test_a_damaged_carry_is_refused() -> None:
    event = RunningTotal(LAYOUT, "predictions", 0).to_event()
    other = RunningTotal(Layout(checked_model(quality=QualitySpec(checks=(Check.LATE,)))), "predictions", 0).to_event()
    with pytest.raises(ValueError, match="carries of the rows before does not fit"):
        RunningTotal.from_event(event.model_copy(update={"carry": other.carry}), LAYOUT)


def test_a_duplicate_far_behind_its_row_is_none() -> None:
    rows = repeated(sound_rows(400, seed=1), 200)
    total = RunningTotal(LAYOUT, "predictions", 0)
    total.add(rows, 400)
    assert counted(total, "quality:duplicates") == [400, 0]


def counted(total: RunningTotal, signal: str) -> list[int]:
    """Rows that are fine and bad."""
    found = RateReader(LAYOUT.rates).read(sum(total.profile.parts.values()))
    return dict(zip([rate.signal for rate in LAYOUT.rates], found.tolist(), strict=True))[signal]
