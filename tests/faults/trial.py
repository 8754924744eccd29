"""What a fault can get hold of while it is tried, and what is looked at when it is over."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from agents.errors import OperatorError
from agents.settings import Settings
from agents.topics import admin
from schemas.outbound import Change, DriftEvent, ModelStatus, Tier
from tests.faults.log import Place, read
from tests.faults.oracle import Difference, Oracle
from tests.faults.producing import Producer
from tests.faults.proxy import Proxy
from tests.faults.stream import MODELS, TICK_S
from tests.faults.workers import Workers
from tests.support.kafka import ApacheKafka

RAW: Final = ("features", "predictions", "outcomes")
FOLLOWED: Final = (*RAW, "joins", "profiles")
"""Topics whose lag must come back to zero."""
HOUR_S: Final = 3_600.0
AGE_S: Final = 30 * HOUR_S
"""The stream begins so long ago: its clock runs fast, and may not come to records from the future."""
MORE_HELD: Final = (12, 4)
"""So many more files and threads than before may be a coordinator's connection, a store that came with a partition, or
the pool of threads that grows once; what leaks with each connection that breaks is more."""
_QUIET_WITHIN_S: Final = 150.0
_LOOKS: Final = 40


@dataclass(frozen=True, slots=True)
class Scale:
    """How much flows."""

    numbers: int = 6_000
    """Events that are produced, at least; what comes of each: `tests.faults.stream.Kind`."""
    rate: float = 1_000.0
    """So many a second are asked of the producer; the labels of predictions come on top."""

    away_s: float = 6.0
    """For so long the broker is away."""

    @property
    def tick_s(self) -> float:
        """Seconds between two events by the producer's clock: the same in a second whatever the rate."""
        return TICK_S * 1_000.0 / self.rate


