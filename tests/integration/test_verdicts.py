"""The verdict agent on a broker: totals in, the judge's own events out, and states that survive their owners."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from faust.types import TP

from agents.app import create_app, running
from agents.baseline import Collecting
from agents.errors import DeliveryError
from agents.metrics import Metrics
from agents.registry import Registry
from agents.runs import Run
from agents.settings import Settings
from agents.statelog import read_back
from agents.topics import ensure_topics
from agents.verdicts import Verdicts
from detector.judge import ModelJudge
from schemas import codec
from schemas.model_spec import ModelSpec, ReferenceSpec
from schemas.outbound import DriftEvent, ModelState, ModelStatus
from schemas.profiles import BaselineRows, ProfileTotal, UnregisteredRows
from tests.support.judging import PARTITION, SPEC, TOTALS, judging, prepared, until_taken
from tests.support.kafka import ApacheKafka
from tests.support.produce import make_topic, produce
from tests.support.profiling import read_all, register
from tests.support.stream import Stream, drifting_totals, judged, watched_model
from tests.support.worker import committed, drift_events, statuses, until

AddedEvent = ProfileTotal | BaselineRows | UnregisteredRows


@pytest.fixture
async def topics(settings: Settings) -> Settings:
    """The topics are there, and the model of the totals is registered."""
    return await prepared(settings)


async def tell(settings: Settings, events: Iterable[AddedEvent | bytes | None]) -> None:
    """Produce records as profiling agents do, to the partition of the model."""
    values = [event if isinstance(event, bytes | None) else codec.encode(event) for event in events]
    keys = [f"k{number}@1".encode() for number in range(len(values))]
    await produce(settings, settings.topic("profiles"), list(zip(keys, values, strict=True)), PARTITION)


async def saved_states(settings: Settings) -> dict[str, bytes]:
    """The states as compaction will leave them, by key, without the position before them."""
    saved, _ = await read_back(settings, settings.topic("verdicts"))
    return {record.key.encode().decode(): record.value[8:] for record in saved}


def oracle(totals: Iterable[ProfileTotal]) -> tuple[ModelJudge, list[DriftEvent]]:
    """A judge fed by hand, and what it says."""
    judge = ModelJudge(SPEC)
    return judge, judged(judge, list(totals))


# ------------------------------------------------------------------------------------------------- decisions


async def test_the_events_on_the_topic_are_those_of_the_judge_in_order(topics: Settings):
    async with judging(topics) as worker:
        await tell(topics, TOTALS)
        await until_taken(topics, len(TOTALS))
    expected = oracle(TOTALS)[1]
    assert expected != []
    assert await drift_events(topics) == expected
    assert sum(
        worker.metrics.value("driftline_drift_events_total", model="m", version="1",
                             change=event.change.value, tier=event.tier.value)
        for event in {(event.change, event.tier): event for event in expected}.values()
    ) == len(expected)  # fmt: skip


async def test_an_event_is_keyed_by_model_and_carries_cloudevents_attributes(topics: Settings):
    async with judging(topics):
        await tell(topics, TOTALS)
        await until_taken(topics, len(TOTALS))
    record, *_ = await read_all(topics, "drift-events")
    headers = dict(record.headers)
    event = DriftEvent.model_validate_json(record.value)
    assert record.key == b"m"
    assert headers["ce_type"] == f"io.driftline.drift.{event.change}".encode()
    assert headers["ce_id"] == event.id.encode()
    assert headers["ce_severitytext"] == event.severity.value.upper().encode()


async def test_totals_that_come_twice_are_judged_once(topics: Settings):
    async with judging(topics):
        await tell(topics, [total for each in TOTALS for total in (each, each)])
        await until_taken(topics, 2 * len(TOTALS))
    assert await drift_events(topics) == oracle(TOTALS)[1]


async def test_a_commit_that_is_refused_without_a_rebalance_loses_no_total(topics: Settings):
    async with judging(topics) as worker:
        commit, refused = worker.app.consumer.commit_offsets, []

        async def refuse_the_last_once(offsets: dict[TP, int], generation: int | None = None) -> bool:
            if not refused and len(TOTALS) in offsets.values():
                refused.append(offsets)
                return False
            return await commit(offsets, generation)

        worker.app.consumer.commit_offsets = refuse_the_last_once  # type: ignore[method-assign]
        await tell(topics, TOTALS)
        await until_taken(topics, len(TOTALS))
    assert refused != []
    assert {event.id: event for event in await drift_events(topics)} == {event.id: event for event in oracle(TOTALS)[1]}


async def test_totals_that_come_before_a_rebalance_is_over_are_judged(topics: Settings):
    await tell(topics, TOTALS)
    metrics = Metrics()
    app = create_app(topics, run_topics=[topics.topic("profiles")])
    async with Registry(topics, metrics) as registry:
        verdicts = Verdicts(app, registry, metrics)
        take = verdicts.take

        async def take_the_first_in_the_midst_of_a_rebalance(run: Run, generation: int) -> None:
            app.rebalancing = verdicts._dropped is None
            try:
                await take(run, generation)
            finally:
                app.rebalancing = False

        verdicts.take = take_the_first_in_the_midst_of_a_rebalance  # type: ignore[method-assign]
        verdicts.attach()
        async with running(app):
            await until_taken(topics, len(TOTALS))
    assert verdicts._dropped is not None
    assert {event.id: event for event in await drift_events(topics)} == {event.id: event for event in oracle(TOTALS)[1]}


# ---------------------------------------------------------------------------------------------------- states


@pytest.mark.parametrize("cut", [1, 30, 62, 70, 99])
async def test_a_judge_that_is_handed_over_decides_as_one_that_ran_through(topics: Settings, cut: int):
    for part in (TOTALS[:cut], TOTALS[cut:]):
        async with judging(topics):
            before = (await committed(topics, "profiles")).get(PARTITION, 0)
            await tell(topics, part)
            await until_taken(topics, before + len(part))
    judge, expected = oracle(TOTALS)
    assert await drift_events(topics) == expected
    assert list((await saved_states(topics)).values()) == [judge.state()]


async def test_a_new_owner_removes_the_state_of_the_old_one_once_its_own_is_saved(topics: Settings):
    async with judging(topics):
        await tell(topics, TOTALS[:5])
        await until_taken(topics, 5)
    (old,) = await saved_states(topics)
    async with judging(topics):
        await tell(topics, TOTALS[5:6])
        await until_taken(topics, 6)
    (new,) = await saved_states(topics)
    assert old.startswith("m/1@")
    assert new != old


async def test_the_late_write_of_an_old_owner_is_not_taken_up_and_is_removed(topics: Settings):
    async with judging(topics):
        await tell(topics, TOTALS[:60])
        await until_taken(topics, 60)
    stale = (20).to_bytes(8, "big") + oracle(TOTALS[:20])[0].state()
    await produce(topics, topics.topic("verdicts"), [(b"m/1@900", stale)], PARTITION)
    async with judging(topics):
        await tell(topics, TOTALS[60:])
        await until_taken(topics, len(TOTALS))
    judge, expected = oracle(TOTALS)
    assert await drift_events(topics) == expected
    states = await saved_states(topics)
    assert "m/1@900" not in states
    assert list(states.values()) == [judge.state()]


@pytest.mark.kafka
@pytest.mark.integration
async def test_a_decision_that_was_sent_but_not_saved_is_taken_again_with_the_same_ids(
    apache_kafka: ApacheKafka, topic_prefix: str
):
    settings = Settings(bootstrap_servers=apache_kafka.bootstrap_servers, topic_prefix=topic_prefix, partitions=2,
                        group=f"{topic_prefix}worker", request_timeout_s=5)  # fmt: skip
    # The topic of states refuses them: the worker ends between the events and the save.
    await make_topic(settings, "verdicts", 2, {"max.message.bytes": "200", "cleanup.policy": "compact"})
    await ensure_topics(settings)
    await register(settings, SPEC)
    await tell(settings, TOTALS)
    with pytest.raises(DeliveryError):
        await judge_all(settings)
    sent = await drift_events(settings)
    assert sent == oracle(TOTALS)[1]
    assert await committed(settings, "profiles") == {}
    with pytest.raises(DeliveryError):
        await judge_all(settings)
    assert await drift_events(settings) == sent + sent


async def judge_all(settings: Settings) -> None:
    async with judging(settings):
        await until_taken(settings, len(TOTALS))


# ------------------------------------------------------------------------------------------- what is passed over


async def test_a_total_whose_spec_is_not_in_force_is_counted_and_ignored(topics: Settings):
    stranger = TOTALS[0].model_copy(update={"spec_hash": "0" * 64})
    async with judging(topics) as worker:
        await tell(topics, [stranger, *TOTALS, stranger])
        await until_taken(topics, len(TOTALS) + 2)
        assert worker.metrics.value("driftline_ignored_totals_total", reason="no_spec") == 2
    assert await drift_events(topics) == oracle(TOTALS)[1]


async def test_records_that_are_no_profile_events_are_passed_over(topics: Settings):
    bad: list[bytes | None] = [None, b"", b"not json", b'{"kind": "total"}', b"[]", b'{"kind": "other"}']
    async with judging(topics) as worker:
        await tell(topics, [*bad, *TOTALS])
        await until_taken(topics, len(TOTALS) + len(bad))
        assert worker.metrics.value("driftline_ignored_totals_total", reason="unreadable") == len(bad) - 1
    assert await drift_events(topics) == oracle(TOTALS)[1]


async def test_a_total_that_cannot_be_folded_is_reported_and_stops_nothing(topics: Settings):
    part = TOTALS[0].parts[0].model_copy(update={"counts": "damaged"})
    damaged = TOTALS[0].model_copy(update={"parts": (part,)})
    async with judging(topics) as worker:
        await tell(topics, [damaged, *TOTALS[1:]])
        await until_taken(topics, len(TOTALS))
        assert worker.metrics.value("driftline_ignored_totals_total", reason="failed") == 1
    status = (await statuses(topics))["m/1/production"]
    assert status.rows == TOTALS[-1].rows
    assert status.note is not None
    assert "cannot be judged" in status.note


# ---------------------------------------------------------------------------------------------------- status


async def test_the_status_says_where_a_version_stands_and_is_sent_when_something_changed(topics: Settings):
    async with judging(topics):
        await tell(topics, TOTALS)
        await until_taken(topics, len(TOTALS))
    judge, _ = oracle(TOTALS)
    assert await statuses(topics) == {"m/1/production": judge.status()[0]}
    told = len(await read_all(topics, "model-status"))
    async with judging(topics) as worker:
        await tell(topics, [TOTALS[-1]])
        await until_taken(topics, len(TOTALS) + 1)
        assert worker.metrics.value("driftline_steps_total", model="m", version="1", stage="production") == 0
    assert len(await read_all(topics, "model-status")) <= told + 1


async def test_rows_of_a_version_that_nobody_registered_are_shown_until_it_is_registered(topics: Settings):
    def unregistered(partition: int, rows: int) -> UnregisteredRows:
        return UnregisteredRows(
            model="m", version="2", topic="predictions", partition=partition, rows=rows, next_offset=rows
        )

    async with judging(topics):
        await tell(topics, [unregistered(0, 5), unregistered(1, 7), unregistered(0, 20)])
        await until_taken(topics, 3)
    status = (await statuses(topics))["m/2/production"]
    assert (status.state, status.rows, status.spec_hash) == (ModelState.UNREGISTERED, 27, None)

    registered = watched_model(1_000, version="2")
    await register(topics, registered)
    async with judging(topics):
        await tell(topics, drifting_totals(registered, seed=2, quiet=3, drifted=0))
        await until_taken(topics, 6)
    status = (await statuses(topics))["m/2/production"]
    assert (status.state, status.rows, status.note) == (ModelState.WATCHING, 96, None)


async def test_a_refused_spec_is_reported_in_the_status_of_the_one_in_force(topics: Settings):
    async with judging(topics):
        await tell(topics, TOTALS[:3])
        await until_taken(topics, 3)
        other = watched_model(1_000)
        key = f"m/1/{other.hash}".encode()
        await produce(topics, topics.topic("models"), [(key, codec.encode(other))])

        async def reported() -> bool:
            status = (await statuses(topics)).get("m/1/production")
            return status is not None and status.note is not None and other.hash[:12] in status.note

        await until(reported)


# --------------------------------------------------------------------------------- references from the stream


def collecting_spec(rows: int) -> ModelSpec:
    return SPEC.model_copy(update={"version": "new", "reference": ReferenceSpec(rows=rows)})


def forwarded(spec: ModelSpec, chunks: int, size: int) -> list[BaselineRows]:
    """The first rows of a stream as a profiling agent forwards them."""
    collecting, stream = Collecting(spec, spec.hash, "predictions", 0), Stream(3)
    events: list[BaselineRows] = []
    for _ in range(chunks):
        collecting.add(stream.rows(size), stream.offset)
        events += collecting.take()
    return events


async def test_a_reference_is_collected_frozen_and_registered_and_then_the_version_is_watched(topics: Settings):
    spec = collecting_spec(rows=200)
    await register(topics, spec)
    events = forwarded(spec, chunks=4, size=60)
    async with judging(topics) as worker:
        await tell(topics, events[:2])
        await until_taken(topics, 2)
        status = await status_of(topics, "m/new/production", 120)
        assert (status.state, status.rows_wanted) == (ModelState.COLLECTING, 200)
        await tell(topics, events[2:])
        await until_watched(topics)
        registration = worker.registry.lookup("m", "new")
    assert registration is not None
    assert registration.layout is not None
    frozen = registration.spec.reference.frozen
    assert frozen is not None
    assert (frozen.rows, frozen.origin, frozen.declared) == (200, "stream", spec.hash)
    assert [(cut.topic, cut.from_offset, cut.to_offset) for cut in frozen.offsets] == [("predictions", 0, 200)]


async def test_a_collection_goes_on_where_an_earlier_owner_left_it(topics: Settings):
    spec = collecting_spec(rows=200)
    await register(topics, spec)
    events = forwarded(spec, chunks=4, size=60)
    async with judging(topics):
        await tell(topics, events[:3])
        await until_taken(topics, 3)
    async with judging(topics) as worker:
        await tell(topics, [events[2], events[3]])
        await until_watched(topics)
        registration = worker.registry.lookup("m", "new")
    assert registration is not None
    assert registration.spec.reference.frozen is not None
    assert registration.spec.reference.frozen.rows == 200


async def test_a_collection_that_was_complete_when_its_owner_died_is_frozen_by_the_next(topics: Settings):
    spec = collecting_spec(rows=200)
    await tell(topics, forwarded(spec, chunks=4, size=60))
    async with judging(topics):  # nobody knows the spec yet, the rows are taken and ignored
        await until_taken(topics, 4)
    await register(topics, spec)
    async with judging(topics):
        await until_watched(topics)


async def test_a_reference_that_cannot_be_made_is_explained_and_stops_nothing(topics: Settings):
    spec = collecting_spec(rows=120)
    await register(topics, spec)
    without_x = [
        event.model_copy(update={"columns": {name: event.columns[name] for name in spec.signals[1:]}})
        for event in forwarded(spec, chunks=2, size=60)
    ]
    async with judging(topics):
        await tell(topics, [*without_x, *TOTALS])
        await until_taken(topics, len(without_x) + len(TOTALS))
        status = await status_of(topics, "m/new/production", 120)
    assert status.state is ModelState.COLLECTING
    assert status.note is not None
    assert "no reference can be made of the first rows" in status.note
    assert await drift_events(topics) == oracle(TOTALS)[1]


async def status_of(settings: Settings, key: str, rows: int) -> ModelStatus:
    """The status of a version once so many rows are collected or judged."""

    async def there() -> bool:
        status = (await statuses(settings)).get(key)
        return status is not None and status.rows >= rows

    await until(there)
    return (await statuses(settings))[key]


async def until_watched(settings: Settings) -> None:
    async def watched() -> bool:
        status = (await statuses(settings)).get("m/new/production")
        return status is not None and status.state is ModelState.WATCHING

    await until(watched)
