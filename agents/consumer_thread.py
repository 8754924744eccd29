"""The thread that owns aiokafka's consumer: fetches, seeks and commits happen on its loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from agents.errors import BrokerError, DeliveryError, StuckError
from agents.paced_consumer import PacedConsumer

if TYPE_CHECKING:
    from agents.app import DriftlineApp
    from agents.settings import Settings

T = TypeVar("T")

FETCHED_RUNS: Final = 4
"""Full runs taken from the fetched records at a time."""
METADATA_MAX_AGE_MS: Final = 60_000
"""Partitions that were added, and topics that were made anew, are noticed within this time."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one fetch brought, and when."""

    records: Mapping[TP, list[ConsumerRecord]] = field(default_factory=dict)
    end_offsets: Mapping[TP, int | None] = field(default_factory=dict)
    """Where the partitions ended, as far as the broker said."""
    seeks: int = 0
    """How often the thread had sought before."""


class RunConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that owns aiokafka's consumer."""

    seeks: int = 0
    """Counts the seeks of this thread; a fetch that was made before the latest is stale."""

    @property
    def settings(self) -> Settings:
        """The settings of the app."""
        return cast("DriftlineApp", self.app).settings

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        settings = self.settings
        return PacedConsumer(
            **settings.client_options(),
            group_id=settings.group,
            group_instance_id=settings.group_instance_id,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level=settings.isolation_level.value,
            max_partition_fetch_bytes=settings.fetch_bytes_per_partition,
            fetch_max_wait_ms=settings.fetch_max_wait_ms,
            session_timeout_ms=int(settings.session_timeout_s * 1_000),
            heartbeat_interval_ms=int(settings.heartbeat_interval_s * 1_000),
            rebalance_timeout_ms=int(settings.request_timeout_s * 1_000),
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
        )

    async def call(self, work: Coroutine[Any, Any, T], within_s: float | None = None) -> T:
        """Run ``work`` on this thread's loop and wait for it.

        Faust's own queue into the thread has two workers, and a fetch and a rebalance can keep both busy.

        Raises
        ------
        DeliveryError
            The thread has ended, or the work was not done in time.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(work, self.thread_loop)
        except RuntimeError:
            work.close()
            raise DeliveryError("the consumer has stopped") from None
        try:
            async with asyncio.timeout(within_s):  # wait_for of Python 3.11 can lose a cancellation
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise DeliveryError(f"the broker did not answer within {within_s} s") from None

    async def fetch(self, active: set[TP], wait_s: float) -> Fetched:
        """Take what has been fetched from the active partitions; wait up to ``wait_s`` seconds if there is nothing."""
        return await self.call(self._fetch(active, wait_s))

    async def _fetch(self, active: set[TP], wait_s: float) -> Fetched:
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        if not self.consumer.flow_active:
            return Fetched(seeks=self.seeks)
        with fetcher._subscriptions.fetch_context():
            # A broker may answer with far more than was asked for; decoding it all at once would block the thread.
            limit = FETCHED_RUNS * self.settings.run_max_records
            records = await fetcher.fetched_records(active, timeout=wait_s, max_records=limit)
        assigned = consumer.assignment()
        end_offsets = {tp: consumer.highwater(tp) for tp in records if tp in assigned}
        return Fetched(records, end_offsets, self.seeks)

    async def seek_to_committed(self) -> Mapping[TP, int | None]:  # type: ignore[override]
        """Seek every assigned partition to where counting goes on; return the committed offsets (None: none usable)."""
        return await self.call(self._seek_to_committed(), self.settings.request_timeout_s)

    async def _seek_to_committed(self) -> dict[TP, int | None]:
        consumer = self._ensure_consumer()
        partitions = list(consumer.assignment())
        begins, ends, committed = await self.positions(partitions)
        usable: dict[TP, int | None] = {}
        for tp in partitions:
            offset = committed[tp]
            if offset is not None and not begins[tp] <= offset <= ends[tp]:
                self.log.warning(
                    "committed offset %d of %s/%d is not in the log (%d to %d): reading from its beginning",
                    offset, tp.topic, tp.partition, begins[tp], ends[tp],
                )  # fmt: skip
                offset = None
            if tp in consumer.assignment():
                consumer.seek(tp, begins[tp] if offset is None else offset)
            usable[TP(tp.topic, tp.partition)] = offset
        self.seeks += 1
        return usable

    async def positions(
        self, partitions: Sequence[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int], dict[TopicPartition, int | None]]:
        """Where the logs begin and end, and what the group has committed (None: nothing)."""
        consumer = self._ensure_consumer()
        if not partitions:
            return {}, {}, {}
        begins, ends, committed = await asyncio.gather(
            consumer.beginning_offsets(partitions),
            consumer.end_offsets(partitions),
            consumer._coordinator.fetch_committed_offsets(partitions),
        )
        known = {tp: committed[tp].offset for tp in partitions if tp in committed and committed[tp].offset >= 0}
        return begins, ends, {tp: known.get(tp) for tp in partitions}

    async def _seek_wait(self, consumer: AIOKafkaConsumer, partitions: Mapping[TP, int]) -> None:
        self.seeks += 1
        await super()._seek_wait(consumer, partitions)

    def seek(self, partition: TP, offset: int) -> None:
        """Seek one partition."""
        self.seeks += 1
        super().seek(partition, offset)

    async def check_group(self) -> None:
        """Raise the error that keeps this consumer out of its group, if there is one."""
        consumer = self._consumer
        if consumer is None or consumer._closed or consumer._coordinator is None:
            return
        try:
            consumer._coordinator.check_errors()
        except KafkaError as error:
            if type(error) is KafkaError:  # how aiokafka wraps what it did not foresee
                raise StuckError(f"the coordination of group {self.settings.group} has ended: {error!r}") from error
            raise BrokerError(f"group {self.settings.group} cannot be joined: {error!r}") from error

    async def commit_by_hand(self, offsets: Mapping[TopicPartition, int], generation: int | None) -> bool:
        """Commit on this thread; see `RunConsumer.commit_offsets`."""
        consumer = self._ensure_consumer()
        if generation is not None and generation != consumer._coordinator.generation:
            return False
        try:
            await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError):
            return False
        except KafkaError as error:
            raise DeliveryError(f"the broker refused a commit: {error!r}") from error
        return True

    def _stopped_set(self) -> None:
        with suppress(RuntimeError):  # after a crash the thread has closed its loop already
            super()._stopped_set()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's check for slow streams knows nothing of commits by hand."""
