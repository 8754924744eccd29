"""What a retrain request says of the incident that asked."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.responses.requests import FAR_BEYOND, NAMED_SIGNALS, training_range, urgency
from schemas.outbound import DriftKind, Tier, Urgency
from tests.support.drift_events import START, drift_event, rows, verdict
from tests.support.responses import fraud, request_for

DAY = timedelta(days=1)


# ---------------------------------------------------------------------------------------------- the request


def test_a_request_says_what_to_train_why_and_until_when_no_other_follows():
    request = request_for(drift_event(), fraud(owner="payments"))
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


def test_the_second_request_of_an_incident_is_another_one():
    assert request_for(drift_event()).id != request_for(drift_event(), requests=1).id


def test_signals_that_went_quiet_are_not_named():
    signals = (verdict("feature:amount"), verdict("feature:country", tier=Tier.NONE))
    assert request_for(drift_event(signals=signals)).signals == ("feature:amount",)


def test_a_model_with_thousands_of_features_names_the_worst():
    signals = tuple(verdict(f"feature:{number}") for number in range(4_000))
    request = request_for(drift_event(signals=signals, signals_watched=4_000))
    assert request.signals == tuple(f"feature:{number}" for number in range(NAMED_SIGNALS))
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
