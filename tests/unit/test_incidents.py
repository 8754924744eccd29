import msgspec
import numpy as np
import pytest

from detector.incidents import Incidents, Watched, content_id
from detector.readings import SignalReading
from schemas.outbound import Change, Family, Tier

NONE, MINOR, MODERATE, SIGNIFICANT = Tier
WATCHED = (Watched("feature:a"), Watched("feature:b", importance=3.0), Watched("prediction", opens=False))


def incidents(scope="model/1/production"):
    return Incidents(scope, Family.DRIFT, WATCHED)


def reading(score=0.2):
    counts = np.full(2, 10.0)
    return SignalReading("signal", score, score, (30.0, 20.0, 10.0), 20.0, 128, counts, counts, None)


def follow(followed, *tiers, scores=(0.2, 0.2, 0.2), start=1):
    """The changes that steps with these tiers of the three signals bring about, None where there is none."""
    readings = [reading(score) for score in scores]
    return [
        followed.update(each, readings, step=step, moment=f"offset {step}", time=60.0 * step)
        for step, each in enumerate(tiers, start=start)
    ]


def changes(*tiers):
    return [None if each is None else each.change for each in follow(incidents(), *tiers)]


def test_an_incident_lives_from_its_opening_to_its_end():
    assert changes(
        (NONE, NONE, NONE),
        (MINOR, NONE, NONE),
        (MINOR, NONE, NONE),
        (MINOR, MINOR, NONE),
        (SIGNIFICANT, MINOR, NONE),
        (MODERATE, MINOR, NONE),
        (NONE, MINOR, NONE),
        (NONE, NONE, NONE),
        (NONE, NONE, NONE),
    ) == [
        None, Change.OPENED, None, Change.UPDATED, Change.ESCALATED, Change.EASED, Change.EASED, Change.RESOLVED, None,
    ]  # fmt: skip


def test_an_incident_keeps_one_id_and_each_change_has_its_own():
    told = follow(incidents(), (MINOR, NONE, NONE), (MODERATE, NONE, NONE), (NONE, NONE, NONE))
    assert len({each.incident.id for each in told}) == 1
    assert len({each.id for each in told}) == 3


def test_what_comes_after_the_end_is_another_incident():
    first, _, second = follow(incidents(), (MINOR, NONE, NONE), (NONE, NONE, NONE), (MINOR, NONE, NONE))
    assert first.incident.id != second.incident.id
    assert second.change is Change.OPENED


def test_the_same_decision_taken_again_has_the_same_ids():
    once, again = (follow(incidents(), (MINOR, NONE, NONE), (NONE, NONE, NONE)) for _ in range(2))
    assert once == again


def test_models_have_ids_of_their_own():
    (one,), (other,) = (follow(incidents(scope), (MINOR, NONE, NONE)) for scope in ("a", "b"))
    assert one.incident.id != other.incident.id


def test_an_id_is_made_of_all_its_parts():
    assert len({content_id("ab", "c"), content_id("a", "bc"), content_id("abc")}) == 3


def test_a_change_tells_the_tier_before():
    told = follow(incidents(), (MINOR, NONE, NONE), (SIGNIFICANT, NONE, NONE), (NONE, NONE, NONE))
    assert [(each.previous_tier, each.incident.tier) for each in told] == [
        (NONE, MINOR), (MINOR, SIGNIFICANT), (SIGNIFICANT, NONE),
    ]  # fmt: skip
    assert told[-1].incident.highest is SIGNIFICANT


def test_an_incident_remembers_when_it_opened():
    *_, last = follow(incidents(), (NONE, NONE, NONE), (MINOR, NONE, NONE), (SIGNIFICANT, NONE, NONE))
    assert (last.incident.opened_at, last.incident.opened_in) == (120.0, 2)


def test_members_are_ranked_by_tier_then_score_times_importance():
    (by_importance,) = follow(incidents(), (MINOR, MINOR, MINOR), scores=(0.4, 0.2, 0.1))
    assert [each.name for each in by_importance.incident.members] == ["feature:b", "feature:a", "prediction"]
    (by_tier,) = follow(incidents(), (MODERATE, MINOR, MINOR), scores=(0.4, 0.2, 0.1))
    assert [each.name for each in by_tier.incident.members] == ["feature:a", "feature:b", "prediction"]


