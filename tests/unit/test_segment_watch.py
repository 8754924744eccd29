"""Drift in segments: what the whole hides is found and named, and a mix that shifts is told from a change within."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detector.budget import budget_of
from detector.judge import ModelJudge
from detector.layout import Layout
from detector.monitor import Monitor
from detector.reference import freeze
from detector.segments.frozen import BorrowedPhases, segment_baselines
from detector.state import unpack
from detector.totals import RunningTotal
from schemas.model_spec import ModelSpec, Stage
from schemas.outbound import Change, DriftEvent, Tier
from tests.support.segments import COUNTRIES, SHARES, Traffic, broken_down, play, watch

SPEC = broken_down()
RARE = "US"
"""One row in twenty: in the whole, a shift of 2 sd there is a PSI of about 0.02."""


def named(events: list[DriftEvent]) -> set[str]:
    return {verdict.name for event in events for verdict in event.signals}


def test_drift_in_one_segment_that_the_whole_hides_is_found_and_named() -> None:
    events = watch(SPEC, shifted=RARE, by=2.0)
    assert events[0].change is Change.OPENED
    assert named(events) == {"feature:y in country=US"}
    verdict = events[-1].signals[0]
    assert (verdict.signal, verdict.segment, verdict.tier) == ("feature:y", "country=US", Tier.SIGNIFICANT)
    assert "y in country=US" in events[0].summary
    assert "which the whole hides" in events[0].diagnosis.explanation  # type: ignore[union-attr]


def test_without_segments_it_is_not_found() -> None:
    assert watch(without_segments(SPEC), shifted=RARE, by=2.0) == []


def test_a_stable_stream_is_quiet() -> None:
    assert watch(SPEC, quiet=250, changed=0) == []


def test_a_mix_that_shifts_is_told_from_a_change_within() -> None:
    mixed = watch(SPEC, changed=120, shares=tuple(reversed(SHARES)))
    last = mixed[-1]
    assert {"segment:country", "feature:x"} <= named(mixed)
    assert not any(verdict.segment for event in mixed for verdict in event.signals)
    (check,) = [each for each in last.diagnosis.mix if each.signal == "feature:x"]  # type: ignore[union-attr]
    assert check.field == "country"
    assert check.explained is not None
    assert check.explained > 0.8
    shares = {each.segment: (each.expected_share, each.actual_share) for each in check.segments}
    assert abs(shares["country=US"][0] - SHARES[-1]) < 0.02
    assert shares["country=US"][1] > 0.2
    assert "is the mix of country" in last.diagnosis.explanation  # type: ignore[union-attr]


def test_a_change_within_the_largest_segment_is_no_mix() -> None:
    events = watch(SPEC, changed=60, shifted="DE", by=2.0)
    (check,) = [each for each in events[-1].diagnosis.mix if each.signal == "feature:y"]  # type: ignore[union-attr]
    assert check.explained is not None
    assert check.explained < 0.2
    assert "within segments of" in events[-1].diagnosis.explanation  # type: ignore[union-attr]
    inside = decomposed_by(SPEC, "country", changed=60, shifted="DE", by=2.0)
    assert max(inside, key=inside.__getitem__) == "country=DE"


def test_what_the_whole_shows_as_well_is_not_said_again_for_each_segment() -> None:
    everywhere = shifted_everywhere()
    segments = [each.name for each in everywhere[-1].signals if each.segment and each.tier is not Tier.NONE]
    assert segments == []
    assert everywhere[-1].signals[0].name == "feature:y"


def test_at_most_three_segments_of_a_signal_are_named() -> None:
    spec = broken_down(fields=("country", "device"), pairs=(("country", "device"),))
    events = watch(spec, shifted=RARE, by=2.0)
    assert max(sum(each.segment is not None for each in event.signals) for event in events) <= 3


def test_a_thin_segment_is_not_judged_and_says_so() -> None:
    judge = ModelJudge(broken_down(reference_rows=200))
    play(judge.spec, Traffic(3), 120, judge, RunningTotal(Layout(judge.spec), "predictions", 0))
    standing = {each.segment: each for each in judge.status()[0].segments}
    assert standing["country=DE"].judged == 2
    assert standing["country=US"].judged == 0
    assert "are needed" in (standing["country=US"].not_judged or "")


def test_a_status_tells_the_shares_of_segments_then_and_now() -> None:
    judge = ModelJudge(SPEC)
    play(SPEC, Traffic(4), 100, judge, RunningTotal(Layout(SPEC), "predictions", 0), shares=(0.1, 0.1, 0.1, 0.1, 0.6))
    standing = {each.segment: each for each in judge.status()[0].segments}
    assert abs(standing["country=US"].expected_share - 0.05) < 0.01
    assert standing["country=US"].share > 0.5
    assert list(standing) == [*(f"country={each}" for each in COUNTRIES), "device=web", "device=mobile"]


def test_half_of_the_false_alarms_are_for_segments() -> None:
    plain, budget = budget_of(without_segments(SPEC)), budget_of(SPEC)
    assert budget.segment_signals == 7 * 2
    per_signal = np.exp(-budget.threshold) * budget.signals
    in_segments = np.exp(-(budget.segment_threshold or 0.0)) * budget.segment_signals
    assert np.isclose(per_signal, in_segments)
    assert np.isclose(per_signal + in_segments, np.exp(-plain.threshold) * plain.signals)


def test_a_judge_restored_in_the_midst_of_it_decides_the_same() -> None:
    events: list[list[DriftEvent]] = []
    for restart in (False, True):
        traffic, judge, total = Traffic(1), ModelJudge(SPEC), RunningTotal(Layout(SPEC), "predictions", 0)
        found = play(SPEC, traffic, 90, judge, total)
        found += play(SPEC, traffic, 13, judge, total, shifted=RARE)
        if restart:
            saved = judge.state()
            judge = ModelJudge.restore(SPEC, saved)
            assert judge.state() == saved
            total = RunningTotal.from_event(total.to_event(), Layout(SPEC))
        found += play(SPEC, traffic, 60, judge, total, shifted=RARE)
        events.append(found)
    assert events[0] == events[1]
    assert events[0]


def test_what_is_saved_does_not_grow_with_the_stream() -> None:
    traffic, judge, total = Traffic(2), ModelJudge(SPEC), RunningTotal(Layout(SPEC), "predictions", 0)
    play(SPEC, traffic, 40, judge, total)
    early = _numbers(unpack(judge.state()))
    play(SPEC, traffic, 100, judge, total)
    assert _numbers(unpack(judge.state())) <= early + 200  # the last 32 steps are named, and a few marks


def test_a_segment_is_expected_to_have_the_season_of_the_whole() -> None:
    whole = {-1: np.array([500, 500]), 0: np.array([400, 100]), 1: np.array([100, 400])}
    phases = BorrowedPhases(np.array([100, 300]), whole)
    assert phases[-1].tolist() == [100, 300]
    odds = phases[0][0] / phases[0][1]
    assert np.isclose(odds, (100 / 300) * (400 / 100), rtol=0.02)
    assert phases[0].sum() == 500


def test_segments_are_compared_with_their_own_rows_of_the_reference() -> None:
    layout = Layout(SPEC)
    monitor = Monitor(SPEC, layout, Stage.PRODUCTION)
    baselines = segment_baselines(SPEC, layout, list(monitor._references))
    rows = [int(sum(each.phases[-1])) for each in baselines[0 : 2 * len(COUNTRIES) : 2]]
    assert np.allclose(np.array(rows) / 8_000, SHARES, atol=0.02)


def test_a_segment_with_few_rows_is_taken_for_at_least_as_bursty_as_the_whole() -> None:
    rng = np.random.default_rng(8)
    callers, each = 500, 8  # who calls, calls eight times in a row with nearly the same x
    rows = Traffic(8).rows(SPEC, callers * each)
    x = np.repeat(rng.normal(size=callers), each) + 0.1 * rng.normal(size=callers * each)
    country = np.repeat(rng.choice(["DE", "US"], size=callers, p=[0.9, 0.1]), each).tolist()
    bursty = replace(rows, columns=(x, rows.columns[1], country, rows.columns[3]))
    frozen = freeze(SPEC, bursty, origin="test").reference.frozen
    assert frozen is not None
    assert frozen.dispersion["feature:x"] > 4.0
    assert frozen.segment_dispersion is not None
    assert frozen.segment_dispersion["country=US"][0] >= frozen.dispersion["feature:x"]


def without_segments(spec: ModelSpec) -> ModelSpec:
    """The same model with nothing broken down."""
    plain = spec.model_copy(update={"segments": None})
    rows = Traffic(999).rows(spec, 8_000)
    return freeze(plain, type(rows)(rows.source, rows.offsets, rows.times, rows.stages, rows.columns[:2]), "test")


def shifted_everywhere() -> list[DriftEvent]:
    class Shifted(Traffic):
        def rows(self, spec: ModelSpec, n: int, **kw: object):  # type: ignore[no-untyped-def]
            made = super().rows(spec, n)
            made.columns[1][:] += 2.0  # type: ignore[index]
            return made

    judge, total = ModelJudge(SPEC), RunningTotal(Layout(SPEC), "predictions", 0)
    traffic, drifted = Traffic(5), Shifted(6)
    events = play(SPEC, traffic, 110, judge, total)
    drifted.offset = traffic.offset
    return events + play(SPEC, drifted, 50, judge, total)


def decomposed_by(spec: ModelSpec, field: str, **rows: object) -> dict[str, float]:
    """Shares of the change of ``y`` within the segments of a field."""
    traffic, judge, total = Traffic(1), ModelJudge(spec), RunningTotal(Layout(spec), "predictions", 0)
    play(spec, traffic, 100, judge, total)
    changed = int(str(rows.pop("changed")))
    play(spec, traffic, changed, judge, total, **rows)
    monitor = judge._monitor(Stage.PRODUCTION)
    found = monitor._segments.decompositions(monitor._readings[1], 1)  # type: ignore[union-attr]
    (parts,) = [(group, each) for group, each in found if group.name == field]
    return dict(zip(parts[0].names, parts[1].within.tolist(), strict=False))


def _numbers(value: object) -> int:
    """How many values a saved state holds."""
    if isinstance(value, dict):
        return sum(map(_numbers, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_numbers, value))
    return int(np.size(value)) if isinstance(value, np.ndarray) else 1
