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
agents forwarded are still in ``profiles``, and are read from there again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.structs import ConsumerRecord
from faust.types import TP
from pydantic import ValidationError

from agents.errors import BrokerError, DeliveryError
from agents.failpoints import Place, failpoint
from agents.log_reader import LogReader
from agents.producer import Outgoing
from agents.runs import Run
from agents.status import SOURCE, StatusBoard, fitted
from agents.verdict_states import Shard, VerdictStates
from schemas import codec
from schemas.outbound import DriftEvent
from schemas.profiles import PROFILE_EVENT, BaselineRows, ProfileTotal, UnregisteredRows
from schemas.schema_changes import SchemaChange
from schemas.topics import TOPICS

if TYPE_CHECKING:
    from agents.app import DriftlineApp
    from agents.metrics import Metrics
    from agents.registry import Registration, Registry
    from detector.baseline import BaselineCollector

MOST_UNKNOWN: Final = 1_000
"""So many specs that were looked for in vain are remembered."""
TICK_S: Final = 0.2
"""How often it is looked whether something is due."""
TURN_S: Final = 0.02
"""Other tasks get a turn at least so often while totals are folded in."""
FLUSH_WITHIN_S: Final = 5.0
"""How long leaving a partition may take; what is not saved by then is judged again by the next owner."""

log = structlog.get_logger(__name__)


