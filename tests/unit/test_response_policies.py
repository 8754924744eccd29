"""Each policy as a table: what is given, hour by hour, and what is decided."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from schemas.model_spec import ModelSpec
from schemas.outbound import Tier, Urgency
from schemas.policy import PolicySpec, RetrainingSpec
from schemas.responses import AckStatus, ResponseEvent, Trigger
from tests.support.drift_events import START, drift_event, verdict
from tests.support.responses import (
    QUIET,
    ack,
    fraud,
    minor,
    notice,
    over,
    play,
    progress,
    requests_in,
    retrained,
    said,
    tick,
)

DAILY_AT_NOON = {"cron": "0 12 * * *"}
ANSWERED = {"within": "6h", "repeats": 2, "finish_within": "2d"}
PLANNED = {"since": "2026-03-01T11:00:00Z", "until": "2026-03-01T16:00:00Z"}
"""Four hours from START on, and one before."""

Row = tuple[str, ModelSpec, list[Any], list[str]]

PROTOCOL: list[Row] = [
    ("minor drift is to be looked at, once", fraud(), [minor(), minor(hours=1)], ["investigate started"]),
    (
        "moderate drift is watched closely too, until the incident ends",
        fraud(),
        [minor(), drift_event(hours=1, tier="moderate"), minor(hours=2), over(hours=3)],
        ["investigate started", "enhanced_monitoring started", "enhanced_monitoring ended"],
    ),
    (
        "significant drift asks for retraining at once",
        fraud(),
        [drift_event()],
        ["investigate started", "enhanced_monitoring started", "request: i1"],
    ),
    (
        "a fault of the data is no reason to train on it",
        fraud(),
        [drift_event(family="quality")],
        ["investigate started", "enhanced_monitoring started"],
    ),
    (
        "drift and faults of one version are open side by side",
        fraud(),
        [minor("i1"), minor("i2", hours=1, family="quality"), over("i1", hours=2)],
        ["investigate started", "investigate started"],
    ),
    (
        "a policy of one's own takes the place of the usual one, tier by tier",
        fraud(policy=PolicySpec(actions={"minor": ["retrain"], "significant": []})),
        [minor("i1"), over(hours=1), drift_event("i2", hours=48)],
        ["request: i1", "retrain unanswered", "request: i1 again 2"],
    ),
    (
        "an incident that replaces one that was never resolved ends the watch over that",
        fraud(policy=PolicySpec(actions={"moderate": ["enhanced_monitoring"]})),
        [drift_event("i1", tier="moderate"), drift_event("i2", hours=1, tier="moderate")],
        ["enhanced_monitoring started", "enhanced_monitoring ended", "enhanced_monitoring started"],
    ),
    (
        "during planned maintenance nothing follows, and afterwards what is still on is answered",
        fraud(policy=PolicySpec(maintenance=[PLANNED])),
        [minor(), tick(3.9), tick(4)],
        ["investigate started"],
    ),
    (
        "what is over when maintenance is, is answered with nothing",
        fraud(policy=PolicySpec(maintenance=[PLANNED])),
        [minor(), over(hours=3), tick(4)],
        [],
    ),
    (
        "maintenance may come by the calendar",
        fraud(policy=PolicySpec(maintenance=[{"cron": "0 13 * * *", "lasts": "1h"}])),
        [minor(hours=1.5), tick(1.9), tick(2)],
        ["investigate started"],
    ),
    (
        "a notice of maintenance is as good as a plan, and a later one with its id ends it",
        fraud(),
        [notice(-1, 12), minor(), tick(1), notice(-1, 1.5), tick(2)],
        ["investigate started"],
    ),
]

TRIGGERED: list[Row] = [
    ("one request for an incident", retrained(), [drift_event(), drift_event(hours=30)], ["request: i1"]),
    (
        "within the cooldown another incident waits, and is asked for by a tick when it is over",
        retrained(),
        [drift_event(), over(hours=1), drift_event("i2", hours=2), tick(23.9), tick(24)],
        ["request: i1", "held: cooldown", "request: i2"],
    ),
    (
        "an incident that is over when the cooldown is, is never asked for",
        retrained(),
        [drift_event(), over(hours=1), drift_event("i2", hours=2), over("i2", hours=20), tick(30)],
        ["request: i1", "held: cooldown"],
    ),
    (
        "without a cooldown every incident has its request",
        retrained(cooldown="0s"),
        [drift_event(), over(hours=1), drift_event("i2", hours=2)],
        ["request: i1", "request: i2"],
    ),
    (
        "a day has a budget",
        retrained(cooldown="0s", most_per_day=1),
        [drift_event(), over(hours=1), drift_event("i2", hours=2), tick(25)],
        ["request: i1", "held: budget", "request: i2"],
    ),
    (
        "only what has lasted asks",
        retrained(triggered={"lasting": "6h"}),
        [drift_event(), tick(5.9), tick(6)],
        ["request: i1"],
    ),
    (
        "what eased in between begins to last again",
        retrained(triggered={"lasting": "6h"}),
        [drift_event(), drift_event(hours=4, tier="moderate"), drift_event(hours=5), tick(10.9), tick(11)],
        ["request: i1"],
    ),
    (
        "signals that do not matter ask for nothing",
        retrained(triggered={"signals": ["performance:*"]}),
        [drift_event(), drift_event(hours=1, signals=(verdict("performance:error"),))],
        ["request: i1"],
    ),
    ("a model that wants no retraining is left alone", retrained(enabled=False), [drift_event(), tick(50)], []),
    (
        "a blackout is waited for",
        retrained(blackout=[PLANNED]),
        [drift_event(), tick(3.9), tick(4)],
        ["held: blackout", "request: i1"],
    ),
    (
        "maintenance is waited for",
        fraud(
            policy=QUIET.model_copy(update={"maintenance": PolicySpec(maintenance=[PLANNED]).maintenance}),
            retraining=RetrainingSpec(answers={"within": None}),
        ),
        [drift_event(), tick(4)],
        ["held: maintenance", "request: i1"],
    ),
    (
        "without enough rows with new labels nothing is asked for",
        retrained(min_fresh_labels=100, cooldown="0s"),
        [progress(0, 50), drift_event(), progress(1, 99), progress(2, 100)],
        ["held: labels", "request: i1"],
    ),
    (
        "a version that nobody registered asks for nothing",
        retrained(),
        [drift_event(version="9")],
        [],
    ),
]

SCHEDULED: list[Row] = [
    (
        "the calendar asks at its times, by the model's time",
        retrained(scheduled=DAILY_AT_NOON),
        [progress(1), progress(23), progress(24), progress(30), tick(47), tick(48)],
        ["request: schedule", "request: schedule"],
    ),
    (
        "of many runs that were missed only one is asked for",
        retrained(scheduled=DAILY_AT_NOON),
        [progress(1), progress(24 * 9), tick(24 * 9 + 1)],
        ["request: schedule"],
    ),
    (
        "a run in a blackout is put off until it is over",
        retrained(scheduled=DAILY_AT_NOON, blackout=[{"cron": "0 11 * * *", "lasts": "3h"}]),
        [progress(1), tick(24), tick(25.9), tick(26)],
        ["held: blackout", "request: schedule"],
    ),
    (
        "a run in a cooldown is left out",
        retrained(scheduled=DAILY_AT_NOON),
        [progress(1), drift_event(hours=12), tick(24), tick(36), tick(48)],
        ["request: i1", "held: cooldown", "request: schedule"],
    ),
    ("before its first row a model has no time and no calendar", retrained(scheduled=DAILY_AT_NOON), [tick(48)], []),
]

CONTINUOUS: list[Row] = [
    (
        "every so many rows with new labels",
        retrained(continuous={"labelled_rows": 1_000}),
        [progress(1, 999), progress(2, 1_000), progress(30, 1_999), progress(31, 2_000)],
        ["request: labels", "request: labels"],
    ),
    (
        "labels that are enough within the cooldown wait for its end",
        retrained(continuous={"labelled_rows": 1_000}),
        [progress(1, 1_000), progress(2, 2_000), tick(25)],
        ["request: labels", "held: cooldown", "request: labels"],
    ),
    (
        "when challengers surely gain enough",
        retrained(continuous={"challenger_margin": 0.02}),
        [progress(1), progress(2, challenger_gain=0.019), progress(3, challenger_gain=0.02)],
        ["request: challenger"],
    ),
    (
        "a version that is too old",
        retrained(max_age="30d"),
        [progress(1), tick(24 * 30 + 0.9), tick(24 * 30 + 1), tick(24 * 59), tick(24 * 60 + 2)],
        ["request: age", "request: age"],
    ),
    (
        "reasons combine: an incident goes first, and its request gives the labels a new start",
        retrained(continuous={"labelled_rows": 1_000}),
        [progress(1, 900), drift_event(hours=2), progress(3, 1_100), progress(30, 1_899), progress(31, 1_900)],
        ["request: i1", "request: labels"],
    ),
]

FIRST = requests_in(play([drift_event()], retrained()))[0]

ANSWERS: list[Row] = [
    (
        "an unanswered request is sent again, and expires in the end",
        retrained(answers=ANSWERED),
        [drift_event(), tick(5.9), tick(6), tick(12), tick(18), tick(100)],
        [
            "request: i1",
            "retrain unanswered",
            "request: i1 again 2",
            "retrain unanswered",
            "request: i1 again 3",
            "retrain expired",
        ],
    ),
    (
        "a training that has started is waited for, and its success closes the loop",
        retrained(answers=ANSWERED),
        [
            drift_event(),
            ack(FIRST, AckStatus.STARTED),
            tick(30),
            ack(FIRST, AckStatus.SUCCEEDED, version="2"),
            tick(90),
        ],
        ["request: i1", "retrain started", "retrain succeeded"],
    ),
    (
        "answers that come twice or too late say nothing",
        retrained(answers=ANSWERED),
        [
            drift_event(),
            ack(FIRST, AckStatus.SUCCEEDED),
            ack(FIRST, AckStatus.SUCCEEDED),
            ack(FIRST, AckStatus.STARTED),
            ack("somebody's", AckStatus.FAILED),
        ],
        ["request: i1", "retrain succeeded"],
    ),
    (
        "after a failure the incident asks again, when the cooldown is over",
        retrained(answers=ANSWERED),
        [drift_event(), ack(FIRST, AckStatus.FAILED, detail="no disk"), tick(23), tick(24)],
        ["request: i1", "retrain failed", "held: cooldown", "request: i1"],
    ),
    (
        "a training that never ends has failed",
        retrained(answers=ANSWERED),
        [drift_event(), ack(FIRST, AckStatus.STARTED), over(hours=1), tick(47.9), tick(48)],
        ["request: i1", "retrain started", "retrain failed"],
    ),
    (
        "while a request is on its way no other is sent",
        retrained(answers=ANSWERED, cooldown="1h"),
        [drift_event(), over(hours=1), drift_event("i2", hours=2), ack(FIRST, AckStatus.SUCCEEDED), tick(3)],
        ["request: i1", "held: running", "retrain succeeded", "request: i2"],
    ),
]

TABLE = [*PROTOCOL, *TRIGGERED, *SCHEDULED, *CONTINUOUS, *ANSWERS]


@pytest.mark.parametrize(("spec", "given", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_given_these_events_a_policy_decides(spec: ModelSpec, given: list[Any], expected: list[str]) -> None:
    assert said(play(given, spec)) == expected


# What they say


def test_an_investigation_carries_the_diagnosis_and_where_to_look() -> None:
    spec = fraud(policy=PolicySpec(labels={"team": "payments"}, runbook="https://example.org/drift"))
    (event,) = play([minor()], spec)
    assert isinstance(event, ResponseEvent)
    assert event.since_offsets == drift_event().since_offsets
    assert (event.signals, event.tier, event.incident_id) == (("feature:amount",), Tier.MINOR, "i1")
    assert (event.labels, event.runbook) == ({"team": "payments"}, "https://example.org/drift")
    assert event.summary == "Please look: The amounts have doubled."


def test_enhanced_monitoring_says_what_it_does_not_do() -> None:
    _, event = play([drift_event(tier="moderate")], fraud())
    assert isinstance(event, ResponseEvent)
    assert not event.measures
    assert event.left_to_others


def test_a_request_that_is_sent_again_keeps_its_id_and_becomes_urgent() -> None:
    first, second = requests_in(play([drift_event(), tick(6)], retrained(answers=ANSWERED)))
    assert (first.id, first.dedup_key, first.attempt, first.urgency) == (second.id, second.dedup_key, 1, Urgency.NORMAL)
    assert (second.attempt, second.urgency) == (2, Urgency.HIGH)


def test_a_request_after_a_failure_is_another_one() -> None:
    given = [drift_event(), ack(FIRST, AckStatus.FAILED), tick(24)]
    first, second = requests_in(play(given, retrained(answers=ANSWERED)))
    assert first.id != second.id
    assert first.incident_id == second.incident_id


def test_a_success_names_the_new_version() -> None:
    decided = play([drift_event(), ack(FIRST, AckStatus.SUCCEEDED, version="2")], retrained(answers=ANSWERED))
    assert isinstance(decided[-1], ResponseEvent)
    assert (decided[-1].new_version, decided[-1].request_id) == ("2", FIRST.id)
    assert decided[-1].summary == "fraud 1 was trained anew as version 2"


def test_a_scheduled_request_is_to_be_trained_on_the_rows_since_the_last_one() -> None:
    given = [progress(1), progress(24, 10), progress(48, 30)]
    first, second = requests_in(play(given, retrained(scheduled=DAILY_AT_NOON)))
    assert first.trigger is Trigger.SCHEDULE
    assert [(rows.from_offset, rows.to_offset) for rows in first.training_range.offsets] == [(0, 24 * 3_600)]
    assert [(rows.from_offset, rows.to_offset) for rows in second.training_range.offsets] == [(24 * 3_600, 48 * 3_600)]
    assert (second.training_range.since, second.training_range.until) == (progress(24).time, progress(48).time)
    assert (first.fresh_labels, second.fresh_labels) == (10, 20)
    assert first.lineage.spec_hash == "abc"


def test_the_request_of_the_calendar_is_the_same_whenever_it_is_decided() -> None:
    spec = retrained(scheduled=DAILY_AT_NOON)
    (first,), (second,) = (requests_in(play([progress(1), tick(24 + late)], spec)) for late in (0, 3))
    assert first.id == second.id


def test_jitter_puts_a_models_runs_off_by_the_same_part_every_time() -> None:
    spec = retrained(scheduled={"cron": "0 12 * * *", "jitter": "6h"})
    given = [progress(1), *(tick(minutes / 60) for minutes in range(60, 4 * 1_440, 10))]
    late = {(request.time - START) % timedelta(days=1) for request in requests_in(play(given, spec))}
    assert len(late) == 1
    assert timedelta(0) < late.pop() <= timedelta(hours=6)


def test_a_request_says_how_sure_each_signal_is() -> None:
    (evidence,) = FIRST.evidence
    assert (evidence.signal, evidence.score, evidence.evidence, evidence.threshold) == (
        "feature:amount",
        0.4,
        18.0,
        15.0,
    )
