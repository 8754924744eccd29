"""The verdict agent: running totals in, drift events out, and a state that survives whoever holds it.

For each record of ``profiles``::

    decode -> the spec in force -> fold into the version's judge -> send what that decided, wait

and at most every ``save_interval_s``, for what has changed::

    save the judges' states to `verdicts`, wait -> commit the offsets of `profiles`, wait -> report to `model-status`

Each *wait* is for the broker's acknowledgement. In this order a crash loses nothing: what was not committed is read
again, totals that a saved state holds already are ignored by its fences, and a decision that was sent but not saved is
taken again with the same ids.

A group generation owns what is here. After every await it is compared; when the partitions have moved, everything is
dropped unwritten and read back from ``verdicts``. References in the making are not saved: the rows that profiling
agents forwarded are still in ``profiles``, and are read from there again. A state that is damaged falls back to an
older one, or to none, and the totals that are still in ``profiles`` are judged once more.

Here stands who owns what; `agents.judging` takes the records, `agents.upkeep` does what is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from agents.errors import PartitionsLostError
from agents.judging import Judging
from agents.log_reader import LogReader
from agents.runs import Run
from agents.upkeep import Upkeep
from agents.verdict_states import Shard, VerdictStates, open_incidents
from agents.watchdog import Standing

if TYPE_CHECKING:
    from agents.app import DriftlineApp
    from agents.metrics import Metrics
    from agents.registry import Registry

TICK_S: Final = 0.2
"""How often it is looked whether something is due."""
FLUSH_WITHIN_S: Final = 5.0
"""How long leaving a partition may take; what is not saved by then is judged again by the next owner."""
BASELINE: Final = b"/baseline/"
"""In the key of forwarded rows."""

log = structlog.get_logger(__name__)


class Verdicts:
    """The agent on ``profiles``.

    Parameters
    ----------
    app
        The app to live in; ``profiles`` is one of its run topics.
    registry
        Tells which spec is in force.
    metrics
        Where events, steps and tiers are counted.
    """

    def __init__(self, app: DriftlineApp, registry: Registry, metrics: Metrics) -> None:
        self._app = app
        self._registry = registry
        self._metrics = metrics
        self._settings = app.settings
        self._profiles = app.settings.topic("profiles")
        self._states = VerdictStates(app.settings, app.producer, metrics)
        self._judging = Judging(app, registry, metrics, self._check)
        self._upkeep = Upkeep(app, registry, metrics, self._states, self._check)
        self._turn = asyncio.Lock()
        self._shards: dict[TP, Shard] = {}
        self._generation: int | None = None
        self._adopted: int | None = None
        """The generation whose states were read back last, even if they were dropped since."""
        self._dropped: int | None = None
        """The generation of which a run was dropped last."""
        self._leaving = False
        self._ended = False

    def attach(self) -> None:
        """Add the agent, its clock and its handlers to the app."""
        self._app.agent(self._app.input_topic(self._profiles), name="verdicts")(self._take_runs)
        self._app.task(self._tick_for_ever)
        self._app.on_partitions_revoked.connect(self._on_leaving, weak=False)
        self._app.on_before_shutdown.connect(self._on_shutdown, weak=False)

    @property
    def is_ready(self) -> bool:
        """Whether the states of this generation's partitions have been read back, or there are no such partitions."""
        if not any(tp.topic == self._profiles for tp in self._app.consumer.owned()):
            return True
        return self._app.consumer_generation_id == self._adopted == self._generation

    @property
    def inputs(self) -> Collection[str]:
        """Name on the broker of the topic that is judged."""
        return (self._profiles,)

    def standing(self, tp: TP) -> Standing | None:
        """How far the judging of a partition has come, for the watchdog."""
        shard = self._shards.get(tp)
        if shard is None or shard.position is None:
            return None
        return Standing(shard.position, shard.position, self._settings.save_interval_s)

    # ------------------------------------------------------------------------------------------- three callers

    async def _take_runs(self, runs: Any) -> None:
        async for event in runs.events():
            await self.take(event.value, event.message.generation_id)

    async def take(self, run: Run, generation: int) -> None:
        """Judge the totals of a run.

        Raises
        ------
        DeliveryError
            Something was not acknowledged: the worker must end.
        """
        tp = TP(run.topic, run.partition)
        async with self._turn:
            if self._ended:
                return
            try:
                await self._adopt(generation)
                shard = self._shards.get(tp)
                if shard is None and self._app.owns(tp, generation):
                    raise PartitionsLostError  # adopted before it was ours
                fresh = run.since(shard.position or 0) if shard is not None else None
                if shard is not None and fresh is not None:
                    await self._judging.take(shard, fresh)
                    await self._upkeep.attend(shard)
            except PartitionsLostError:
                self._dropped = generation
                self._forget()

    async def _tick_for_ever(self) -> None:
        while not self._app.should_stop:
            await asyncio.sleep(TICK_S)
            await self.tick()

    async def tick(self) -> None:
        """Do what is due: read back, freeze, save, commit, report."""
        if self._ended or self._app.rebalancing or self._turn.locked() or not self._app.consumer.owned():
            return
        async with self._turn:
            try:
                await self._adopt(self._app.consumer_generation_id)
                for shard in self._shards.values():
                    self._upkeep.follow_registry(shard)
                    await self._upkeep.attend(shard)
                await self._upkeep.report()
            except PartitionsLostError:
                self._forget()

    async def _on_leaving(self, *_args: Any, **_kwargs: Any) -> None:
        """Save and commit while that is still possible; without it the next owner only has more to do again."""
        if self._app.crash_reason is not None:
            return
        try:
            self._leaving = True
            async with asyncio.timeout(FLUSH_WITHIN_S), self._turn:
                for shard in self._shards.values():
                    await self._upkeep.save(shard)
                await self._upkeep.report(at_once=True)
        except (PartitionsLostError, TimeoutError):
            log.info("partitions left without a last save, the next owner judges again")
        finally:
            self._leaving = False
            self._forget()

    async def _on_shutdown(self, *_args: Any, **_kwargs: Any) -> None:
        await self._on_leaving()
        self._ended = True

    # --------------------------------------------------------------------------------------------- ownership

    @property
    def progress(self) -> int:
        """Moves as long as totals are taken, also where one run is worked on for long."""
        return self._judging.taken

    def _check(self) -> None:
        """Raise when the work of this generation must not be written any more."""
        current = self._generation == self._app.consumer_generation_id
        if not current or (self._app.rebalancing and not self._leaving):
            raise PartitionsLostError

    def _forget(self) -> None:
        self._shards, self._generation = {}, None
        self._upkeep.board.clear()

    async def _adopt(self, generation: int) -> None:
        """Read back what earlier owners saved of the partitions of this generation, once."""
        if self._generation == generation:
            return
        self._forget()
        self._generation = generation
        await self._registry.ready()
        shards = {tp: Shard(tp, generation) for tp in self._app.consumer.owned() if tp.topic == self._profiles}
        await self._states.restore(shards.values(), self._registry)
        await self._collect_again(shards)
        self._check()
        self._shards = shards
        await self._judge_again()
        if generation in (self._adopted, self._dropped):
            await self._take_again()
        self._adopted = generation
        for shard in shards.values():
            self._upkeep.board.take_over(shard.cases.statuses(shard.cases.versions))

    async def _take_again(self) -> None:
        """Take what this generation had taken and not committed when its work was dropped.

        A rebalance makes the consumer go back by itself. But a commit can be refused without one, and a run of the new
        generation can come before the rebalance is over; then nobody brings these records once more.
        """
        committed = await self._app.consumer.committed(*self._shards)
        starts = {tp.partition: offset or 0 for tp, offset in committed.items()}
        if not starts:
            return
        async with LogReader(self._settings, self._profiles, starts, starts) as reader:
            async for records in reader.read_to_end():
                run = Run(self._profiles, records[0].partition, records)
                await self._judging.take(self._shards[TP(run.topic, run.partition)], run)

    async def _collect_again(self, shards: dict[TP, Shard]) -> None:
        """Take the forwarded rows below the committed offsets once more, where references are in the making."""
        if all(registration.layout is not None for registration in self._registry):
            return
        async for record in self._below(await self._committed(shards)):
            if b'"baseline"' in (record.value or b"")[:64] or BASELINE in (record.key or b""):
                self._judging.collect_again(shards[TP(self._profiles, record.partition)], record)

    async def _judge_again(self) -> None:
        """Rebuild what damaged states held, from the totals that are still there, and say what is lost."""
        shards = [shard for shard in self._shards.values() if shard.damaged]
        if not shards:
            return
        before = await open_incidents(self._settings, {version for shard in shards for version in shard.damaged})
        ends = await self._committed(shard.tp for shard in shards)
        async for record in self._below(ends):
            await self._judging.judge_again(self._shards[TP(self._profiles, record.partition)], record)
        self._check()
        for shard in shards:
            shard.restored_from = max(shard.restored_from, ends.get(shard.tp.partition, 0))
            for version, damage in shard.damaged.items():
                lost = before.get(version, frozenset()) - shard.cases.incidents(version)
                shard.cases.note(version, "state", damage.told(lost))
                log.error("a damaged state was rebuilt", model=version[0], version=version[1],
                          how=damage.told(lost))  # fmt: skip
            shard.damaged.clear()

    async def _committed(self, tps: Iterable[TP]) -> dict[int, int]:
        """Up to where earlier owners have taken these partitions; without those where nobody has."""
        return {tp.partition: end for tp, end in (await self._app.consumer.committed(*tps)).items() if end}

    async def _below(self, ends: Mapping[int, int]) -> AsyncIterator[ConsumerRecord]:
        """Read what is left of the records that were taken and committed by earlier owners."""
        if not ends:
            return
        async with LogReader(self._settings, self._profiles, ends) as reader:
            async for records in reader.read_to_end():
                for record in records:
                    if record.offset < ends[record.partition]:
                        yield record
                await asyncio.sleep(0)
