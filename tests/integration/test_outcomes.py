"""Labels that come late find their predictions and count once, whatever happens to the worker meanwhile."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Iterable
from typing import Any

import pytest
from faust.types import TP

from agents.errors import DeliveryError
from agents.joins.records import decode_record
from agents.settings import Settings
from agents.topics import ensure_topics
from agents.worker import running_worker
from detector.layout import Layout
from tests.support.outcomes import (
    LAG_S,
    Record,
    complete,
    counted_labels,
    expected,
    found,
    labelled,
    outcome,
    prediction,
)
from tests.support.produce import produce
from tests.support.profiling import Running, letters, profiler_process, read_all, register, running_profiler
from tests.support.wait import eventually
from tests.support.worker import statuses, until

SPEC = labelled()

only_on_apache_kafka = pytest.mark.parametrize(
    "broker", [pytest.param("apache_kafka", marks=[pytest.mark.integration, pytest.mark.kafka])], indirect=True
)


@pytest.fixture
async def ready(settings: Settings) -> Settings:
    """Settings, with topics made and the model registered."""
    await ensure_topics(settings)
    await register(settings, SPEC)
    return settings


async def feed(settings: Settings, topic: str, records: Iterable[Record]) -> None:
    """Produce records to the two partitions in turn."""
    made = list(records)
    for partition in (0, 1):
        await produce(settings, settings.topic(topic), made[partition::2], partition=partition)


async def until_labels(settings: Settings, count: int, *topics: str) -> None:
    """Wait until so many labels are published."""
    layout = Layout(SPEC)

    async def there() -> bool:
        return layout.labels(await counted_labels(settings, SPEC, *(topics or ("joins",)))) >= count

    await until(there, 30.0)


async def until_joined(worker: Running, settings: Settings) -> None:
    """Wait until all that is in the topic of joins was taken in and committed."""

    async def done() -> bool:
        await worker.profiler.flush()
        ledgers = [ledger for ledger in worker.profiler.ledgers if ledger.tp.topic == settings.topic("joins")]
        ends = await worker.app.consumer.end_offsets(*(ledger.tp for ledger in ledgers))
        waiting = worker.profiler.forwarder.waiting
        return not waiting and all(ledger.is_loaded and ledger.committed >= ends[ledger.tp] for ledger in ledgers)

    await until(done, 30.0)


async def until_read(worker: Running, settings: Settings, **counts: int) -> None:
    """Wait until so many records of input topics were read, and what they forwarded is joined."""
    for topic, count in counts.items():
        name = settings.topic(topic)
        await eventually(lambda: worker.metrics.value("driftline_records_total", topic=name) >= count, 20.0)  # noqa: B023
    await until_joined(worker, settings)


async def until_idle(worker: Running) -> None:
    """Wait until the worker has everything read back and has published for the first time."""
    await eventually(lambda: bool(worker.profiler.ledgers) and all(each.is_loaded for each in worker.profiler.ledgers))
    await worker.profiler.flush()


def fates(worker: Running) -> dict[str, float]:
    names = ("matched", "duplicate", "corrected", "expired", "unmatched")
    counts = {name: worker.metrics.value("driftline_outcomes_total", model="m", fate=name) for name in names}
    return {name: count for name, count in counts.items() if count}


async def test_labels_find_their_predictions_in_whatever_partition_they_are(ready: Settings) -> None:
    async with running_profiler(ready) as worker:
        await feed(ready, "predictions", map(prediction, range(100)))
        await feed(ready, "outcomes", map(outcome, reversed(range(80))))
        await until_read(worker, ready, predictions=100, outcomes=80)
    assert found(SPEC, await counted_labels(ready, SPEC, "joins")) == expected(SPEC, range(80))
    assert fates(worker) == {"matched": 80}


async def test_a_label_that_comes_before_its_prediction_waits_for_it(ready: Settings) -> None:
    async with running_profiler(ready) as worker:
        await feed(ready, "outcomes", map(outcome, range(50)))
        await until_read(worker, ready, outcomes=50)
        assert fates(worker) == {}
        await feed(ready, "predictions", map(prediction, range(40)))
        await until_read(worker, ready, predictions=40)
    assert found(SPEC, await counted_labels(ready, SPEC, "joins")) == expected(SPEC, range(40))


async def test_the_first_label_counts_and_what_comes_later_is_reported(ready: Settings) -> None:
    async with running_profiler(ready) as worker:
        await feed(ready, "predictions", map(prediction, range(10)))
        await feed(ready, "outcomes", map(outcome, range(10)))
        await until_read(worker, ready, predictions=10, outcomes=10)
        again = [*map(outcome, range(6)), *(outcome(n, label="other") for n in range(4))]
        await feed(ready, "outcomes", again)
        await until_read(worker, ready, outcomes=20)
    assert found(SPEC, await counted_labels(ready, SPEC, "joins")) == expected(SPEC, range(10))
    assert fates(worker) == {"matched": 10, "duplicate": 6, "corrected": 4}


async def test_an_outcome_that_brings_its_prediction_counts_where_it_is(ready: Settings) -> None:
    async with running_profiler(ready) as worker:
        await feed(ready, "outcomes", map(complete, range(60)))
        await until_read(worker, ready, outcomes=60)
    assert found(SPEC, await counted_labels(ready, SPEC, "outcomes")) == expected(SPEC, range(60))
    assert await read_all(ready, "joins") == []


async def test_a_label_counts_for_every_version_that_answered_and_each_by_its_own_answer(ready: Settings) -> None:
    shadow = labelled(version="2")
    await register(ready, shadow)
    async with running_profiler(ready) as worker:
        await feed(ready, "predictions", map(prediction, range(20)))
        answers = [prediction(n, version="2", stage="shadow", score=1.0) for n in range(20)]
        await feed(ready, "predictions", answers)
        await feed(ready, "outcomes", map(outcome, range(20)))
        await until_read(worker, ready, predictions=40, outcomes=20)
    assert found(SPEC, await counted_labels(ready, SPEC, "joins")) == expected(SPEC, range(20))
    ones = expected(SPEC, range(20))["labels"]["1"]
    assert found(shadow, await counted_labels(ready, shadow, "joins"))["errors"] == {"false": ones, "true": 20 - ones}


async def test_outcomes_that_say_nothing_become_dead_letters(ready: Settings) -> None:
    bad = [
        outcome(0, prediction_id=None),
        outcome(1, label=None),
        outcome(2, time="yesterday"),
        complete(3, version=None),
        (None, b"{"),
    ]
    async with running_profiler(ready) as worker:
        await produce(ready, ready.topic("outcomes"), [*bad, outcome(5)])
        await until_read(worker, ready, outcomes=6)
    reasons = {letter.origin.offset: letter.reason.value for letter in await letters(ready)}
    assert reasons == {0: "invalid_event", 1: "invalid_event", 2: "invalid_time", 3: "invalid_event", 4: "invalid_json"}


@pytest.mark.parametrize("lost", [False, True], ids=["store kept", "store lost"])
async def test_a_restart_in_the_middle_changes_nothing(ready: Settings, lost: bool) -> None:
    async with running_profiler(ready) as worker:
        await feed(ready, "predictions", map(prediction, range(100)))
        await feed(ready, "outcomes", map(outcome, range(30)))
        await until_read(worker, ready, predictions=100, outcomes=30)
    if lost:
        shutil.rmtree(ready.state_folder)
    async with running_profiler(ready) as worker:
        await feed(ready, "outcomes", map(outcome, range(90)))
        await until_read(worker, ready, outcomes=90)
    assert found(SPEC, await counted_labels(ready, SPEC, "joins")) == expected(SPEC, range(90))
    assert fates(worker) == {"matched": 60, "duplicate": 30}


async def test_a_store_of_another_log_is_given_up(ready: Settings) -> None:
    other = ready.model_copy(update={"topic_prefix": f"{ready.topic_prefix}other."})
    await ensure_topics(other)
    await register(other, SPEC)
    for each in (ready, other):
        async with running_profiler(each) as worker:
            await feed(each, "predictions", map(prediction, range(50)))
            await feed(each, "outcomes", map(outcome, range(50)))
            await until_read(worker, each, predictions=50, outcomes=50)
        folder = ready.state_folder / each.group.replace("/", "%2F")
        for store in list(folder.iterdir()):
            store.rename(folder / store.name.replace(ready.topic_prefix, other.topic_prefix, 1))
    assert found(SPEC, await counted_labels(other, SPEC, "joins")) == expected(SPEC, range(50))


async def test_a_worker_that_falls_before_it_has_committed_counts_nothing_twice(ready: Settings) -> None:
    slow = ready.model_copy(update={"publish_interval_s": 60.0})  # so that only the test flushes

    async def run_until_it_crashes() -> None:
        async with running_profiler(slow) as worker:
            await until_idle(worker)
            await feed(ready, "predictions", map(prediction, range(60)))
            await feed(ready, "outcomes", map(outcome, range(60)))
            await until_read(worker, slow, predictions=60, outcomes=60)
            await feed(ready, "outcomes", map(outcome, range(60, 100)))
            await feed(ready, "predictions", map(prediction, range(60, 100)))
            await eventually(
                lambda: (
                    worker.metrics.value("driftline_records_total", topic=ready.topic("predictions")) == 100
                    and worker.metrics.value("driftline_records_total", topic=ready.topic("outcomes")) == 100
                )
            )
            await worker.profiler.forwarder.deliver()  # forwarded, and joined, but neither published nor committed
            await eventually(lambda: fates(worker).get("matched") == 100)
            worker.app.producer.deliver = refuse  # type: ignore[assignment]
            await worker.profiler.flush()

    async def refuse(*_: Any, **__: Any) -> None:
        raise DeliveryError("not acknowledged, says the test")

    with pytest.raises(DeliveryError, match="says the test"):
        await run_until_it_crashes()
    async with running_profiler(ready) as worker:
        await until_labels(ready, 100)
        await until_joined(worker, ready)
    assert found(SPEC, await counted_labels(ready, SPEC, "joins")) == expected(SPEC, range(100))


async def test_what_could_not_be_forwarded_is_not_committed(ready: Settings) -> None:
    slow = ready.model_copy(update={"publish_interval_s": 60.0})

    async def refuse(*_: Any, **__: Any) -> None:
        raise DeliveryError("not acknowledged, says the test")

    async with running_profiler(slow) as worker:
        await until_idle(worker)
        await feed(ready, "outcomes", map(outcome, range(40)))
        await eventually(lambda: worker.profiler.forwarder.waiting == 40)
        worker.app.producer.deliver = refuse  # type: ignore[assignment]
        with pytest.raises(DeliveryError):
            await worker.profiler.flush()
        tps = [TP(ready.topic("outcomes"), partition) for partition in (0, 1)]
        assert set((await worker.app.consumer.committed(*tps)).values()) == {None}
    async with running_profiler(ready) as worker:
        await feed(ready, "predictions", map(prediction, range(40)))
        await until_labels(ready, 40)
    assert found(SPEC, await counted_labels(ready, SPEC, "joins")) == expected(SPEC, range(40))


async def test_only_ids_of_the_sample_are_forwarded_and_both_sides_keep_the_same(settings: Settings) -> None:
    await ensure_topics(settings)
    spec = labelled(sample=0.5, features=False)
    await register(settings, spec)
    async with running_profiler(settings) as worker:
        await feed(settings, "predictions", map(prediction, range(400)))
        await feed(settings, "outcomes", map(outcome, range(400)))
        await until_read(worker, settings, predictions=400, outcomes=400)
        matched = fates(worker)["matched"]
    items = [section for record in await read_all(settings, "joins") for section in decode_record(record.value)]
    assert sum(map(len, items)) == 2 * matched
    assert 150 < matched < 250


@only_on_apache_kafka
async def test_partitions_that_move_between_workers_are_joined_once(ready: Settings, tmp_path: Any) -> None:
    order = random.Random(5)
    numbers = list(range(3_000))

    async def send() -> None:
        for start in range(0, len(numbers), 150):
            chunk = numbers[start : start + 150]
            await feed(ready, "predictions", map(prediction, chunk))
            await feed(ready, "outcomes", map(outcome, order.sample(chunk, len(chunk))))
            await asyncio.sleep(0.05)

    elsewhere = ready.model_copy(update={"state_dir": tmp_path / "another machine"})
    async with running_profiler(ready) as one:
        sending = asyncio.create_task(send())
        await asyncio.sleep(1.0)
        async with running_profiler(elsewhere) as two:
            await eventually(lambda: len(one.profiler.ledgers) > 0 and len(two.profiler.ledgers) > 0)
            await asyncio.sleep(2.0)
        await sending
        await until_labels(ready, len(numbers))
        await until_joined(one, ready)
    assert found(SPEC, await counted_labels(ready, SPEC, "joins")) == expected(SPEC, numbers)


@only_on_apache_kafka
async def test_a_worker_killed_again_and_again_joins_every_label_once(ready: Settings) -> None:
    settings = ready.model_copy(update={"session_timeout_s": 2.0, "heartbeat_interval_s": 0.3})
    rounds, each = 3, 4_000
    for round_ in range(rounds):
        numbers = range(round_ * each, (round_ + 1) * each)
        await feed(settings, "predictions", map(prediction, numbers))
        async with profiler_process(settings):
            await feed(settings, "outcomes", map(outcome, numbers))
            await until_labels(settings, round_ * each + 1)  # and killed somewhere in the middle
    async with running_profiler(settings) as worker:
        await until_labels(settings, rounds * each)
        await until_joined(worker, settings)
    assert found(SPEC, await counted_labels(settings, SPEC, "joins")) == expected(SPEC, range(rounds * each))


async def test_status_and_metrics_of_the_worker_tell_lag_and_coverage(ready: Settings) -> None:
    settings = ready.model_copy(update={"save_interval_s": 0.2, "web_port": 0})
    async with running_worker(settings) as worker:
        await worker.ready()
        await feed(settings, "predictions", map(prediction, range(200)))
        await feed(settings, "outcomes", map(outcome, range(50)))

        async def told() -> bool:
            status = (await statuses(settings)).get("m/1/production")
            return status is not None and status.labels is not None and status.labels.coverage == 0.25

        await until(told)
        subject = {"model": "m", "version": "1", "stage": "production"}
        assert worker.metrics.value("driftline_label_coverage", **subject) == 0.25
        lag = worker.metrics.value("driftline_label_lag_seconds", **subject, quantile="0.5")
    assert lag == pytest.approx(LAG_S, rel=0.2)
