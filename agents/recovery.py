"""Taking up a source partition where its last owner left off: totals are read back from the ``profiles`` topic.

What an owner may find of a model version, and what follows:

==================================  ===========================================================================
a total (N, C)                      continued from N; rows below N are skipped
a total beyond the end of the log   the topic was made anew: the next incarnation counts from its beginning
a total of another spec             the version was registered anew: the next incarnation counts from here
forwarded rows and no total         the reference is being collected, or was frozen: then counting begins at its cut
nothing                             counting begins at the first row that comes
a damaged total                     the furthest sound one, an older record or the judge's copy, is continued from its N
a damaged total and no sound one    the log is counted again from its beginning, or from the reference's cut
damaged forwarded rows              the rows are forwarded again from there
==================================  ===========================================================================

What a damaged record replaced may have to be read below the position: `agents.catching_up` does so. Where retention has
removed records since, their offsets are named as uncounted. A damaged record is removed only when a total has taken its
place, so that a crash in between finds it again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog
from faust.types import TP
from pydantic import ValidationError

from agents.baseline import Collecting
from agents.counting import Counting
from agents.formats.decoded import ModelVersion
from agents.partition_totals import BASELINE, Address, PartitionLedger, baseline_end
from agents.registry import Registration
from agents.statelog import Saved, StateKey
from detector.layout import Layout
from detector.totals import RunningTotal
from schemas.model_spec import OffsetRange
from schemas.profiles import PROFILE_EVENT, BaselineRows, ProfileTotal, UnregisteredRows

Lookup = Callable[[str, str], Registration | None]

_PARTS_BEFORE_KIND: Final = 4  # model, version, topic, partition

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Log:
    """What the broker says of a source partition."""

    begin: int
    """Offset of the oldest record that is still there."""
    end: int
    """Offset that the next record gets."""
    committed: int | None
    """Where the group goes on; None: never committed."""

    @property
    def position(self) -> int:
        """Where fetching begins after an assignment."""
        usable = self.committed is not None and self.begin <= self.committed <= self.end
        return self.committed if usable and self.committed is not None else self.begin

    def lost(self, tp: TP) -> OffsetRange | None:
        """Offsets that retention has removed before they were counted; None: none."""
        if self.committed is None or self.committed >= self.begin:
            return None
        return OffsetRange(topic=tp.topic, partition=tp.partition, from_offset=self.committed, to_offset=self.begin)


def source_of(key: StateKey) -> TP | None:
    """Which source partition a record of the profiles topic is about."""
    parts = key.base.split("/")
    if len(parts) <= _PARTS_BEFORE_KIND or not parts[3].isdecimal():
        return None
    return TP(parts[2], int(parts[3]))


@dataclass(slots=True)
class _Found:
    """All records of one model version and source partition."""

    totals: list[tuple[ProfileTotal, Address]] = field(default_factory=list)
    chunks: list[tuple[BaselineRows, Address]] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    """Incarnations of totals whose newest record cannot be read."""
    damaged_chunks: list[int] = field(default_factory=list)
    """Where forwarded rows begin that cannot be read."""


def restore(ledger: PartitionLedger, saved: Iterable[Saved], lookup: Lookup, source_log: Log) -> None:
    """Take up what was saved of the ledger's partition.

    Parameters
    ----------
    ledger
        New and empty.
    saved
        Records of the profiles topic about this partition.
    lookup
        The registry, read to its end.
    source_log
        Where the partition's log begins and ends.
    """
    ledger.position = ledger.committed = source_log.position
    for name, found in _sort(ledger, saved).items():
        registration = lookup(*name)
        if found.totals or found.damaged:
            _resume_total(ledger, name, found, registration, source_log)
        elif found.chunks or found.damaged_chunks:
            _resume_baseline(ledger, name, found, registration)
    ledger.is_loaded = True


def _sort(ledger: PartitionLedger, saved: Iterable[Saved]) -> dict[ModelVersion, _Found]:
    """Sort records by model version; counts of strangers may be removed."""
    by_name: dict[ModelVersion, _Found] = defaultdict(_Found)
    for record in saved:
        address = (record.key, record.partition)
        damage, event = record.damage, None
        if record.value:
            try:
                event = PROFILE_EVENT.validate_json(record.value)
            except ValidationError as error:
                damage = damage or f"it cannot be read: {error.errors(include_url=False)[0]['msg']}"
        if damage is not None:
            _note_damage(ledger, by_name, record, damage)
        if isinstance(event, ProfileTotal):
            by_name[event.model, event.version].totals.append((event, address))
        elif isinstance(event, BaselineRows) and damage is None:
            by_name[event.model, event.version].chunks.append((event, address))
        elif isinstance(event, UnregisteredRows):
            ledger.stale.append(address)
    return by_name


def _note_damage(ledger: PartitionLedger, by_name: dict[ModelVersion, _Found], record: Saved, damage: str) -> None:
    """Tell by its key what a damaged record held; what counts nothing may be removed."""
    model, version, _, _, kind, *rest = [*record.key.base.split("/"), ""]
    log.error("a saved record is damaged", key=record.key.base, generation=record.key.generation, why=damage)
    if kind.isdecimal():
        by_name[model, version].damaged.append(int(kind))
    elif kind == BASELINE and rest[0].isdecimal():
        by_name[model, version].damaged_chunks.append(int(rest[0]))
    else:
        ledger.stale.append((record.key, record.partition))
        return
    ledger.chunks.setdefault((model, version), []).append((record.key, record.partition))


def _resume_total(
    ledger: PartitionLedger, name: ModelVersion, found: _Found, registration: Registration | None, source_log: Log
) -> None:
    layout = None if registration is None else registration.layout
    lowest = max(found.damaged, default=0)
    candidates = [item for item in found.totals if item[0].incarnation >= lowest]
    candidates.sort(key=lambda item: (item[0].incarnation, item[0].next_offset, item[0].generation))
    ledger.stale += [address for _, address in found.chunks]
    total: RunningTotal | None = None
    while candidates and total is None:
        event, address = candidates.pop()
        if layout is None or event.next_offset > source_log.end or event.spec_hash != layout.spec_hash:
            ledger.stale += _but(found.totals, address)
            _leave_total(ledger, name, (event, address), layout, source_log)
            return
        total = _continued(event, layout)
        if total is None:
            found.damaged.append(event.incarnation)
            ledger.chunks.setdefault(name, []).append(address)
        else:
            ledger.saved[name] = address
            ledger.stale += _but(found.totals, address)
    if total is None:
        ledger.chunks.setdefault(name, []).extend(address for _, address in found.totals)
        _count_again(ledger, name, max(found.damaged), registration, source_log)
        return
    ledger.incarnations[name] = total.incarnation
    counting = Counting(total, ledger.generation, ledger.every_rows)
    if found.damaged:
        log.warning("a damaged total is rebuilt", model=name[0], version=name[1], topic=ledger.tp.topic,
                    partition=ledger.tp.partition, from_offset=total.next_offset)  # fmt: skip
        ledger.behind[name] = (counting, total.next_offset)
        return
    ledger.versions[name] = counting
    lost_from = max(total.next_offset, source_log.committed or 0)
    if lost_from < source_log.begin:
        topic, partition = ledger.tp
        counting.leave_out(
            OffsetRange(topic=topic, partition=partition, from_offset=lost_from, to_offset=source_log.begin)
        )


def _but(totals: Iterable[tuple[ProfileTotal, Address]], kept: Address) -> list[Address]:
    return [address for _, address in totals if address != kept]


def _leave_total(
    ledger: PartitionLedger,
    name: ModelVersion,
    item: tuple[ProfileTotal, Address],
    layout: Layout | None,
    source_log: Log,
) -> None:
    """Note a total that is not continued: nobody judges its version now, or another incarnation follows."""
    event, ledger.saved[name] = item
    ledger.incarnations[name] = event.incarnation
    if layout is None:
        return
    ledger.incarnations[name] += 1
    if event.next_offset > source_log.end:
        log.warning("a topic was made anew: counting starts at its beginning", total=event.id, end=source_log.end)
        ledger.reopen[name] = source_log.begin
    else:
        log.warning("a saved total is of another spec and not continued, a new one begins", total=event.id)


def _continued(event: ProfileTotal, layout: Layout) -> RunningTotal | None:
    try:
        return RunningTotal.from_event(event, layout)
    except ValueError as error:
        log.error("a saved total is damaged", total=event.id, why=str(error))
        return None


def _count_again(
    ledger: PartitionLedger,
    name: ModelVersion,
    incarnation: int,
    registration: Registration | None,
    source_log: Log,
) -> None:
    """Count the log once more. Where its beginning is gone, that is another total: the next incarnation."""
    ledger.incarnations[name] = incarnation
    if registration is None or registration.layout is None:
        return
    begin = baseline_end(registration, ledger.tp) or 0
    ledger.reopen[name] = begin
    if begin < source_log.begin:
        ledger.incarnations[name] += 1
    log.warning("a damaged total is counted again from the log", model=name[0], version=name[1], topic=ledger.tp.topic,
                partition=ledger.tp.partition, from_offset=begin, oldest=source_log.begin)  # fmt: skip


def _resume_baseline(
    ledger: PartitionLedger, name: ModelVersion, found: _Found, registration: Registration | None
) -> None:
    ledger.chunks.setdefault(name, []).extend(address for _, address in found.chunks)
    if registration is None:
        return
    gap = min(found.damaged_chunks, default=None)
    collecting = Collecting(registration.spec, registration.declared_hash, *ledger.tp)
    for event, _ in sorted(found.chunks, key=lambda item: (item[0].from_offset, item[0].next_offset)):
        if event.spec_hash == registration.declared_hash and (gap is None or event.next_offset <= gap):
            collecting.resume(event)
    if gap is not None:
        ledger.behind[name] = (collecting, max(gap, collecting.next_offset))
    elif collecting.first_offset is not None:
        ledger.versions[name] = collecting
