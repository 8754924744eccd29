from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.responses import (
    FAR_BEYOND,
    KEPT_REQUESTS,
    KEPT_SIGNALS,
    RequestMemory,
    asks,
    retrain_request,
    training_range,
    urgency,
)
from schemas.outbound import Change, DriftEvent, DriftKind, IncidentStatus, RetrainRequest, Tier, Urgency
from tests.support.drift_events import START, drift_event, rows, verdict

DAY = timedelta(days=1)


def request_for(event: DriftEvent, cooldown: timedelta = DAY) -> RetrainRequest:
    assert event.time is not None
    return retrain_request(event, event.time, cooldown)


# ------------------------------------------------------------------------------------------------ who asks


@pytest.mark.parametrize("change", [Change.OPENED, Change.ESCALATED, Change.UPDATED])
def test_an_open_significant_incident_asks_for_retraining(change: Change):
    assert asks(drift_event(change=change))


@pytest.mark.parametrize("tier", [Tier.NONE, Tier.MINOR, Tier.MODERATE])
def test_an_incident_below_significant_asks_for_nothing(tier: Tier):
    assert not asks(drift_event(tier=tier))


def test_a_resolved_incident_asks_for_nothing():
    assert not asks(drift_event(change=Change.RESOLVED, status=IncidentStatus.RESOLVED))


# ---------------------------------------------------------------------------------------------- the request


def test_a_request_says_what_to_train_why_and_until_when_no_other_follows():
    request = request_for(drift_event(owner="payments"))
    assert (request.model, request.version, request.owner) == ("fraud", "1", "payments")
    assert request.reason == (
        "fraud 1 in production has drifted significantly since 2026-03-01 11:30 UTC: 1 of 3 signals (feature:amount)."
    )
    assert (request.time, request.cooldown_until) == (START, START + DAY)
    assert request.incident_id == "i1"
    assert request.lineage == drift_event().lineage


def test_every_event_of_an_incident_makes_the_same_request_id_and_other_incidents_other_ones():
    opened, later, other = (request_for(event) for event in (drift_event(), drift_event(hours=5), drift_event("i2")))
    assert (opened.id, opened.dedup_key) == (later.id, later.dedup_key)
    assert opened.id != other.id
    assert opened.dedup_key != other.dedup_key


def test_signals_that_went_quiet_are_not_named():
    signals = (verdict("feature:amount"), verdict("feature:country", tier=Tier.NONE))
    assert request_for(drift_event(signals=signals)).signals == ("feature:amount",)


def test_a_model_with_thousands_of_features_names_the_worst():
    signals = tuple(verdict(f"feature:{number}") for number in range(4_000))
    request = request_for(drift_event(signals=signals, signals_watched=4_000))
    assert request.signals == tuple(f"feature:{number}" for number in range(KEPT_SIGNALS))
    assert request.reason.endswith("4000 of 4000 signals (feature:0, feature:1, feature:2 and 3997 more).")


def test_the_training_range_goes_from_the_onset_to_the_last_row_judged():
    training = training_range(drift_event())
    assert (training.since, training.until) == (START - timedelta(minutes=30), START)
    assert training.offsets == (rows(100, 200),)


def test_without_an_onset_the_training_range_is_all_that_was_judged_since_the_incident_opened():
    training = training_range(drift_event(since=None, since_offsets=()))
    assert training.since == START
    assert training.offsets == (rows(0, 200), rows(0, 90, 1))


# ------------------------------------------------------------------------------------------------- urgency


def test_data_drift_just_beyond_its_threshold_is_of_normal_urgency():
    assert urgency(drift_event()) is Urgency.NORMAL


@pytest.mark.parametrize("kind", [DriftKind.PERFORMANCE, DriftKind.CONCEPT])
def test_answers_that_are_known_to_be_worse_are_urgent(kind: DriftKind):
    signals = (verdict(), verdict("performance:log_loss", kind=kind, tier=Tier.MINOR))
    assert urgency(drift_event(signals=signals)) is Urgency.HIGH


def test_worse_answers_that_went_quiet_are_not_urgent():
    signals = (verdict(), verdict("performance:log_loss", kind=DriftKind.PERFORMANCE, tier=Tier.NONE))
    assert urgency(drift_event(signals=signals)) is Urgency.NORMAL


@given(evidence=st.floats(15.0, 1e6))
def test_evidence_is_overwhelming_from_a_fixed_multiple_of_its_threshold_on(evidence: float):
    event = drift_event(signals=(verdict(evidence=evidence, threshold=15.0),))
    assert (urgency(event) is Urgency.HIGH) == (evidence >= FAR_BEYOND * 15.0)


# -------------------------------------------------------------------------------------------------- memory


def test_an_incident_has_its_request_once_it_is_remembered():
    memory = RequestMemory()
    assert not memory.has(drift_event())
    memory.add(request_for(drift_event()))
    assert memory.has(drift_event(hours=3))
    assert not memory.has(drift_event("i2"))


@pytest.mark.parametrize(("hours", "cools"), [(0, True), (23.9, True), (24, False), (-23.9, True), (-24, False)])
def test_a_cooldown_reaches_as_far_back_as_forward(hours: float, cools: bool):
    memory = RequestMemory()
    memory.add(request_for(drift_event()))
    until = memory.cools_until("fraud", START + timedelta(hours=hours))
    assert until == (START + DAY if cools else None)


def test_a_cooldown_is_of_one_model():
    memory = RequestMemory()
    memory.add(request_for(drift_event()))
    assert memory.cools_until("churn", START) is None


def test_without_a_cooldown_every_incident_has_its_request():
    memory = RequestMemory()
    memory.add(request_for(drift_event(), cooldown=timedelta(0)))
    assert memory.cools_until("fraud", START) is None


def test_a_repeated_request_does_not_prolong_the_cooldown():
    memory = RequestMemory()
    memory.add(request_for(drift_event()))
    memory.add(request_for(drift_event(hours=20)))
    assert memory.cools_until("fraud", START + timedelta(hours=30)) is None


def test_the_memory_of_a_model_is_bounded_and_keeps_the_newest():
    memory = RequestMemory()
    for number in range(KEPT_REQUESTS + 1):
        memory.add(request_for(drift_event(f"i{number}")))
    assert not memory.has(drift_event("i0"))
    assert memory.has(drift_event(f"i{KEPT_REQUESTS}"))
