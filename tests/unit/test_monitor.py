"""What a drift event says is so: what changed, by how much, how sure, since when, and from which rows."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from detector.budget import threshold_of
from detector.explain import next_tier, surely_drifted
from detector.judge import ModelJudge
from detector.layout import Layout
from detector.monitor import STEPS_NAMED
from detector.totals import RunningTotal
from schemas.model_spec import FalseAlarmBudget
from schemas.outbound import Change, DriftEvent, DriftKind, IncidentStatus, Response, Severity, Tier
from tests.support.data import MONDAY
from tests.support.readings import reading
from tests.support.signals import baseline
from tests.support.stream import STEP, Stream, drifting_totals, judged, totals, watched_model

SPEC = watched_model(owner="flights team")
ONSET_ROW = 60 * STEP


@pytest.fixture(scope="module")
def events() -> list[DriftEvent]:
    """Events of a stream whose first feature is shifted by two sd behind row 1,920."""
    return judged(ModelJudge(SPEC), drifting_totals(SPEC, seed=3))


def test_a_stable_stream_raises_nothing() -> None:
    assert judged(ModelJudge(SPEC), list(totals(SPEC, Stream(5), 300))) == []


def test_a_shift_of_two_sd_is_found_within_a_hundred_rows(events: list[DriftEvent]) -> None:
    found = events[0].lineage.offsets[0].to_offset - ONSET_ROW
    assert 0 < found <= 100


def test_the_incident_opens_and_escalates_to_significant_under_one_id(events: list[DriftEvent]) -> None:
    assert events[0].change is Change.OPENED
    assert events[-1].tier is Tier.SIGNIFICANT
    assert len({event.incident_id for event in events}) == 1
    assert len({event.id for event in events}) == len(events)


def test_tier_severity_and_response_go_together(events: list[DriftEvent]) -> None:
    last = events[-1]
    assert (last.severity, last.response, last.status) == (Severity.CRITICAL, Response.RETRAIN, IncidentStatus.FIRING)


def test_the_event_names_the_signal_its_score_evidence_and_means(events: list[DriftEvent]) -> None:
    (verdict,) = events[-1].signals
    assert (verdict.signal, verdict.kind, verdict.tier) == ("feature:x", DriftKind.DATA, Tier.SIGNIFICANT)
    assert verdict.score >= 0.25
    assert verdict.evidence >= verdict.threshold
    assert verdict.expected_mean == pytest.approx(0.0, abs=0.1)
    assert verdict.actual_mean is not None
    assert verdict.actual_mean > 0.25
    assert set(verdict.distances) == {"psi", "js", "hellinger", "chi_square", "ks", "wasserstein"}
    assert verdict.bins[0].actual > verdict.bins[0].expected


def test_the_score_has_an_interval_around_it(events: list[DriftEvent]) -> None:
    for event in events:
        (verdict,) = event.signals
        assert verdict.score_interval is not None
        low, high = verdict.score_interval
        assert low <= verdict.score <= high


def test_the_highest_tier_lacks_nothing(events: list[DriftEvent]) -> None:
    assert events[-1].signals[0].next_tier is None


def test_the_next_tier_lacks_the_score_the_evidence_or_both() -> None:
    watched = baseline(np.full(10, 100))

    def lacks(score: float, evidence: float) -> tuple[str, ...]:
        following = next_tier(Tier.MINOR, reading(score, evidence), watched, threshold=14.0)
        assert following is not None
        assert (following.tier, following.score) == (Tier.MODERATE, 0.2)
        return following.lacks

    assert lacks(0.15, 20.0) == ("score",)
    assert lacks(0.3, 12.0) == ("evidence",)
    assert lacks(0.15, 12.0) == ("score", "evidence")


def test_signals_whose_change_is_sure_are_listed(events: list[DriftEvent]) -> None:
    assert events[-1].surely_drifted == ("feature:x",)


def test_beside_surer_signals_one_needs_less_evidence() -> None:
    nats = {"a": 13.6, "b": 20.0, "c": 1.0, "d": 15.0}
    readings = [reading(0.3, evidence, name=name) for name, evidence in nats.items()]
    assert surely_drifted(readings, 14.0) == ("b", "d", "a")
    assert surely_drifted(readings[:1], 14.0) == ()


def test_the_onset_lies_within_two_steps_before_the_change(events: list[DriftEvent]) -> None:
    since = events[0].since
    assert since is not None
    onset = MONDAY + ONSET_ROW
    assert onset - 2 * STEP <= since.timestamp() <= onset
    (rows,) = events[0].since_offsets
    assert ONSET_ROW - 2 * STEP <= rows.from_offset <= ONSET_ROW


def test_the_lineage_names_the_spec_all_rows_and_the_last_cuts(events: list[DriftEvent]) -> None:
    lineage = events[0].lineage
    assert lineage.spec_hash == SPEC.hash
    assert len(lineage.steps) == STEPS_NAMED
    ends = [step.panes[0].to_offset for step in lineage.steps]
    assert ends == list(range(ends[0], ends[0] + STEPS_NAMED * STEP, STEP))
    assert ends[-1] == lineage.offsets[0].to_offset


def test_times_are_event_times(events: list[DriftEvent]) -> None:
    last_row = events[0].lineage.offsets[0].to_offset - 1
    assert events[0].time == datetime.fromtimestamp(MONDAY + last_row, UTC)
    assert events[0].opened_at == events[0].time


def test_the_summary_is_one_sentence_that_names_model_tier_and_feature(events: list[DriftEvent]) -> None:
    assert events[-1].summary.startswith("m 1: significant drift since 2024-01-01 00:")
    assert "in 1 of 4 signals: x (PSI " in events[-1].summary
    assert events[-1].owner == "flights team"


def test_an_incident_resolves_when_the_stream_is_back_at_its_reference() -> None:
    judge, published = ModelJudge(SPEC), drifting_totals(SPEC, seed=3, drifted=5)
    opened = judged(judge, published)
    back = Stream(4)
    back.offset = published[-1].next_offset
    running = RunningTotal.from_event(published[-1], Layout(SPEC))
    later = judged(judge, list(totals(SPEC, back, 200, total=running)))
    assert later[-1].change is Change.RESOLVED
    assert later[-1].status is IncidentStatus.RESOLVED
    assert later[-1].resolved_at is not None
    assert later[-1].incident_id == opened[0].incident_id


def test_a_smaller_budget_asks_for_more_evidence() -> None:
    once_a_year = SPEC.model_copy(update={"false_alarms": FalseAlarmBudget(count=1, per="365d")})
    assert threshold_of(once_a_year) > threshold_of(SPEC) > 13.0
