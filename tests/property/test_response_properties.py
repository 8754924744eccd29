"""What holds for responses whatever comes, in whatever order, and wherever it is interrupted."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from detector.responses.inputs import Decision, Held, Input
from detector.responses.model import ModelResponses
from detector.responses.partition import Entry, PartitionResponses
from detector.state import pack, unpack
from schemas.outbound import Change, DriftEvent, IncidentStatus, Tier
from schemas.policy import PolicySpec, RetrainingSpec
from schemas.responses import AckStatus, RetrainAck, RetrainRequest
from tests.support.drift_events import START, drift_event
from tests.support.responses import (
    LABELLED,
    ack,
    fraud,
    hour_of,
    knows,
    notice,
    play,
    progress,
    requests_in,
    said,
    tick,
)

ANSWERED = {"within": "6h", "repeats": 1, "finish_within": "1d"}
SPECS = (
    fraud(
        policy=PolicySpec(maintenance=[{"cron": "0 3 * * *", "lasts": "2h"}]),
        retraining=RetrainingSpec(
            cooldown="12h", answers=ANSWERED, scheduled={"cron": "0 */7 * * *"}, continuous={"labelled_rows": 50}
        ),
        **LABELLED,
    ),
    fraud("2", retraining=RetrainingSpec(cooldown="1h", answers=ANSWERED)),
)
PLACES = tuple(drift_event(f"i{n}").incident_id for n in range(6))
hours = st.integers(0, 100)
briefly = settings(max_examples=40, deadline=None)


@st.composite
def events(draw: st.DrawFn) -> DriftEvent:
    """An event of one of six incidents; two of them share a version, a stage and a family."""
    number, tier = draw(st.integers(0, 5)), draw(st.sampled_from(Tier))
    over = tier is Tier.NONE
    return drift_event(
        PLACES[number],
        draw(hours),
        version="12"[number % 2],
        tier=tier,
        opened_at=START,
        change=Change.RESOLVED if over else draw(st.sampled_from([Change.OPENED, Change.UPDATED, Change.REOPENED])),
        status=IncidentStatus.RESOLVED if over else IncidentStatus.FIRING,
    )


inputs = st.one_of(
    events(),
    hours.map(lambda hour: tick(float(hour))),
    st.builds(lambda hour, labels: progress(float(hour), labels), hours, st.integers(0, 200)),
    st.builds(lambda since, name: notice(since, since + 5, name), hours, st.sampled_from(["a", "b"])),
    st.sampled_from(AckStatus).map(lambda status: ack("running", status)),
)
streams = st.lists(inputs, max_size=40)


def follow(stream: list[Input], machine: ModelResponses) -> list[Decision]:
    """Feed inputs in order; an answer is to the request that is on its way."""
    decided: list[Decision] = []
    at = START.timestamp()
    for item in stream:
        running = machine._retraining.tracker.running
        answered = item
        if isinstance(item, RetrainAck) and running is not None:
            answered = item.model_copy(update={"request_id": running.request.id})
        at = hour_of(item, at)
        decided += machine.take(answered, at, knows(*SPECS))
    return decided


@briefly
@given(streams)
def test_no_two_incidents_of_one_version_stage_and_family_are_open(stream: list[Input]) -> None:
    machine = ModelResponses("fraud")
    for item in stream:
        machine.take(item, START.timestamp(), knows(*SPECS))
        keys = [case.key for case in machine.cases]
        assert len(keys) == len(set(keys))


@briefly
@given(streams)
def test_no_request_comes_within_the_cooldown_of_another(stream: list[Input]) -> None:
    requests = [each for each in requests_in(follow(stream, ModelResponses("fraud"))) if each.attempt == 1]
    for before, after in pairwise(requests):
        assert after.time >= before.cooldown_until


@briefly
@given(streams)
@example([progress(0.0, 50), progress(6.0, 0), tick(17.0), progress(6.0, 50)])  # labels that are counted anew
@example([progress(0.0, 50), progress(0.0, 100)])
def test_every_request_ends_and_is_told_of(stream: list[Input]) -> None:
    machine = ModelResponses("fraud")
    decided = follow([*stream, *(tick(hour) for hour in range(100, 200, 5))], machine)
    running = machine._retraining.tracker.running
    ended = [each for each in said(decided) if each in ("retrain succeeded", "retrain failed", "retrain expired")]
    asked = {each.id for each in requests_in(decided)}
    assert len(ended) == len(asked) - (running is not None)
    assert running is None or running.due > (machine.clock.now or 0.0)


@briefly
@given(streams)
def test_a_request_is_never_asked_for_twice_but_to_repeat_it(stream: list[Input]) -> None:
    asked = [(each.id, each.attempt) for each in requests_in(follow(stream, ModelResponses("fraud")))]
    assert len(asked) == len(set(asked))


@briefly
@given(st.lists(events(), max_size=12), st.randoms(use_true_random=False))
def test_events_that_come_again_or_late_change_nothing(stream: list[DriftEvent], random: Any) -> None:
    machine = ModelResponses("fraud")
    play(stream, *SPECS, responses=machine)
    open_before = machine.cases.state()
    again = list(stream)
    random.shuffle(again)
    latest = {case.id: case.time for case in machine.cases}
    late = [each for each in again if (each.time or START).timestamp() < latest.get(each.incident_id, 0.0)]
    play(late, *SPECS, responses=machine)
    assert machine.cases.state() == open_before


@briefly
@given(streams, st.integers(0, 40))
def test_saved_and_restored_anywhere_the_rest_is_decided_alike(stream: list[Input], where: int) -> None:
    whole, first, second = (ModelResponses("fraud") for _ in range(3))
    expected = follow(stream, whole)
    got = follow(stream[:where], first)
    second.restore(unpack(pack(first.state())))
    at = max([START.timestamp(), *(hour_of(item) for item in stream[:where])])
    second.clock.read(at)
    for item in stream[where:]:
        running = second._retraining.tracker.running
        answered = item
        if isinstance(item, RetrainAck) and running is not None:
            answered = item.model_copy(update={"request_id": running.request.id})
        at = hour_of(item, at)
        got += second.take(answered, at, knows(*SPECS))
    assert got == expected
    assert second.state() == whole.state()


# A partition of the log, with crashes


def entries(stream: list[Input]) -> list[Entry]:
    """The log: events come from two partitions of their topic."""
    log: list[Entry] = []
    at = START.timestamp()
    for offset, item in enumerate(stream):
        at = hour_of(item, at)
        source = None if getattr(item, "model", None) is None else f"{type(item).__name__}/{offset % 2}"
        log.append(Entry(offset, at, item, source, offset))
    return log


def ids(decisions: list[Decision]) -> set[tuple[str, int]]:
    return {
        (each.id, each.attempt if isinstance(each, RetrainRequest) else 0)
        for each in decisions
        if not isinstance(each, Held)
    }


@briefly
@given(streams, st.data())
def test_a_crash_between_sending_and_saving_loses_nothing_and_repeats_the_same_ids(
    stream: list[Input], data: st.DataObject
) -> None:
    log, specs = entries(stream), knows(*SPECS)
    whole = PartitionResponses()
    expected = ids([each for entry in log for each in whole.take(entry, specs)])
    saved_at, crash_at = sorted(data.draw(st.tuples(*[st.integers(0, len(log))] * 2)))
    first = PartitionResponses()
    got = ids([each for entry in log[:saved_at] for each in first.take(entry, specs)])
    keys = first.changed.copy()
    saved = {key: unpack(pack(state)) for key, _, state in first.states(sorted(keys))}
    first.changed.clear()
    got |= ids([each for entry in log[saved_at:crash_at] for each in first.take(entry, specs)])
    for key, _, state in first.states(sorted(data.draw(st.sets(st.sampled_from(sorted(first.changed) or ["none"])))
                                             & first.changed)):  # fmt: skip
        saved[key] = unpack(pack(state))
    second = PartitionResponses()
    second.restore(saved)
    got |= ids([each for entry in log[saved_at:] for each in second.take(entry, specs)])
    assert got == expected


@briefly
@given(st.lists(events(), max_size=20))
def test_what_was_forwarded_twice_is_taken_once(stream: list[DriftEvent]) -> None:
    log, specs = entries([*stream]), knows(*SPECS)
    once, twice = PartitionResponses(), PartitionResponses()
    expected = [each for entry in log for each in once.take(entry, specs)]
    doubled = [Entry(2 * n + again, entry.at, entry.item, entry.source, entry.source_offset)
               for n, entry in enumerate(log) for again in (0, 1)]  # fmt: skip
    assert [each for entry in doubled for each in twice.take(entry, specs)] == expected
