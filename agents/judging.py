"""What the records of ``profiles`` do: totals are judged, forwarded rows collected, strangers noted.

Each record is taken once, in the order of its partition, and after each the shard's position says so. The events that a
total raises are sent, and acknowledged, before the next record is taken.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka.structs import ConsumerRecord
from pydantic import ValidationError

from agents.failpoints import Place, failpoint, failpoint_or_hang
from agents.producer import Outgoing
from agents.runs import Run
from agents.statelog import StateKey, open_record, report_damage
from agents.status import SOURCE, fitted
from agents.verdict_states import Shard
from detector.state import StateError
from schemas import codec
from schemas.outbound import DriftEvent
from schemas.profiles import PROFILE_EVENT, BaselineRows, ProfileTotal, UnregisteredRows
from schemas.schema_changes import SchemaChange
from schemas.topics import TOPICS

if TYPE_CHECKING:
    from agents.app import DriftlineApp
    from agents.metrics import Metrics
    from agents.registry import Registration, Registry

MOST_UNKNOWN: Final = 1_000
"""So many specs that were looked for in vain are remembered."""
TURN_S: Final = 0.02
"""Other tasks get a turn at least so often while totals are folded in."""

_BASELINE: Final = "baseline"

log = structlog.get_logger(__name__)


class Judging:
    """Takes records of ``profiles`` into the caseload of their shard.

    Parameters
    ----------
    app, registry, metrics
        Of the worker.
    check
        Raises when the partitions are no longer ours; called after every await.
    """

    def __init__(self, app: DriftlineApp, registry: Registry, metrics: Metrics, check: Callable[[], None]) -> None:
        self._app = app
        self._registry = registry
        self._metrics = metrics
        self._check = check
        self._drift_events = app.settings.topic("drift-events")
        self._schema_changes = app.settings.topic("schema-changes")
        self._unknown: dict[tuple[str, str, str], int] = {}
        """Specs that were looked for in vain, with the registry's revision at that time."""
        self.taken = 0
        """Records taken: it moves as long as the work does."""

    async def take(self, shard: Shard, run: Run) -> None:
        """Take records one by one; after each the shard's position says so.

        Raises
        ------
        NewerFormatError
            A newer release has written one of them: the worker must end.
        DeliveryError
            An event was not acknowledged: the worker must end.
        """
        turn_began = time.monotonic()
        for record in run.records:
            event = self._read(shard, record)
            if isinstance(event, UnregisteredRows):
                shard.cases.count_stranger(event)
            elif event is not None and (registration := await self._registration(event)) is not None:
                if isinstance(event, BaselineRows):
                    shard.cases.collect(event, registration)
                else:
                    await self._judge(shard, event, registration)
            self.taken += 1
            shard.position = record.offset + 1
            if time.monotonic() - turn_began > TURN_S:
                await asyncio.sleep(0)
                self._check()
                turn_began = time.monotonic()
        self._check()

    async def judge_again(self, shard: Shard, record: ConsumerRecord) -> None:
        """Fold in a total that a damaged state had folded in; totals that the judge knows change nothing."""
        event = self._read(shard, record)
        if isinstance(event, ProfileTotal) and (event.model, event.version) in shard.damaged:
            registration = self._in_force(event)
            if registration is not None:
                await self._judge(shard, event, registration)

    def collect_again(self, shard: Shard, record: ConsumerRecord) -> None:
        """Take forwarded rows once more, for a reference in the making."""
        event = self._read(shard, record)
        if isinstance(event, BaselineRows) and (registration := self._in_force(event)) is not None:
            shard.cases.collect(event, registration)

    def _read(self, shard: Shard, record: ConsumerRecord) -> ProfileTotal | BaselineRows | UnregisteredRows | None:
        """Decode a record; tombstones say nothing, and what is damaged, or somebody else put there, is reported."""
        if record.value is None:
            return None
        try:
            return PROFILE_EVENT.validate_json(open_record(record))
        except ValidationError as error:
            self._metrics.ignored_totals.labels(reason="unreadable").inc()
            log.warning("a record of the profiles topic cannot be read", partition=record.partition,
                        offset=record.offset, why=error.errors(include_url=False)[0]["msg"])  # fmt: skip
        except StateError as error:
            self._metrics.ignored_totals.labels(reason="damaged").inc()
            report_damage(self._metrics, record, error)
            self._note_damage(shard, record)
        return None

    def _note_damage(self, shard: Shard, record: ConsumerRecord) -> None:
        """Tell by the key whose record it was, and in which way it comes again."""
        try:
            model, version, topic, partition, kind, *rest = StateKey.decode(record.key).base.split("/")
        except ValueError:
            return
        if self._registry.lookup(model, version) is None:
            return
        where = f"record {record.topic}/{record.partition}/{record.offset}"
        if kind == _BASELINE and rest and rest[0].isdecimal() and partition.isdecimal():
            shard.cases.miss((model, version), (topic, int(partition)), int(rest[0]))
            text = (
                f"{where} with rows of its reference is damaged: they are read again when partitions are next assigned"
            )
        else:
            text = (
                f"{where}, a total of {topic}/{partition}, is damaged: the next total of that partition holds its rows"
            )
        shard.cases.note((model, version), f"damaged {topic}/{partition}", text)

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
        shard.cases.note((total.model, total.version), f"damaged {total.topic}/{total.partition}", None)
        await failpoint_or_hang(Place.FOLDED)
        if events:
            await self._app.producer.deliver([self._outgoing(event) for event in events])
            failpoint(Place.EVENTS_SENT)
            self._count(events, total)
            self._check()

    def _outgoing(self, event: DriftEvent | SchemaChange) -> Outgoing:
        headers = codec.headers(event, source=SOURCE)
        if isinstance(event, SchemaChange):
            return Outgoing(self._schema_changes, event.model.encode(), codec.encode(event), headers=headers)
        value = fitted(event, TOPICS["drift-events"].max_message_bytes)
        return Outgoing(self._drift_events, event.model.encode(), value, headers=headers)

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