def test_a_member_tells_the_evidence_against_the_null_of_its_tier():
    (told,) = follow(incidents(), (MINOR, SIGNIFICANT, NONE))
    assert {each.name: each.evidence for each in told.incident.members} == {"feature:a": 30.0, "feature:b": 10.0}


def test_a_member_that_went_quiet_is_still_named():
    *_, last = follow(incidents(), (MINOR, MINOR, NONE), (SIGNIFICANT, NONE, NONE))
    assert [(each.name, each.tier) for each in last.incident.members] == [
        ("feature:a", SIGNIFICANT), ("feature:b", NONE),
    ]  # fmt: skip


def test_a_member_that_comes_back_joins_anew():
    *_, last = follow(incidents(), (MINOR, MINOR, NONE), (MINOR, NONE, NONE), (MINOR, MINOR, NONE))
    assert (last.change, last.joined) == (Change.UPDATED, ("feature:b",))


def test_the_predictions_of_a_model_that_keeps_learning_open_nothing():
    assert changes((NONE, NONE, SIGNIFICANT)) == [None]


def test_they_join_an_incident_without_raising_its_tier():
    _, joined = follow(incidents(), (MINOR, NONE, NONE), (MINOR, NONE, SIGNIFICANT))
    assert (joined.change, joined.incident.tier, joined.joined) == (Change.UPDATED, MINOR, ("prediction",))


def test_they_do_not_keep_it_open():
    *_, last = follow(incidents(), (MINOR, NONE, SIGNIFICANT), (NONE, NONE, SIGNIFICANT))
    assert last.change is Change.RESOLVED


def test_where_no_signal_may_open_there_is_no_incident():
    followed = Incidents("model", Family.DRIFT, [Watched("prediction", opens=False)])
    assert followed.update([SIGNIFICANT], [reading()], step=1, moment="1", time=0.0) is None


def reopening(within_s=120.0):
    return Incidents("model/1/production", Family.DRIFT, WATCHED, reopen_within_s=within_s)


def test_a_drift_that_is_back_soon_is_the_same_incident():
    first, over, back = follow(reopening(), (MINOR, NONE, NONE), (NONE, NONE, NONE), (NONE, MODERATE, NONE))
    assert (back.change, back.previous_tier, back.joined) == (Change.REOPENED, NONE, ("feature:b",))
    assert first.incident.id == over.incident.id == back.incident.id
    assert (back.incident.opened_at, back.incident.highest) == (first.incident.opened_at, MODERATE)
    assert len({first.id, over.id, back.id}) == 3


def test_a_drift_that_is_back_late_is_another_incident():
    quiet = [(NONE, NONE, NONE)] * 2
    first, _, _, later = follow(reopening(), (MINOR, NONE, NONE), *quiet, (MINOR, NONE, NONE))
    assert (later.change, later.incident.id == first.incident.id) == (Change.OPENED, False)


def test_rows_without_times_reopen_nothing():
    followed, readings = reopening(), [reading()] * 3
    told = [
        followed.update([tier, NONE, NONE], readings, step=step, moment=str(step), time=float("nan"))
        for step, tier in enumerate((MINOR, NONE, MINOR))
    ]
    assert told[-1].change is Change.OPENED


def test_incidents_saved_before_they_could_reopen_are_restored():
    followed = reopening()
    followed.restore({"open": None})
    assert [each.change for each in follow(followed, (MINOR, NONE, NONE))] == [Change.OPENED]


def test_restored_after_its_end_an_incident_reopens_all_the_same():
    original, copy = reopening(), reopening()
    follow(original, (MINOR, NONE, NONE), (NONE, NONE, NONE))
    copy.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(original.state())))
    assert follow(copy, (MINOR, NONE, NONE), start=3) == follow(original, (MINOR, NONE, NONE), start=3)


@pytest.mark.parametrize("history", [[(NONE, NONE, NONE)], [(MINOR, NONE, NONE), (MODERATE, MINOR, MINOR)]])
def test_restored_incidents_continue_as_the_original(history):
    original, copy = incidents(), incidents()
    follow(original, *history)
    copy.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(original.state())))
    future = [(SIGNIFICANT, MINOR, NONE), (NONE, NONE, NONE)]
    assert follow(copy, *future, start=5) == follow(original, *future, start=5)
    assert copy.open is None
