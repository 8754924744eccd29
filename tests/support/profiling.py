"""A profiler in an app of its own, what it is fed, and an oracle that reads the input and says what must come out."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from aiokafka.structs import ConsumerRecord

from agents.app import DriftlineApp, create_app, running
from agents.dead_letters import DeadLetters
from agents.log_reader import LogReader
from agents.metrics import Metrics
from agents.profiling import STREAMS, Profiler
from agents.registry import Registry
from agents.settings import Settings
from agents.topics import ensure_topics
from detector.layout import Layout
from detector.profile import Profile
from detector.rows import Source
from schemas.model_spec import ModelSpec, ReferenceSpec
from schemas.outbound import DeadLetter
from schemas.profiles import PROFILE_EVENT, BaselineRows, ProfileTotal, UnregisteredRows
from tests.support.data import category, frozen_of, numbers, rows_of, spec_of
from tests.support.wait import eventually

WIDTH = 100
"""Values of the feature ``x`` in the events made here are 0 to 99."""
PLANS = ("free", "pro", "team")

ProfileEvent = ProfileTotal | BaselineRows | UnregisteredRows


def draft(model: str = "m", version: str = "1", rows: int = 2_000) -> ModelSpec:
    """A model whose reference is to be collected from the stream."""
    return spec_of(*numbers("x"), category("plan"), model=model, version=version, reference=ReferenceSpec(rows=rows))


def registered(model: str = "m", version: str = "1") -> ModelSpec:
    """The same with a reference from a file."""
    spec = draft(model, version)
    x, plan = spec.signals
    return frozen_of(spec, {x: [i % WIDTH for i in range(500)], plan: [PLANS[i % 3] for i in range(500)]})


def event(number: int, model: str = "m", version: str = "1") -> bytes:
    """The event of a row that is made of its number; values jump, so that ``x`` is not taken for a row number."""
    features = {"x": number * 37 % WIDTH, "plan": PLANS[number % 3]}
    content = {"model": model, "version": version, "features": features, "prediction": 1}
    return json.dumps(content).encode()


def events(numbers: Iterable[int], model: str = "m", version: str = "1") -> list[tuple[None, bytes]]:
    """Records to produce, one row each."""
    return [(None, event(number, model, version)) for number in numbers]


@dataclass(slots=True)
class Running:
    """A running profiler."""

    app: DriftlineApp
    profiler: Profiler
    metrics: Metrics

    async def until_committed(self, positions: Mapping[int, int], topic: str = "predictions") -> Self:
        """Wait until partitions of an input topic are committed up to these offsets."""
        name = self.app.settings.topic(topic)

        def reached() -> bool:
            known = {
                ledger.tp.partition: ledger.committed for ledger in self.profiler.ledgers if ledger.tp.topic == name
            }
            return all(known.get(partition, -1) >= offset for partition, offset in positions.items())

        await eventually(reached, 20.0)
        return self


@asynccontextmanager
async def running_profiler(settings: Settings) -> AsyncIterator[Running]:
    """Run a profiler; at the end of the block it is stopped as SIGTERM stops a worker."""
    await ensure_topics(settings)
    metrics = Metrics()
    app = create_app(settings, run_topics=[settings.topic(name) for name in STREAMS])
    async with Registry(settings, metrics) as registry, DeadLetters(settings, metrics) as letters:
        profiler = Profiler(app, registry, letters, metrics)
        profiler.attach()
        async with running(app):
            yield Running(app, profiler, metrics)


@asynccontextmanager
async def profiler_process(settings: Settings) -> AsyncIterator[Process]:
    """Run `tests.support.profiling_process` and kill it at the end of the block."""
    chosen = settings.model_dump(mode="json", exclude_defaults=True)
    environment = os.environ | {f"DRIFTLINE_{name.upper()}": str(value) for name, value in chosen.items()}
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.profiling_process", stdout=DEVNULL, stderr=DEVNULL, env=environment
    )
    try:
        yield worker
    finally:
        worker.kill()
        await worker.wait()


async def register(settings: Settings, *specs: ModelSpec) -> None:
    """Publish specs as `models apply` does."""
    async with Registry(settings) as registry:
        for spec in specs:
            await registry.publish(spec)


async def read_all(settings: Settings, topic: str) -> list[ConsumerRecord]:
    """All records of a topic, partition by partition in the order of the log."""
    found: list[ConsumerRecord] = []
    async with LogReader(settings, settings.topic(topic)) as reader:
        async for records in reader.read_to_end():
            found += records
    return found


async def published(settings: Settings, kind: type[ProfileEvent]) -> list[Any]:
    """Events of one kind on the profiles topic, in the order of the log; what was removed is there too."""
    records = await read_all(settings, "profiles")
    decoded = [PROFILE_EVENT.validate_json(record.value) for record in records if record.value is not None]
    return [found for found in decoded if isinstance(found, kind)]


async def remaining_keys(settings: Settings) -> set[str]:
    """Keys of the profiles topic as compaction will leave them."""
    last = {record.key: record.value for record in await read_all(settings, "profiles")}
    return {key.decode() for key, value in last.items() if value is not None}


async def letters(settings: Settings) -> list[DeadLetter]:
    """What is in the dead-letter topic."""
    return [DeadLetter.model_validate_json(record.value) for record in await read_all(settings, "dead-letters")]


def last_totals(totals: Iterable[ProfileTotal], model: str = "m", version: str = "1") -> dict[int, ProfileTotal]:
    """The furthest total of each source partition."""
    furthest: dict[int, ProfileTotal] = {}
    for total in totals:
        before = furthest.get(total.partition)
        ahead = before is None or (total.incarnation, total.next_offset) >= (before.incarnation, before.next_offset)
        if (total.model, total.version) == (model, version) and ahead:
            furthest[total.partition] = total
    return furthest


def values_of(total: ProfileTotal, spec: ModelSpec) -> Profile:
    """The counts of a total."""
    return Profile.decode_parts(total.parts, Layout(spec).width)


async def numbers_in(settings: Settings, topic: str, model: str = "m", version: str = "1") -> dict[int, Counter[float]]:
    """The oracle: values of ``x`` in the input topic, by partition, of the records that are right."""
    found: dict[int, Counter[float]] = {}
    for record in await read_all(settings, topic):
        try:
            content = json.loads(record.value or b"")
            if (content["model"], content["version"]) == (model, version):
                found.setdefault(record.partition, Counter())[content["features"]["x"]] += 1
        except (ValueError, KeyError, TypeError):
            continue
    return found


async def assert_totals_equal_the_input(settings: Settings, spec: ModelSpec, topic: str = "predictions") -> None:
    """Compare the last total of each partition with a profile made of the input topic by the oracle."""
    layout = Layout(spec)
    found = last_totals(await published(settings, ProfileTotal), spec.model, spec.version)
    expected = await numbers_in(settings, topic, spec.model, spec.version)
    assert set(found) == set(expected)
    for partition, values in expected.items():
        x = [value for value, count in sorted(values.items()) for _ in range(count)]
        assert found[partition].rows == len(x)
        counts = values_of(found[partition], spec).parts
        rows = rows_of(spec, {spec.signals[0]: x}, source=Source(topic))
        mine = layout.count(rows).parts
        for key, vector in mine.items():
            assert layout.signal_counts(counts[key])[0].tolist() == layout.signal_counts(vector)[0].tolist()
