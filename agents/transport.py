"""Faust's transport with runs of records in place of single ones, and commits by hand.

A Faust agent costs about 100 microseconds for each message. Here, for the run topics, a message is a `Run`: up to two
thousand records of one partition, undecoded. Everything else is Faust's own machinery, with these repairs:

- *Rewinding.* Records are fetched in a thread and handed over in the main loop. Each fetch carries the number of
  seeks that came before it; if the thread has sought since, the rest of the fetch is stale and is dropped (the seek
  makes the partition be read again, so nothing is lost).
- *Seeking.* aiokafka's ``seek_to_committed`` leaves partitions alone that have no committed offset, so what was
  fetched from them before would be lost; and an offset beyond the end of a topic that was made anew would make Faust
  drop new records in silence. Here every partition is sought to its committed offset if that lies within the log,
  and to the log's beginning otherwise.
- *Waiting.* When all partitions wait for a slow agent, Faust sleeps for a second; here fetching goes on as soon as
  there is room.
- *Errors of the group.* aiokafka keeps them (no permission, an inconsistent protocol) until somebody asks, and Faust
  never does: the worker would be silent for ever. Here somebody asks once a second.
- *Commits.* Faust's own bookkeeping is not used for run topics (declare them with ``acks=False``).
  `RunConsumer.commit_offsets` commits on the consumer's thread, one commit at a time.

The names with an underscore that are used here are those of faust-streaming 0.15 and aiokafka 0.14.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, cast

from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord, TopicPartition
from faust.transport.consumer import ensure_TPset
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service

from agents.consumer_thread import RunConsumerThread
from agents.errors import DeliveryError
from agents.producer import IdempotentProducer
from agents.runs import Run, cut

if TYPE_CHECKING:
    from agents.app import DriftlineApp

T = TypeVar("T")

GROUP_CHECK_S: Final = 1.0
"""How often the group is asked for errors."""


class RunConsumer(driver.Consumer):
    """Faust's consumer, handing over runs."""

    _thread: RunConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._commit_turn = asyncio.Lock()
        self._room = asyncio.Event()
        self._handed: dict[TP, tuple[int, int]] = {}

    def handed(self, tp: TP) -> int | None:
        """Offset behind the last run that an agent was handed in this generation; None: there was none."""
        generation, offset = self._handed.get(tp, (-1, 0))
        return offset if generation == self.app.consumer_generation_id else None

    def _new_consumer_thread(self) -> RunConsumerThread:
        return RunConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @Service.task
    async def _watch_group(self) -> None:
        async for _ in self.itertimer(GROUP_CHECK_S, name="group"):
            await self._call(self._thread.check_group())

    # ------------------------------------------------------------------------------------------------ fetching

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Fetch once and yield what came, in turn from each topic and partition."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
        active = self._get_active_partitions()
        if not active:
            await self._wait_for_room(timeout)
            return
        fetched = await self._thread.fetch(active, timeout)
        generation = self.app.consumer_generation_id
        if self.should_stop:
            return
        if not self.flow_active:
            await self._seek_back()
            return
        for tp, item in self.scheduler.iterate(self._in_runs(fetched.records)):
            stale = generation != self.app.consumer_generation_id or fetched.seeks != self._thread.seeks
            if stale or not self.flow_active:
                break
            if tp in active or tp in self._buffered_partitions:
                self.app.monitor.track_tp_end_offset(tp, fetched.end_offsets.get(tp) or 0)
                if isinstance(item, Run):
                    self._handed[tp] = (generation, item.next_offset)
                yield tp, self._to_message(tp, item)

    def _in_runs(self, records: Mapping[TP, list[ConsumerRecord]]) -> dict[TP, list[Any]]:
        """Replace the records of run topics by runs."""
        app = cast("DriftlineApp", self.app)
        return {
            tp: list(cut(tp.topic, tp.partition, found, app.settings.run_max_records))
            if tp.topic in app.run_topics
            else found
            for tp, found in records.items()
        }

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if not isinstance(record, Run):
            return super()._to_message(tp, record)
        # Faust would drop an offset below the last one it read. What comes here is never stale, so a lower offset
        # means that the partition was rewound or made anew.
        self._read_offset[tp] = None
        last = record.records[-1]
        return ConsumerMessage(
            record.topic, record.partition, last.offset, last.timestamp / 1_000, last.timestamp_type,
            [], None, cast(bytes, record), None, tp=tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    async def _seek_back(self) -> None:
        """Make the next fetch repeat what was fetched while the flow was off."""
        try:
            await self.perform_seek()
        except (KafkaError, DeliveryError) as error:
            self.log.warning("cannot seek back to the committed offsets, a rebalance will: %r", error)

    async def _wait_for_room(self, wait_s: float) -> None:
        self._room.clear()
        await self.wait(self._room, timeout=wait_s)  # type: ignore[arg-type]

    def on_buffer_drop(self, tp: TP) -> None:
        """Fetch from a partition again whose agent has caught up."""
        super().on_buffer_drop(tp)
        self._room.set()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch from partitions again after a rebalance."""
        super().resume_partitions(tps)
        self._room.set()

    # --------------------------------------------------------------------------------------- offsets, by hand

    async def commit_offsets(self, offsets: Mapping[TP, int], generation: int | None = None) -> bool:
        """Commit next offsets by hand. One commit is outstanding at a time; others wait for their turn.

        Parameters
        ----------
        offsets
            For each partition the offset of the next record to count.
        generation
            The group generation in which the work was done (``app.consumer_generation_id`` at that time).

        Returns
        -------
        bool
            False where a partition, or the generation, is no longer ours, and during a rebalance: nothing was
            committed, drop the work.

        Raises
        ------
        DeliveryError
            The broker refused, or did not answer within the request timeout: let the worker exit.
        """
        if not offsets:
            return True
        wanted = {TopicPartition(tp.topic, tp.partition): offset for tp, offset in offsets.items()}
        async with self._commit_turn:
            if self.app.rebalancing:
                return False
            return await self._call(self._thread.commit_by_hand(wanted, generation))

    async def committed(self, *partitions: TP) -> dict[TP, int | None]:
        """Offsets that the group has committed; None: nothing yet."""
        return (await self._positions(partitions))[2]

    async def beginning_offsets(self, *partitions: TP) -> dict[TP, int]:
        """Offsets of the oldest records that are still there."""
        return (await self._positions(partitions))[0]

    async def end_offsets(self, *partitions: TP) -> dict[TP, int]:
        """Offsets that the next records will get (with read_committed: the end of what is decided)."""
        return (await self._positions(partitions))[1]

    async def _positions(self, partitions: Sequence[TP]) -> tuple[dict[TP, Any], dict[TP, Any], dict[TP, Any]]:
        wanted = [TopicPartition(tp.topic, tp.partition) for tp in partitions]
        begins, ends, committed = await self._call(self._thread.positions(wanted))
        return _faust(begins), _faust(ends), _faust(committed)

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._thread.call(work, self._thread.settings.request_timeout_s)

    def owned(self) -> set[TP]:
        """Partitions that are assigned to this worker now."""
        return ensure_TPset(self._thread.assignment())


class RunTransport(driver.Transport):
    """Faust's Kafka transport with the consumer of this module and an idempotent producer."""

    Consumer: ClassVar[type[RunConsumer]] = RunConsumer
    Producer: ClassVar[type[IdempotentProducer]] = IdempotentProducer


def _faust(offsets: Mapping[TopicPartition, T]) -> dict[TP, T]:
    return {TP(tp.topic, tp.partition): offset for tp, offset in offsets.items()}
