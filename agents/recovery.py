"""Taking up a source partition where its last owner left off: totals are read back from the ``profiles`` topic.

What an owner may find of a model version, and what follows:

==================================  ===========================================================================
a total (N, C)                      continued from N; rows below N are skipped
a total beyond the end of the log   the topic was made anew: the next incarnation counts from its beginning
a total of another spec             the version was registered anew: the next incarnation counts from here
forwarded rows and no total         the reference is being collected, or was frozen: then counting begins at its cut
nothing                             counting begins at the first row that comes
==================================  ===========================================================================
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
from agents.partition_totals import Address, PartitionLedger
from agents.registry import Registration
from agents.statelog import Saved, StateKey
from detector.totals import RunningTotal
from schemas.model_spec import OffsetRange
from schemas.profiles import PROFILE_EVENT, BaselineRows, ProfileTotal

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
        if found.totals:
            _resume_total(ledger, name, found, registration, source_log)
        elif found.chunks:
            _resume_baseline(ledger, name, found, registration)
    ledger.is_loaded = True


def _sort(ledger: PartitionLedger, saved: Iterable[Saved]) -> dict[ModelVersion, _Found]:
    """Sort records by model version; counts of strangers, and what cannot be read, may be removed."""
    by_name: dict[ModelVersion, _Found] = defaultdict(_Found)
    for record in saved:
        address = (record.key, record.partition)
        try:
            event = PROFILE_EVENT.validate_json(record.value)
        except ValidationError as error:
            log.error("a saved record cannot be read and is removed", key=record.key.base, why=str(error))
            ledger.stale.append(address)
            continue
        if isinstance(event, ProfileTotal):
            by_name[event.model, event.version].totals.append((event, address))
        elif isinstance(event, BaselineRows):
            by_name[event.model, event.version].chunks.append((event, address))
        else:
            ledger.stale.append(address)
    return by_name


def _resume_total(
    ledger: PartitionLedger, name: ModelVersion, found: _Found, registration: Registration | None, source_log: Log
) -> None:
    found.totals.sort(key=lambda item: (item[0].incarnation, item[0].next_offset, item[0].generation))
    event, ledger.saved[name] = found.totals[-1]
    ledger.stale += [address for _, address in (*found.totals[:-1], *found.chunks)]
    ledger.incarnations[name] = event.incarnation
    if registration is None or registration.layout is None:
        return
    if event.next_offset > source_log.end:
        log.warning("a topic was made anew: counting starts at its beginning", total=event.id, end=source_log.end)
        ledger.incarnations[name] += 1
        ledger.reopen[name] = source_log.begin
        return
    try:
        total = RunningTotal.from_event(event, registration.layout)
    except ValueError as error:
        log.warning("a saved total is not continued, a new one begins", total=event.id, why=str(error))
        ledger.incarnations[name] += 1
        return
    ledger.versions[name] = counting = Counting(total, ledger.generation, ledger.every_rows)
    lost_from = max(event.next_offset, source_log.committed or 0)
    if lost_from < source_log.begin:
        topic, partition = ledger.tp
        counting.leave_out(
            OffsetRange(topic=topic, partition=partition, from_offset=lost_from, to_offset=source_log.begin)
        )


def _resume_baseline(
    ledger: PartitionLedger, name: ModelVersion, found: _Found, registration: Registration | None
) -> None:
    ledger.chunks[name] = [address for _, address in found.chunks]
    if registration is None:
        return
    collecting = Collecting(registration.spec, registration.declared_hash, *ledger.tp)
    for event, _ in sorted(found.chunks, key=lambda item: (item[0].from_offset, item[0].next_offset)):
        if event.spec_hash == registration.declared_hash:
            collecting.resume(event)
    if collecting.first_offset is not None:
        ledger.versions[name] = collecting