class PartitionsLostError(Exception):
    """The partitions have moved to another generation: drop the work."""


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
        self._board = StatusBoard(app.settings.topic("model-status"), metrics)
        self._turn = asyncio.Lock()
        self._shards: dict[TP, Shard] = {}
        self._generation: int | None = None
        self._adopted: int | None = None
        """The generation whose states were read back last, even if they were dropped since."""
        self._dropped: int | None = None
        """The generation of which a run was dropped last."""
        self._leaving = False
        self._ended = False
        self._unknown: dict[tuple[str, str, str], int] = {}
        """Specs that were looked for in vain, with the registry's revision at that time."""

    def attach(self) -> None:
        """Add the agent, its clock and its handlers to the app."""
        self._app.agent(self._app.input_topic(self._profiles), name="verdicts")(self._take_runs)
        self._app.task(self._tick_for_ever)
        self._app.on_partitions_revoked.connect(self._on_leaving, weak=False)
        self._app.on_before_shutdown.connect(self._on_shutdown, weak=False)

    @property
    def is_ready(self) -> bool:
        """Whether the states of this generation's partitions have been read back."""
        return self._generation is not None and self._generation == self._app.consumer_generation_id

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
                    await self._take_records(shard, fresh)
                    await self._attend(shard)
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
                    self._follow_registry(shard)
                    await self._attend(shard)
                await self._report()
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
                    await self._save(shard)
                await self._report(at_once=True)
        except (PartitionsLostError, TimeoutError):
            log.info("partitions left without a last save, the next owner judges again")
        finally:
            self._leaving = False
            self._forget()

    async def _on_shutdown(self, *_args: Any, **_kwargs: Any) -> None:
        await self._on_leaving()
        self._ended = True

    # --------------------------------------------------------------------------------------------- ownership

    def _check(self) -> None:
        """Raise when the work of this generation must not be written any more."""
        current = self._generation == self._app.consumer_generation_id
        if not current or (self._app.rebalancing and not self._leaving):
            raise PartitionsLostError

    def _forget(self) -> None:
        self._shards, self._generation = {}, None
        self._board.clear()

    async def _adopt(self, generation: int) -> None:
        """Read back what earlier owners saved of the partitions of this generation, once."""
        if self._generation == generation:
            return
        self._forget()
        self._generation = generation
        await self._registry.ready()
        shards = {tp: Shard(tp) for tp in self._app.consumer.owned() if tp.topic == self._profiles}
        await self._states.restore(shards.values(), self._registry)
        await self._collect_again(shards)
        self._check()
        self._shards = shards
        if generation in (self._adopted, self._dropped):
            await self._take_again()
        self._adopted = generation
        for shard in shards.values():
            self._board.take_over(shard.cases.statuses(shard.cases.versions))

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
                await self._take_records(self._shards[TP(run.topic, run.partition)], run)

    async def _collect_again(self, shards: dict[TP, Shard]) -> None:
        """Take the forwarded rows below the committed offsets once more, where references are in the making."""
        if all(registration.layout is not None for registration in self._registry):
            return
        ends = {tp.partition: end for tp, end in (await self._app.consumer.committed(*shards)).items() if end}
        if not ends:
            return
        async with LogReader(self._settings, self._profiles, ends) as reader:
            async for records in reader.read_to_end():
                for record in records:
                    if record.offset < ends[record.partition] and b'"baseline"' in (record.value or b"")[:64]:
                        self._collect(shards[TP(self._profiles, record.partition)], record)
                await asyncio.sleep(0)

    def _collect(self, shard: Shard, record: ConsumerRecord) -> None:
        event = self._read(record)
        if isinstance(event, BaselineRows) and (registration := self._in_force(event)) is not None:
            shard.cases.collect(event, registration)

    # ----------------------------------------------------------------------------------------- taking records

    async def _take_records(self, shard: Shard, run: Run) -> None:
        """Take records one by one; after each the shard's position says so."""
        turn_began = time.monotonic()
        for record in run.records:
            event = self._read(record)
            if isinstance(event, UnregisteredRows):
                shard.cases.count_stranger(event)
            elif event is not None and (registration := await self._registration(event)) is not None:
                if isinstance(event, BaselineRows):
                    shard.cases.collect(event, registration)
                else:
                    await self._judge(shard, event, registration)
            shard.position = record.offset + 1
            if time.monotonic() - turn_began > TURN_S:
                await asyncio.sleep(0)
                self._check()
                turn_began = time.monotonic()
        self._check()

    def _read(self, record: ConsumerRecord) -> ProfileTotal | BaselineRows | UnregisteredRows | None:
        """Decode a record; tombstones say nothing, and what somebody else put there is reported."""
        if record.value is None:
            return None
        try:
            return PROFILE_EVENT.validate_json(record.value)
        except ValidationError as error:
            self._metrics.ignored_totals.labels(reason="unreadable").inc()
            log.warning("a record of the profiles topic cannot be read", partition=record.partition,
                        offset=record.offset, why=error.errors(include_url=False)[0]["msg"])  # fmt: skip
            return None

    def _in_force(self, event: ProfileTotal | BaselineRows) -> Registration | None:
        """The version's registration, where the event is of the spec in force (or of the one that asked for it)."""
        found = self._registry.lookup(event.model, event.version)
        if found is None:
            return None
        known = {found.spec_hash, found.declared_hash} if isinstance(event, BaselineRows) else {found.spec_hash}
        return found if event.spec_hash in known else None

    async def _registration(self, event: ProfileTotal | BaselineRows) -> Registration | None:
        """The registration of the event's spec; the registry may be a moment behind its topic."""
        if (found := self._in_force(event)) is not None:
            return found
        name = (event.model, event.version, event.spec_hash)
        if self._unknown.get(name) != self._registry.revision:
            await self._registry.refresh()
            self._check()
            if (found := self._in_force(event)) is not None:
                return found
            if len(self._unknown) >= MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown[name] = self._registry.revision
            log.warning("a total is ignored: its spec is not in force", model=event.model, version=event.version,
                        spec=event.spec_hash[:12], offset=event.next_offset)  # fmt: skip
        self._metrics.ignored_totals.labels(reason="no_spec").inc()
        return None

    async def _judge(self, shard: Shard, total: ProfileTotal, registration: Registration) -> None:
        """Fold in a total and send what that decides. One that cannot be folded must not stop all other models."""
        try:
            events = shard.cases.judge(total, registration)
        except Exception as error:
            self._metrics.ignored_totals.labels(reason="failed").inc()
            log.exception("a total cannot be judged", total=total.id)
            why = f"total {total.topic}/{total.partition} up to {total.next_offset} cannot be judged: {error!r}"
            shard.cases.note((total.model, total.version), "failed", why)
            return
        failpoint(Place.FOLDED)
        if events:
            await self._app.producer.deliver([self._outgoing(event) for event in events])
            failpoint(Place.EVENTS_SENT)
            self._count(events, total)
            self._check()

    def _outgoing(self, event: DriftEvent | SchemaChange) -> Outgoing:
        if isinstance(event, DriftEvent):
            topic, value = "drift-events", fitted(event, TOPICS["drift-events"].max_message_bytes)
        else:
            topic, value = "schema-changes", codec.encode(event)
        headers = codec.headers(event, source=SOURCE)
        return Outgoing(self._settings.topic(topic), event.model.encode(), value, headers=headers)

    def _count(self, events: Iterable[DriftEvent | SchemaChange], total: ProfileTotal) -> None:
        for event in events:
            if isinstance(event, SchemaChange):
                self._metrics.schema_changes.labels(event.model, event.version).inc()
                log.warning("the features of events have changed", model=event.model, version=event.version,
                            summary=event.summary)  # fmt: skip
                continue
            self._metrics.drift_events.labels(event.model, event.version, event.change.value, event.tier.value).inc()
            log.info("drift", change=event.change.value, tier=event.tier.value, model=event.model,
                     version=event.version, stage=event.stage.value, incident=event.incident_id,
                     summary=event.summary)  # fmt: skip
            if total.appended_at is not None:
                latency = (datetime.now(UTC) - total.appended_at).total_seconds()
                self._metrics.alert_latency_seconds.observe(max(0.0, latency))

    # -------------------------------------------------------------------------------------------- what is due

    def _follow_registry(self, shard: Shard) -> None:
        """Act on what has changed of the versions that are here: frozen, refused or withdrawn specs."""
        for version in shard.cases.versions:
            registration = self._registry.lookup(*version)
            if registration is not shard.known.get(version):
                shard.known[version] = registration
                shard.cases.follow(registration, version)

    async def _attend(self, shard: Shard) -> None:
        """Freeze references that are complete, save when it is time."""
        for collector in shard.cases.complete():
            await self._freeze(shard, collector)
        if time.monotonic() - shard.saved_at >= self._settings.save_interval_s:
            await self._save(shard)

    async def _freeze(self, shard: Shard, collector: BaselineCollector) -> None:
        """Make a reference of the rows collected and register it; whoever's comes first is the one in force."""
        spec = collector.spec
        version = (spec.model, spec.version)
        try:
            frozen = await asyncio.to_thread(collector.freeze)
            self._check()
            registration = await self._registry.publish(frozen)
        except (PartitionsLostError, DeliveryError, BrokerError):
            raise
        except Exception as error:  # of this model alone: the others are judged all the same
            log.exception("no reference can be made of the stream", model=spec.model, version=spec.version)
            shard.cases.stall(version, f"no reference can be made of the first rows: {error}")
            return
        log.info("the reference is complete, judging begins",
                 model=spec.model, version=spec.version, rows=collector.rows)  # fmt: skip
        self._check()
        shard.cases.follow(registration, version)

    async def _save(self, shard: Shard) -> None:
        """Save what has changed, then commit, then let the board know."""
        began = time.monotonic()
        shard.saved_at = began
        cases, position = shard.cases, shard.position
        self._check()
        if cases.unsaved:
            failpoint(Place.BEFORE_SAVE)
            await self._states.write(shard, self._generation or 0, self._check)
            self._metrics.save_seconds.observe(time.monotonic() - began)
            failpoint(Place.STATE_SAVED)
        self._check()
        if position is not None and position != shard.committed:
            if not await self._app.consumer.commit_offsets({shard.tp: position}, self._generation):
                self._metrics.commit_failures.inc()
                raise PartitionsLostError
            shard.committed = position
            failpoint(Place.VERDICTS_COMMITTED)
        self._board.offer(cases.statuses(cases.unreported))
        cases.unreported.clear()

    async def _report(self, *, at_once: bool = False) -> None:
        if records := self._board.due(time.monotonic(), at_once=at_once):
            self._check()
            await self._app.producer.deliver(records)
