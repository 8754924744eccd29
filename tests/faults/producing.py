"""A producer that numbers its events, waits for acknowledgements, and goes on until it is told that it is enough."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from agents.settings import Settings
from tests.faults.stream import MODELS, POISON, Kind, Stream, kind_of

BATCH: Final = 100
"""Numbers sent together, at least."""
BATCHES_PER_S: Final = 20
"""At higher rates a batch is larger: each is acknowledged before the next one goes."""
BATCH_BYTES: Final = 131_072
LABELS_BEHIND: Final = 300
"""So many numbers later the label of a prediction comes."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What is wrong with a producer."""

    repeat_every: int | None = None
    """Every so many batches one is sent a second time, as by a client that retries without being idempotent."""
    poison: bool = False
    """Each batch holds records that are no events."""
    ahead_s: float = 0.0
    """By so much its events are ahead of the timestamps of their records, in every tenth."""


class Producer:
    """Sends a stream in the background for as long as the block lasts.

    Parameters
    ----------
    settings
        Where the broker is, and what the topics are called.
    stream
        What is sent.
    rate
        Numbers a second; what comes of each: `tests.faults.stream.Kind`.
    habits
        What is wrong with it.
    """

    def __init__(self, settings: Settings, stream: Stream, rate: float, habits: Habits) -> None:
        self._settings = settings
        self._stream = stream
        self._rate = rate
        self._batch = max(BATCH, int(rate / BATCHES_PER_S))
        self._habits = habits
        self._enough: int | None = None
        self._task: asyncio.Task[None] | None = None
        self.seconds = 0.0
        """For so long it has been sending."""
        self.acknowledged = 0
        """Numbers below this are acknowledged."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, number: int) -> None:
        """Wait until so many numbers are acknowledged."""
        while self.acknowledged < number:
            self._raise_if_failed()
            await asyncio.sleep(0.05)

    async def finish(self, at_least: int) -> None:
        """Stop as soon as so many numbers were sent, and wait for that."""
        self._enough = at_least
        assert self._task is not None
        await self._task

    def _raise_if_failed(self) -> None:
        if self._task is not None and self._task.done():
            self._task.result()

    async def _run(self) -> None:
        began, client = time.monotonic(), await self._connected()
        try:
            for batch in itertools.count():
                first, stop = batch * self._batch, (batch + 1) * self._batch
                if self._enough is not None and first >= self._enough:
                    await self._send(client, self._labels(first, first + LABELS_BEHIND))
                    return
                records = [*self._rows(first, stop), *self._labels(first, stop)]
                every = self._habits.repeat_every
                for _ in range(2 if every and batch % every == 0 else 1):
                    client = await self._send(client, records)
                self.acknowledged = stop
                await asyncio.sleep(max(0.0, began + stop / self._rate - time.monotonic()))
        finally:
            self.seconds = time.monotonic() - began
            await client.stop()

    async def _send(self, client: AIOKafkaProducer, records: Sequence[_Record]) -> AIOKafkaProducer:
        """Send records until all are acknowledged; those that fail are sent again, and may then be there twice."""
        while records:
            packets = list(_packed(client, records))
            futures = [await client.send_batch(each.builder, each.topic, partition=each.partition) for each in packets]
            results = await asyncio.gather(*futures, return_exceptions=True)
            failed = [each for each, result in zip(packets, results, strict=True) if isinstance(result, KafkaError)]
            if failed:  # an idempotent client is of no use after that
                await client.stop()
                client = await self._connected()
            records = [record for packet in failed for record in packet.records]
        return client

    async def _connected(self) -> AIOKafkaProducer:
        while True:
            client = AIOKafkaProducer(**self._settings.client_options(), enable_idempotence=True, linger_ms=5,
                                      max_batch_size=BATCH_BYTES)  # fmt: skip
            try:
                await client.start()
            except KafkaError:
                await client.stop()
                await asyncio.sleep(0.3)
            else:
                return client

    def _rows(self, first: int, stop: int) -> Iterator[_Record]:
        topic = self._settings.topic("predictions")
        for number in range(first, stop):
            partition = _partition(number, self._settings.partitions)
            early = self._habits.ahead_s if number % 10 == 0 else 0.0
            stamp = int((self._stream.time(number, partition) - early) * 1_000)
            match kind_of(number):
                case Kind.PREDICTION:
                    yield _Record(topic, partition, self._stream.prediction(number, partition), stamp)
                case Kind.FEATURES:
                    value = self._stream.features(number, partition)
                    yield _Record(self._settings.topic("features"), partition, value, stamp)
                case Kind.COMPLETE:
                    value, stamp = self._stream.complete(number, partition), self._stamp(number, partition)
                    yield _Record(self._settings.topic("outcomes"), partition, value, stamp)
        if self._habits.poison:
            for partition in range(self._settings.partitions):
                yield _Record(topic, partition, POISON[(first // self._batch + partition) % len(POISON)])
                yield _Record(self._settings.topic("outcomes"), partition, POISON[first // self._batch % 2])

    def _labels(self, first: int, stop: int) -> list[_Record]:
        """Labels of the numbers from ``LABELS_BEHIND`` before ``first`` to as many before ``stop``."""
        topic = self._settings.topic("outcomes")
        numbers = range(max(0, first - LABELS_BEHIND), max(0, stop - LABELS_BEHIND))
        return [
            _Record(topic, partition, self._stream.outcome(number, partition), self._stamp(number, partition))
            for number in numbers
            if kind_of(number) is Kind.PREDICTION
            for partition in [_partition(number, self._settings.partitions)]
        ]

    def _stamp(self, number: int, partition: int) -> int:
        return int(self._stream.label_time(number, partition) * 1_000)


@dataclass(frozen=True, slots=True)
class _Record:
    topic: str
    partition: int
    value: bytes
    timestamp_ms: int | None = None


@dataclass(slots=True)
class _Packet:
    """Records that go to one partition together."""

    topic: str
    partition: int
    builder: BatchBuilder
    records: list[_Record] = field(default_factory=list)


def _packed(client: AIOKafkaProducer, records: Iterable[_Record]) -> Iterator[_Packet]:
    """Put records into batches; those of one partition keep their order."""
    being_filled: dict[tuple[str, int], _Packet] = {}
    for record in records:
        place = (record.topic, record.partition)
        packet = being_filled.get(place)
        if packet is None or not _added(packet, record):
            if packet is not None:
                yield packet
            packet = being_filled[place] = _Packet(*place, client.create_batch())
            if not _added(packet, record):
                raise ValueError(f"a record of {len(record.value)} bytes fits in no batch")
    yield from being_filled.values()


def _added(packet: _Packet, record: _Record) -> bool:
    fits = packet.builder.append(key=None, value=record.value, timestamp=record.timestamp_ms) is not None
    if fits:
        packet.records.append(record)
    return fits


def _partition(number: int, partitions: int) -> int:
    """Every model is in every partition."""
    return number // len(MODELS) % partitions
