"""The profiling agents: records of the input topics to running totals on the ``profiles`` topic.

Exactly-once effect without transactions:

1. *Count.* The rows of a run are added to the totals of its partition, and the position moves behind the run, in one
   step without an await (`PartitionLedger.count`).
2. *Publish.* What has changed, and the position, are taken at one moment (`PartitionLedger.snapshot`) and written; the
   broker's acknowledgement is awaited. Dead letters of the records below that position are delivered or dropped, and
   what the join needs of them is forwarded (`agents.joins`) and acknowledged.
3. *Commit.* Then the position is committed. Whatever happens in between, the next owner finds totals that have come at
   least as far as the committed offset, and skips rows below each total's own N.

A partition's books belong to one assignment: they are forgotten when it is revoked and read back when it is assigned
again (`agents.recovery`). Work that was under way meanwhile finds its ledger gone, and is dropped unwritten.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError
from faust.types import TP

from agents import dead_letters, recovery, statelog
from agents.auto_registration import AutoRegistration
from agents.catching_up import CatchUp
from agents.errors import DeliveryError, OperatorError
from agents.failpoints import Place, failpoint, failpoint_or_hang
from agents.formats.decoded import DecodedRun, ModelVersion
from agents.formats.native import RunDecoder
from agents.joins.forwarding import MANY, Forwarder
from agents.joins.joiner import Joiner, pieces
from agents.joins.store import DamagedStoreError
from agents.partition_totals import PartitionLedger, Snapshot
from agents.rescue import judges_copies
from agents.runs import Run
from agents.statelog import Entry, StateLog
from agents.watchdog import Standing
from detector.rows import Source
from schemas.model_spec import OffsetRange
from schemas.outbound import DeadLetterReason
from schemas.topics import TOPICS

if TYPE_CHECKING:
    from agents.app import DriftlineApp
    from agents.dead_letters import DeadLetters
    from agents.metrics import Metrics
    from agents.registry import Registry

TOTALS_PER_SECOND: Final = 2_000
"""With more changed totals than this the publish interval is stretched."""
MOST_NAMED: Final = 1_000
"""Unregistered model versions that get a log line and a metric of their own."""

JOINS: Final = "joins"
"""The topic in which labels find their predictions."""
STREAMS: Final = {source.value: source for source in Source} | {JOINS: Source.OUTCOMES}
"""Topics that are counted, and what rows come of them."""
_PASSED_ON: Final = (DeliveryError, OperatorError, KafkaError, DamagedStoreError)
"""Faults of the broker, not of a record: the worker ends and starts again from what is committed."""

log = structlog.get_logger(__name__)


class Profiler:
    """Counts the rows of all partitions that are assigned to this worker.

    Parameters
    ----------
    app
        The Faust app; its run topics must include the two input topics.
    registry
        Started by the worker; counting waits until it is ready.
    letters
        Started by the worker.
    metrics
        Of the worker.
    """

    def __init__(self, app: DriftlineApp, registry: Registry, letters: DeadLetters, metrics: Metrics) -> None:
        self.app = app
        self.settings = app.settings
        self.registry = registry
        self.letters = letters
        self.metrics = metrics
        self.decoder = RunDecoder(registry.lookup, app.settings, registry.versions)
        self.joiner = Joiner(app.settings, registry, metrics)
        self._sources = {app.settings.topic(name): source for name, source in STREAMS.items()}
        self._automatic = {
            source: AutoRegistration(registry, app.settings, source) for source in (Source.FEATURES, Source.PREDICTIONS)
        }
        self._catch_up = CatchUp(app.settings, registry, self, self._is_current, self._report_gap)
        self._ledgers: dict[TP, PartitionLedger] = {}
        self._loading = asyncio.Lock()
        self._flushing = asyncio.Lock()
        self._named: set[ModelVersion] = set()
        self._totals_changed = 0

    def attach(self) -> None:
        """Add the agents, the publishing task and the handlers of the app's signals; before the app starts."""
        self._profiles = StateLog(
            self.settings.topic("profiles"), TOPICS["profiles"].max_message_bytes, self.app.producer
        )
        self.forwarder = Forwarder(self.joiner.topic, self.app.producer, self.metrics)
        for name in STREAMS:
            self.app.agent(self.app.input_topic(self.settings.topic(name)), name=f"profiling-{name}")(self._agent)
        self.app.task(self._publish_for_ever)
        self.app.task(self.joiner.sweep_for_ever)
        self.app.on_partitions_assigned.connect(self._on_assigned)
        self.app.on_partitions_revoked.connect(self._on_revoked)
        self.app.on_before_shutdown.connect(self._on_shutdown)

    @property
    def ledgers(self) -> tuple[PartitionLedger, ...]:
        """The books of the partitions that this worker has now."""
        return tuple(self._ledgers.values())

    @property
    def inputs(self) -> Collection[str]:
        """Names on the broker of the topics that are counted."""
        return self._sources

    def standing(self, tp: TP) -> Standing | None:
        """How far the counting of a partition has come, for the watchdog."""
        ledger = self._ledgers.get(tp)
        if ledger is None or not ledger.is_loaded:
            return None
        return Standing(ledger.position, ledger.committable, self._interval_s)

    @property
    def _interval_s(self) -> float:
        return max(self.settings.publish_interval_s, self._totals_changed / TOTALS_PER_SECOND)

    def totals(self, model: str | None = None) -> list[dict[str, Any]]:
        """Running totals of this worker's partitions; with their counts where a model is named."""
        return [each for ledger in self.ledgers if ledger.is_loaded for each in ledger.shown(model)]

    # ---------------------------------------------------------------------------------------------- assignment

    async def _on_assigned(self, *args: Any, **_: Any) -> None:
        assigned: set[TP] = args[1]
        self._ledgers = {tp: self._new_ledger(tp) for tp in sorted(assigned) if tp.topic in self._sources}

    async def _on_revoked(self, *args: Any, **_: Any) -> None:
        revoked: set[TP] = args[1]
        try:
            async with asyncio.timeout(self.settings.session_timeout_s / 2):
                await self.flush()
        except TimeoutError:
            log.warning("totals were not published before partitions moved: their rows will be read again")
        self._ledgers = {tp: ledger for tp, ledger in self._ledgers.items() if tp not in revoked}
        self.joiner.close(revoked)

    async def _on_shutdown(self, *_args: Any, **_: Any) -> None:
        try:
            await self.flush()
        finally:
            self._ledgers = {}
            self.joiner.close()

    def _new_ledger(self, tp: TP) -> PartitionLedger:
        generation = self.app.consumer_generation_id
        return PartitionLedger(tp, self._sources[tp.topic], generation, self.settings.publish_every_rows)

    def _is_current(self, ledger: PartitionLedger) -> bool:
        return self._ledgers.get(ledger.tp) is ledger

    async def _load(self) -> None:
        """Take up the partitions that were assigned and not read back yet."""
        async with self._loading:
            new = [ledger for ledger in self.ledgers if not ledger.is_loaded]
            if not new:
                return
            await self.registry.ready()
            consumer, tps = self.app.consumer, {ledger.tp for ledger in new}
            begins, ends, committed = await asyncio.gather(
                consumer.beginning_offsets(*tps), consumer.end_offsets(*tps), consumer.committed(*tps)
            )
            await self.forwarder.follow(await self.app.producer.partitions(self.joiner.topic))
            saved, partitions = await statelog.read_back(
                self.settings, self._profiles.topic, lambda key: recovery.source_of(key) in tps, metrics=self.metrics
            )
            saved += await judges_copies(self.settings, self.registry, saved)
            for ledger in new:
                tp = ledger.tp
                source_log = recovery.Log(begins[tp], ends[tp], committed[tp])
                mine = [record for record in saved if recovery.source_of(record.key) == tp]
                ledger.profile_partitions = partitions
                recovery.restore(ledger, mine, self.registry.lookup, source_log)
                if (lost := source_log.lost(tp)) is not None:
                    self._report_gap(lost)

    # ------------------------------------------------------------------------------------------------ counting

    async def _agent(self, runs: Any) -> None:
        async for event in runs.events():
            run: Run = event.value
            for piece in pieces(run) if run.topic == self.joiner.topic else (run,):
                await self.count(piece, event.message.generation_id)
                await asyncio.sleep(0)  # a full buffer never waits, and others want a turn

    async def count(self, run: Run, generation: int) -> None:
        """Count the rows of a run, unless its partition has moved.

        Raises
        ------
        DeliveryError, OperatorError, KafkaError
            The broker failed; the worker must end.
        """
        ledger = self._ledgers.get(TP(run.topic, run.partition))
        if ledger is None or ledger.generation != generation:
            return
        await self._load()
        async with ledger.turn:
            if not self._is_current(ledger):
                return
            rest = run.since(ledger.position)
            if rest is None:
                await self._look_for_new_topic(ledger, run)
                return
            if run.topic == self.joiner.topic:
                await self.joiner.prepare(ledger.tp, rest.first_offset, lambda: self._is_current(ledger))
                if not self._is_current(ledger):
                    return
            try:
                try:
                    await self._count(ledger, rest)
                except DamagedStoreError:  # nothing of the run was counted; the log fills the store once more
                    await self.joiner.prepare(ledger.tp, rest.first_offset, lambda: self._is_current(ledger))
                    await self._count(ledger, rest)
            except _PASSED_ON:
                raise
            except Exception:
                log.exception(
                    "a run could not be counted: its records are tried one by one",
                    topic=run.topic, partition=run.partition, first_offset=rest.first_offset,
                )  # fmt: skip
                await self._count_one_by_one(ledger, rest)
        if self.forwarder.waiting > MANY:
            await self.forwarder.deliver()
        if ledger.has_cuts:
            await self.flush()

    def decode(self, run: Run, source: Source) -> DecodedRun:
        """Make rows of a run: decode its records, or join them."""
        return self.joiner.decode(run) if run.topic == self.joiner.topic else self.decoder.decode(run, source)

    async def _count(self, ledger: PartitionLedger, run: Run) -> None:
        await failpoint_or_hang(Place.BEFORE_COUNT)
        await self._catch_up.settle(ledger)
        if not self._is_current(ledger):
            return
        decoded = self.decode(run, ledger.source)
        if decoded.unregistered:
            # Whoever registered a model before producing these rows may rely on their being counted.
            before = self.registry.revision
            await self.registry.refresh()
            await self._register_by_itself(decoded, ledger.source)
            if self.registry.revision != before:
                await self._catch_up.settle(ledger)
                decoded = self.decode(run, ledger.source)
        for registration, first_row in ledger.unready(decoded).values():
            await self._catch_up.open(ledger, registration, first_row)
        if self._is_current(ledger):
            self._tally(ledger, run, decoded)

    async def _count_one_by_one(self, ledger: PartitionLedger, run: Run) -> None:
        for record in run.records:
            single = Run(run.topic, run.partition, [record])
            try:
                await self._count(ledger, single)
            except _PASSED_ON:
                raise
            except Exception as error:
                detail = f"a fault of driftline, please report it: {error!r}"
                letter = dead_letters.build(record, DeadLetterReason.PROCESSING_ERROR, detail)
                if self._is_current(ledger):
                    self._tally(ledger, single, DecodedRun(letters=[letter]))

    def _tally(self, ledger: PartitionLedger, run: Run, decoded: DecodedRun) -> None:
        """Count what was decoded."""
        counted = ledger.count(run, decoded)
        self.forwarder.add(decoded.forwards)
        failpoint(Place.COUNTED)
        for letter in decoded.letters:
            self.letters.offer(letter)
        self.metrics.records.labels(topic=run.topic).inc(len(run))
        for (model, version), rows in counted.items():
            self.metrics.rows.labels(model=model, version=version, topic=run.topic).inc(rows)
        for (model, version), features in decoded.invalid.items():
            for feature, values in features.items():
                self.metrics.invalid_values.labels(model=model, version=version, feature=feature).inc(values)
        for name, rows in decoded.unregistered.items():
            self._report_stranger(name, rows)

    def _report_stranger(self, name: ModelVersion, rows: int) -> None:
        if name not in self._named:
            if len(self._named) >= MOST_NAMED:
                return
            self._named.add(name)
            log.warning("rows of a model that nobody registered are only counted", model=name[0], version=name[1])
        self.metrics.unregistered_rows.labels(model=name[0], version=name[1]).inc(rows)

    def _report_gap(self, gap: OffsetRange) -> None:
        log.error(
            "offsets were removed by retention before they could be counted",
            topic=gap.topic, partition=gap.partition, from_offset=gap.from_offset, to_offset=gap.to_offset,
        )  # fmt: skip
        lost = gap.to_offset - gap.from_offset
        self.metrics.uncounted_offsets.labels(topic=gap.topic, partition=str(gap.partition)).inc(lost)

    async def _register_by_itself(self, decoded: DecodedRun, source: Source) -> None:
        if self.settings.auto_register and source in self._automatic:
            automatic = self._automatic[source]
            for name in decoded.unregistered:
                if self.registry.lookup(*name) is None:
                    automatic.keep(name, decoded.examples.get(name, ()))
            await automatic.register()

    async def _look_for_new_topic(self, ledger: PartitionLedger, run: Run) -> None:
        """Begin anew if the topic was made anew under our feet; otherwise the run is a repeat."""
        end = (await self.app.consumer.end_offsets(ledger.tp))[ledger.tp]
        if end >= ledger.position:
            return
        await self.flush()
        if self._is_current(ledger):
            self.joiner.close([ledger.tp])
            self._ledgers[ledger.tp] = self._new_ledger(ledger.tp)
            await self.app.consumer.seek(ledger.tp, run.first_offset)

    # ---------------------------------------------------------------------------------------------- publishing

    async def _publish_for_ever(self) -> None:
        while not self.app.should_stop:
            began = time.monotonic()
            await self._load()
            for ledger in self.ledgers:
                await self._find_gaps(ledger)
                if not ledger.turn.locked() and self._catch_up.is_due(ledger):
                    async with ledger.turn:
                        await self._catch_up.settle(ledger)
            await self.flush()
            await asyncio.sleep(max(0.0, self._interval_s - (time.monotonic() - began)))

    async def _find_gaps(self, ledger: PartitionLedger) -> None:
        """Tell offsets that retention has removed from those that never held a record."""
        gaps, ledger.gaps = ledger.gaps, []
        if not gaps:
            return
        oldest = (await self.app.consumer.beginning_offsets(ledger.tp))[ledger.tp]
        for start, stop in gaps:
            if start < oldest:
                topic, partition = ledger.tp
                gap = OffsetRange(topic=topic, partition=partition, from_offset=start, to_offset=min(stop, oldest))
                self._report_gap(gap)
                ledger.leave_out(gap)

    async def flush(self) -> None:
        """Publish what has changed and commit; one flush at a time.

        Raises
        ------
        DeliveryError
            Totals were not acknowledged in time, or refused: the worker must end.
        """
        async with self._flushing:
            snapshots = [ledger.snapshot() for ledger in self.ledgers if ledger.is_loaded]
            try:
                refused = await self._publish([entry for snapshot in snapshots for entry in snapshot.entries])
                snapshots = [snapshot for snapshot in snapshots if self._is_current(snapshot.ledger)]
                if await self._commit(snapshots):
                    snapshots = [snapshot for snapshot in snapshots if self._is_current(snapshot.ledger)]
                    await self._clean_up(snapshots, refused)
            except BaseException:
                # What was taken from the books may not have been written. A later flush, as at the end of a worker that
                # crashes, would find nothing to write, and commit.
                self._ledgers = {}
                self.forwarder.clear()
                raise

    async def _publish(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Write totals and dead letters, and return the entries that are too large."""
        self._totals_changed = len(entries)
        if not entries:
            await asyncio.gather(self.forwarder.deliver(), self.letters.deliver())
            return ()
        began = time.monotonic()
        await failpoint_or_hang(Place.BEFORE_PUBLISH)
        refused, *_ = await asyncio.gather(
            self._profiles.write(entries), self.forwarder.deliver(), self.letters.deliver()
        )
        failpoint(Place.PUBLISHED)
        self.metrics.publish_seconds.observe(time.monotonic() - began)
        if refused:
            self.metrics.ignored_totals.labels(reason="too_large").inc(len(refused))
        return refused

    async def _commit(self, snapshots: Sequence[Snapshot]) -> bool:
        """Commit the positions; False when the partitions have moved."""
        if self.app.rebalancing:  # no commit is accepted then; the next owner finds the totals
            return False
        moved = [snapshot for snapshot in snapshots if snapshot.commit > snapshot.ledger.committed]
        if not moved:
            return True
        offsets = {snapshot.ledger.tp: snapshot.commit for snapshot in moved}
        await failpoint_or_hang(Place.BEFORE_COMMIT)
        if not await self.app.consumer.commit_offsets(offsets, moved[0].ledger.generation):
            self.metrics.commit_failures.inc()
            log.info("offsets were not committed: their partitions have moved", partitions=len(offsets))
            return False
        failpoint(Place.COMMITTED)
        for snapshot in moved:
            snapshot.ledger.committed = snapshot.commit
        return True

    async def _clean_up(self, snapshots: Sequence[Snapshot], refused: Sequence[Entry]) -> None:
        """Remove records that newer ones, acknowledged by now, have replaced."""
        kept = {(entry.key, entry.partition) for entry in refused}
        old = [
            address
            for snapshot in snapshots
            for addresses in (snapshot.stale, *(of for by, of in snapshot.replaces.items() if by not in kept))
            for address in addresses
        ]
        await self._profiles.write([Entry.tombstone(key, partition) for key, partition in old])
