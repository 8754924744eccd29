"""Who is woken, who reads it in the morning, and what is told as one."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from detector.responses.desk import AlertDesk
from detector.responses.inputs import Input
from detector.state import pack, unpack
from schemas.model_spec import ModelSpec
from schemas.outbound import Change, DriftEvent, IncidentStatus, Severity, Tier
from schemas.policy import PolicySpec
from schemas.responses import Alert, Digest
from tests.support.drift_events import START, drift_event, verdict
from tests.support.responses import fraud, hour_of, knows, minor, notice, over, progress, said, tick

NIGHT = {"since": "2026-03-01T11:00:00Z", "until": "2026-03-01T16:00:00Z"}
"""Four hours from START on."""
ESCALATED = {"change": Change.ESCALATED}


def told(items: Iterable[Input], *specs: ModelSpec, desk: AlertDesk | None = None) -> list[Alert | Digest]:
    """Feed inputs, each at its own time."""
    machine, decided, at = desk or AlertDesk(), [], START.timestamp()
    for item in items:
        at = hour_of(item, at)
        decided += machine.take(item, at, knows(*specs))
    return decided


def words(items: Iterable[Input], *specs: ModelSpec) -> list[str]:
    return said(told(items, *(specs or (fraud(),))))


# At once


def test_a_critical_incident_is_told_at_once_and_when_it_is_over():
    given = [drift_event(), drift_event(hours=1, change=Change.UPDATED), over(hours=2)]
    assert words(given) == ["alert: i1 opened", "alert: i1 resolved"]


def test_a_small_one_is_told_when_it_becomes_critical():
    assert words([minor(), drift_event(hours=1, **ESCALATED)]) == ["alert: i1 opened"]


def test_an_alert_is_repeated_where_the_tier_goes_beyond_what_was_told():
    policy = PolicySpec(alerts={"at_once": "moderate"})
    given = [drift_event(tier="moderate"), minor(hours=1), drift_event(hours=2, tier="moderate"), drift_event(hours=3)]
    assert words(given, fraud(policy=policy)) == ["alert: i1 opened", "alert: i1 escalated"]


def test_an_alert_carries_what_routes_it():
    policy = PolicySpec(labels={"team": "payments"}, runbook="https://example.org/drift")
    (alert,) = told([drift_event(change=Change.REOPENED)], fraud(policy=policy, owner="payments"))
    assert isinstance(alert, Alert)
    assert (alert.owner, alert.labels, alert.runbook) == ("payments", policy.labels, policy.runbook)
    assert (alert.severity, alert.change, alert.dedup_key) == (Severity.CRITICAL, Change.REOPENED, "i1")
    assert alert.cause == ("feature:amount",)


def test_in_maintenance_an_alert_waits():
    spec = fraud(policy=PolicySpec(maintenance=[NIGHT]))
    assert words([drift_event(), tick(3.9), tick(4)], spec) == ["alert: i1 opened"]
    assert words([notice(-1, 4, model="*"), drift_event(), tick(3.9), tick(4)]) == ["alert: i1 opened"]


def test_what_was_over_within_maintenance_is_told_in_the_digest():
    (digest,) = told([notice(-1, 4), drift_event(), over(hours=2), tick(24)], fraud())
    assert isinstance(digest, Digest)
    (incident,) = digest.groups[0].incidents
    assert (incident.during_maintenance, incident.highest, incident.status) == (True, "significant", "resolved")


# Digests


def test_small_incidents_are_collected_until_the_hour_of_the_digest():
    given = [minor(), minor("i2", hours=2, version="2"), tick(19.9), tick(20), tick(44)]
    assert words(given, fraud(), fraud("2")) == ["digest: i1 i2"]


def test_an_incident_has_one_line_with_all_that_happened_to_it():
    given = [minor(), drift_event(hours=1, tier="moderate"), minor(hours=2), over(hours=3), tick(20)]
    (digest,) = told(given, fraud())
    assert isinstance(digest, Digest)
    (incident,) = digest.groups[0].incidents
    assert (incident.changes, incident.tier, incident.highest) == (4, Tier.NONE, Tier.MODERATE)
    assert incident.status is IncidentStatus.RESOLVED
    assert digest.summary == "1 incident of fraud, 0 still on"


def test_an_owner_has_one_digest_for_all_models():
    specs = [fraud(owner="payments"), fraud(model="churn", owner="payments"), fraud(model="taxi", owner="cars")]
    given = [minor(f"i{n}", hours=3 * n, model=spec.model) for n, spec in enumerate(specs)]
    digests = told([*given, tick(24)], *specs)
    assert [(each.owner, len(each.groups)) for each in digests if isinstance(each, Digest)] == [
        ("payments", 2), ("cars", 1),
    ]  # fmt: skip


def test_without_news_there_is_no_digest():
    assert words([minor(), tick(20), tick(44), progress(68)]) == ["digest: i1"]


# One cause, told once


def test_models_that_share_a_broken_feature_have_one_alert():
    specs = [fraud(owner="payments"), fraud(model="churn", owner="payments")]
    given = [drift_event("i1"), drift_event("i2", hours=0.5, model="churn"), tick(20)]
    alert, digest = told(given, *specs)
    assert (alert.incident_id, said([digest])) == ("i1", ["digest: i2"])
    assert isinstance(digest, Digest)
    assert digest.groups[0].parent_id == "i1"


def test_another_owner_is_told_too_under_the_same_parent():
    specs = [fraud(owner="payments"), fraud(model="churn", owner="marketing")]
    one, other = told([drift_event("i1"), drift_event("i2", hours=0.5, model="churn")], *specs)
    assert (one.owner, other.owner) == ("payments", "marketing")
    assert isinstance(other, Alert)
    assert (other.parent_id, other.dedup_key) == ("i1", "i1")


def test_predictions_that_drift_in_two_models_have_nothing_to_do_with_each_other():
    signals = (verdict("prediction"),)
    given = [drift_event("i1", signals=signals), drift_event("i2", hours=0.5, model="churn", signals=signals)]
    assert words(given, fraud(), fraud(model="churn")) == ["alert: i1 opened", "alert: i2 opened"]


def test_the_same_feature_a_day_later_is_another_matter():
    given = [drift_event("i1"), drift_event("i2", hours=24, model="churn")]
    assert words(given, fraud(), fraud(model="churn")) == ["alert: i1 opened", "alert: i2 opened"]


def test_when_the_parent_is_over_and_a_child_is_not_the_child_is_told():
    given = [drift_event("i1"), drift_event("i2", hours=0.5, model="churn"), over("i1", hours=1)]
    assert words(given, fraud(), fraud(model="churn")) == ["alert: i1 opened", "alert: i1 resolved", "alert: i2 opened"]


# Whatever comes


@st.composite
def events(draw: st.DrawFn) -> DriftEvent:
    number, tier = draw(st.integers(0, 7)), draw(st.sampled_from(Tier))
    resolved = tier is Tier.NONE
    return drift_event(
        f"i{number}", draw(st.integers(0, 100)), model=("fraud", "churn")[number % 2], tier=tier,
        change=Change.RESOLVED if resolved else Change.UPDATED,
        status=IncidentStatus.RESOLVED if resolved else IncidentStatus.FIRING,
    )  # fmt: skip


streams = st.lists(st.one_of(events(), st.integers(0, 100).map(tick)), max_size=40)
SPECS = (fraud(), fraud(model="churn", owner="marketing", policy=PolicySpec(maintenance=[NIGHT])))


@settings(max_examples=50, deadline=None)
@given(streams)
def test_every_incident_is_told_of(stream: list[Input]):
    decided = told([*stream, tick(200), tick(400)], *SPECS)
    alerted = {each.incident_id for each in decided if isinstance(each, Alert)}
    listed = {i.incident_id for each in decided if isinstance(each, Digest) for g in each.groups for i in g.incidents}
    assert alerted | listed == {item.incident_id for item in stream if isinstance(item, DriftEvent)}


@settings(max_examples=50, deadline=None)
@given(streams, st.integers(0, 40))
def test_a_restored_desk_goes_on_alike(stream: list[Input], where: int):
    whole, first, second = AlertDesk(), AlertDesk(), AlertDesk()
    specs, at, got, expected = knows(*SPECS), START.timestamp(), [], []
    for number, item in enumerate(stream):
        at = hour_of(item, at)
        if number == where:
            second.restore(unpack(pack(first.state())))
            for model in ("fraud", "churn"):
                second._clock(model).read(first._clock(model)._at or at)
        expected += whole.take(item, at, specs)
        got += (first if number < where else second).take(item, at, specs)
    assert got == expected
