"""Read a topic without a group: its past to the end, and then what follows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from types import TracebackType
from typing import ClassVar, Self

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord, TopicPartition

from agents.errors import BrokerError
from agents.paced_consumer import PacedConsumer
from agents.settings import Settings

_BATCH_RECORDS = 2_000
_WAIT_S = 0.25


class LogReader:
    """Reads partitions of one topic; every reader sees every record.

    ::

        async with LogReader(settings, settings.topic("models")) as reader:
            async for records in reader.read_to_end():   # what is there now
                ...
            async for records in reader.follow():        # what comes, for ever
                ...

    A batch holds consecutive records of one partition. Offsets may have gaps: compaction and transaction markers leave
    some. Tombstones (value None) are handed over.

    Parameters
    ----------
    settings
        Settings of the worker.
    topic
        Name on the broker.
    partitions
        Which partitions; None: all of them.
    start
        Where to begin in a partition; missing, or not in the log any more: at its beginning.

    Raises
    ------
    BrokerError
        No broker answers, the topic does not exist, or a partition has no leader within the request timeout.
    """

    past_read: ClassVar[int] = 0
    """Records of the past that the readers of this process have read, all together: it moves as long as they do."""

    def __init__(
        self,
        settings: Settings,
        topic: str,
        partitions: Iterable[int] | None = None,
        start: Mapping[int, int] | None = None,
    ) -> None:
        self.topic = topic
        self._settings = settings
        self._wanted = None if partitions is None else sorted(set(partitions))
        self._start = dict(start or {})
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []
        self.positions: dict[int, int] = {}
        """Offset of the record to be read next, by partition."""

    async def start(self) -> Self:
        """Connect and go to the first record."""
        self._consumer = PacedConsumer(
            **self._settings.client_options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level=self._settings.isolation_level.value,
            max_partition_fetch_bytes=self._settings.fetch_bytes_per_partition,
            fetch_max_wait_ms=int(_WAIT_S * 1_000),
        )
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                await self._consumer.start()
                self._partitions = await self._assign(self._consumer)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.stop()
            raise BrokerError(f"topic {self.topic} cannot be read: {error or type(error).__name__}") from None
        except BaseException:
            await self.stop()
            raise
        return self

    async def stop(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def read_to_end(self) -> AsyncGenerator[list[ConsumerRecord], None]:
        """Yield batches until every partition has come to the end that it has at this moment.

        The end is a position, not a record: the last records may be markers that are never handed over.
        """
        consumer = self._running()
        ends = await self._ends(consumer)
        behind = {tp for tp in self._partitions if self.positions[tp.partition] < ends[tp]}
        moved_at = time.monotonic()
        while behind:
            before = dict(self.positions)
            for records in await self._next(consumer):
                LogReader.past_read += len(records)
                yield records
            if self.positions != before:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > self._settings.request_timeout_s:
                where = ", ".join(f"{tp.partition} at {self.positions[tp.partition]} of {ends[tp]}" for tp in behind)
                raise BrokerError(f"topic {self.topic} is not read on: partition {where}")
            behind = {tp for tp in behind if self.positions[tp.partition] < ends[tp]}

    async def follow(self) -> AsyncGenerator[list[ConsumerRecord], None]:
        """Yield batches for ever, as they come."""
        consumer = self._running()
        while True:
            for records in await self._next(consumer):
                yield records

    async def lag(self) -> int:
        """Count the offsets between what was read and the ends of the partitions now."""
        ends = await self._ends(self._running())
        return sum(max(0, ends[tp] - self.positions[tp.partition]) for tp in self._partitions)

    def _running(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError("the reader was not started")
        return self._consumer

    async def _assign(self, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
        numbers = self._wanted
        if numbers is None:
            cluster = await consumer._client.fetch_all_metadata()
            numbers = sorted(cluster.partitions_for_topic(self.topic) or ())
        if not numbers:
            raise BrokerError(f"topic {self.topic} does not exist")
        partitions = [TopicPartition(self.topic, number) for number in numbers]
        consumer.assign(partitions)
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        for tp in partitions:
            start = self._start.get(tp.partition, begins[tp])
            self.positions[tp.partition] = start if begins[tp] <= start <= ends[tp] else begins[tp]
            consumer.seek(tp, self.positions[tp.partition])
        return partitions

    async def _ends(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        try:
            ends: dict[TopicPartition, int] = await consumer.end_offsets(self._partitions)
        except KafkaError as error:
            raise BrokerError(f"the end of topic {self.topic} cannot be found: {error!r}") from None
        return ends

    async def _next(self, consumer: AIOKafkaConsumer) -> list[list[ConsumerRecord]]:
        """Fetch once, and see how far that went."""
        try:
            found = await consumer.getmany(timeout_ms=int(_WAIT_S * 1_000), max_records=_BATCH_RECORDS)
        except KafkaError as error:
            raise BrokerError(f"topic {self.topic} cannot be read: {error!r}") from None
        for tp in self._partitions:
            self.positions[tp.partition] = await consumer.position(tp)
        return [records for records in found.values() if records]