@dataclass(slots=True)
class Trial:
    """What a fault can get hold of.

    Attributes
    ----------
    broker
        The node; a fault may kill it and start it again.
    settings
        By the direct way: of whoever looks on.
    proxies
        Before the broker, by detour.
    """

    broker: ApacheKafka
    settings: Settings
    scale: Scale
    workers: Workers
    producer: Producer
    oracle: Oracle
    proxies: Mapping[str, Proxy]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    incidents_expected: bool = False
    at_the_end: list[Callable[[Trial], Awaitable[None]]] = field(default_factory=list)
    """What a fault wants to look at when all is counted and the workers still run."""
    held_before: tuple[int, int] | None = None
    """Files and threads of the first worker at work, before anything broke; None: nothing is compared."""

    async def commits(self) -> dict[Place, int]:
        """What the group has committed, of the topics that are followed."""
        async with admin(self.settings) as client:
            offsets = await client.list_consumer_group_offsets(self.settings.group)
        return {(tp.topic, tp.partition): at.offset for tp, at in offsets.items() if at.offset >= 0}

    async def ends(self, *names: str) -> dict[Place, int]:
        """Where topics end now."""
        async with admin(self.settings) as client:
            topics = [self.settings.topic(name) for name in names]
            described = await client.describe_topics(topics)
            wanted = [(each["topic"], part["partition"]) for each in described for part in each["partitions"]]
        return await _ends(self.settings, wanted)

    async def until_counted(self, ends: Mapping[Place, int], within_s: float = _QUIET_WITHIN_S) -> None:
        """Wait until the group has committed so far."""
        behind: dict[Place, str] = {}
        try:
            async with asyncio.timeout(within_s):
                while True:
                    try:
                        known = await self.commits()
                    except (KafkaError, OperatorError):
                        known = {}
                    behind = {at: f"{known.get(at)} of {end}" for at, end in ends.items() if known.get(at, 0) < end}
                    if not behind:
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise TimeoutError(f"not counted within {within_s:g} s: {behind}\n{self.workers.last_words()}") from None

    async def check_commits(self) -> None:
        """Look whether something is committed that is in no saved total: at a moment when no worker lives."""
        commits = await self.commits()
        await self.oracle.look()
        ahead = self.oracle.commits_ahead(commits, await self.oracle.published())
        self.problems += [f"committed and not saved: {each}" for each in ahead]

    # ----------------------------------------------------------------------------------------------- the verdict

    async def settle(self) -> tuple[int, int]:
        """Wait until nothing is left to do, compare, and return the rows lost and counted twice."""
        for worker in self.workers.all:  # one may have crashed, as it should, and be on its way back
            if worker.wanted:
                await self.workers.until_ready(worker)
        await self.until_counted(await self.ends(*RAW))
        while (ends := await self.ends(*FOLLOWED)) != (await self._settled(ends)):  # forwarding makes more to do
            pass
        differences = {str(each): each for each in await self.oracle.compare(await self.oracle.published())}
        differences |= {f"over HTTP: {each}": each for each in await self._shown_wrongly()}
        self.problems += list(differences)
        await self._check_events()
        await self._check_statuses()
        for look in self.at_the_end:
            await look(self)
        self._check_held()
        for worker in self.workers.all:
            if worker.wanted and (code := await self.workers.stop(worker)) != 0:
                self.problems.append(f"worker {worker.number} ended with exit code {code} when it was told to stop")
        await self.check_commits()
        return sum(each.lost for each in differences.values()), sum(each.double for each in differences.values())

    async def _shown_wrongly(self) -> list[Difference]:
        """What the workers show over HTTP and is not so; a worker that has just got its partitions may still read."""
        differences: list[Difference] = []
        for _ in range(_LOOKS):
            differences = await self.oracle.compare(await self.workers.totals(MODELS))
            if not differences:
                break
            await asyncio.sleep(0.5)
        return differences

    async def _settled(self, ends: Mapping[Place, int]) -> dict[Place, int]:
        await self.until_counted(ends)
        await asyncio.sleep(self.settings.save_interval_s)
        return await self.ends(*FOLLOWED)

    async def until_told(self) -> None:
        """Wait until the incident that the stream calls for is as high as it must be; events flow meanwhile.

        What came during an outage, or to a machine that is busy, is judged in a few large steps, and an incident wants
        several: so what is waited for is the event, and not a number of rows.
        """
        with suppress(TimeoutError):  # the verdict will say what is missing
            async with asyncio.timeout(_QUIET_WITHIN_S):
                while self.expected - _highest(await self._drift_events()):  # noqa: ASYNC110 - a broker sets no event
                    await asyncio.sleep(0.3)

    @property
    def expected(self) -> set[tuple[str, Tier]]:
        """Models with the highest tier of their incident."""
        return {(MODELS[0], Tier.SIGNIFICANT)} if self.incidents_expected else set()

    async def _drift_events(self) -> list[DriftEvent]:
        return [DriftEvent.model_validate_json(value) for value in await self._values("drift-events")]

    async def _check_events(self) -> None:
        """One incident where there was a shift, none elsewhere; what was sent twice has one id."""
        events = await self._drift_events()
        by_id = {event.id: event for event in events}
        repeats = len(events) - len(by_id)
        if repeats:
            self.notes.append(f"{repeats} events came again, under their ids")
        opened: dict[str, set[str]] = defaultdict(set)
        for event in by_id.values():
            if event.change is Change.OPENED:
                opened[event.incident_id].add(event.id)
        twice = [incident for incident, ids in opened.items() if len(ids) > 1]
        self.problems += [f"incident {incident} was opened under several ids" for incident in twice]
        found, expected = _highest(events), self.expected
        if found != expected or len(opened) != len(expected):
            self.problems.append(f"incidents: {sorted(found)} in {len(opened)}, where {sorted(expected)} was expected")

    async def _check_statuses(self) -> None:
        """What was judged is no more than what was counted; labels are all there."""
        last = {value.id.rsplit("/", 3)[0]: value
                for value in map(ModelStatus.model_validate_json, await self._values("model-status"))}  # fmt: skip
        for status in last.values():
            predictions, pairs = self.oracle.rows_of(status.model)
            labels = status.labels.rows if status.labels is not None else 0
            if status.rows > predictions + pairs or labels != pairs:
                self.problems.append(f"the status of {status.model} tells of {status.rows} rows and {labels} labels, "
                                     f"where there are {predictions} predictions and {pairs} labels")  # fmt: skip

    def _check_held(self) -> None:
        """Files and threads of a worker that has been through it all are no more than those of one at work before."""
        if self.held_before is None:
            return
        for worker in self.workers.all:
            held = self.workers.held(worker) if worker.wanted else (0, 0)
            kinds = zip(("files", "threads"), held, self.held_before, MORE_HELD, strict=True)
            self.problems += [f"worker {worker.number} holds {now} {kind}, where one held {before} at first"
                              for kind, now, before, more in kinds if now > before + more]  # fmt: skip

    async def _values(self, topic: str) -> list[bytes]:
        found, _ = await read(self.settings.bootstrap_servers, self.settings.topic(topic))
        return [record.value for records in found.values() for record in records if record.value is not None]


def _highest(events: Iterable[DriftEvent]) -> set[tuple[str, Tier]]:
    """Of each incident the model and the highest tier."""
    highest: dict[tuple[str, str], Tier] = {}
    for event in events:
        key = (event.model, event.incident_id)
        highest[key] = max(event.tier, highest.get(key, event.tier), key=lambda tier: tier.rank)
    return {(model, tier) for (model, _), tier in highest.items()}


async def _ends(settings: Settings, places: list[Place]) -> dict[Place, int]:
    consumer = AIOKafkaConsumer(**settings.client_options(), isolation_level="read_committed")
    await consumer.start()
    try:
        found = await consumer.end_offsets([TopicPartition(*place) for place in places])
    finally:
        await consumer.stop()
    return {(tp.topic, tp.partition): offset for tp, offset in found.items()}
