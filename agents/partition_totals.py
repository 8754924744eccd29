"""Everything that a profiling agent keeps of one source partition; without input or output, to be tested alone.

Between two snapshots a ledger is changed by whole runs: rows are counted and the position moves in one step, without
an await. So a snapshot is always a true prefix of the partition, and what it says may be committed once what it
holds is acknowledged.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

from faust.types import TP

from agents.baseline import Collecting
from agents.counting import Counting
from agents.formats.decoded import DecodedRun, ModelVersion
from agents.registry import Registration
from agents.runs import Run
from agents.statelog import Entry, StateKey, partition_for
from detector.rows import Rows, Source
from detector.totals import RunningTotal
from schemas.codec import Event
from schemas.model_spec import OffsetRange
from schemas.profiles import UnregisteredRows

MOST_STRANGERS: Final = 1_000
"""So many unregistered model versions are told apart in one partition; the rest share a count."""
OTHERS: Final[ModelVersion] = ("(others)", "(others)")
UNREGISTERED: Final = "unregistered"
BASELINE: Final = "baseline"

Address = tuple[StateKey, int]
"""Key and partition of a record of the profiles topic."""

_offset = attrgetter("offset")


@dataclass(slots=True)
class Stranger:
    """Rows of a model version that nobody registered, since the worker got the partition."""

    first_offset: int
    next_offset: int = 0
    rows: int = 0
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is to be published of a ledger, and what that allows.

    Attributes
    ----------
    entries
        To be written, in order.
    replaces
        By the address of an entry: records that may be removed once it is acknowledged.
    stale
        Records that may be removed in any case.
    commit
        The offset that may be committed once the entries are acknowledged.
    """

    ledger: PartitionLedger
    entries: list[Entry]
    replaces: dict[Address, list[Address]]
    stale: list[Address]
    commit: int


@dataclass(slots=True, eq=False)
class PartitionLedger:
    """One source partition, as assigned to this worker in one generation.

    Attributes
    ----------
    tp, source, generation
        Which partition, what its records are, and the group's generation in which it was assigned.
    every_rows
        Publish totals every so many rows; None: by the clock.
    profile_partitions
        Of the profiles topic.
    position
        Offset of the next record to be counted; everything below it is counted.
    committed
        The offset that the group has committed, or where the log began.
    versions
        What is done with each model version.
    reopen
        Versions whose total must be opened at an offset that may lie below the position.
    behind
        What goes on at an offset below the position, which is given: it must catch up before it is counted on.
    incarnations
        Of totals to be opened; 0 where a version is missing.
    saved
        Where the last acknowledged total of each version lies.
    chunks
        Where the forwarded rows of each version lie, and records that are damaged: removed once a total takes their
        place.
    settled_at
        Revision of the registry by which totals were opened.
    turn
        Held by whoever counts or catches up.
    """

    tp: TP
    source: Source
    generation: int
    every_rows: int | None = None
    profile_partitions: int = 1
    position: int = 0
    committed: int = 0
    is_loaded: bool = False
    versions: dict[ModelVersion, Counting | Collecting] = field(default_factory=dict)
    reopen: dict[ModelVersion, int] = field(default_factory=dict)
    behind: dict[ModelVersion, tuple[Counting | Collecting, int]] = field(default_factory=dict)
    incarnations: dict[ModelVersion, int] = field(default_factory=dict)
    saved: dict[ModelVersion, Address] = field(default_factory=dict)
    chunks: dict[ModelVersion, list[Address]] = field(default_factory=dict)
    stale: list[Address] = field(default_factory=list)
    strangers: dict[ModelVersion, Stranger] = field(default_factory=dict)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """Offsets that no record came from: transaction markers, or records that retention removed."""
    settled_at: int = -1
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    # ------------------------------------------------------------------------------------------------ counting

    def unready(self, decoded: DecodedRun) -> dict[ModelVersion, tuple[Registration, int]]:
        """Name the versions whose rows cannot be counted before a total is opened, each with its first row's offset."""
        return {
            name_of(registration): (registration, int(rows.offsets[0]))
            for registration, rows in by_version(decoded)
            if registration.layout is not None and not self._counts(registration)
        }

    def _counts(self, registration: Registration) -> bool:
        known = self.versions.get(name_of(registration))
        layout = registration.layout
        return isinstance(known, Counting) and layout is not None and known.total.spec_hash == layout.spec_hash

    def count(self, run: Run, decoded: DecodedRun) -> dict[ModelVersion, int]:
        """Count a run and move on behind it; return how many rows of each registered version were new."""
        counted: dict[ModelVersion, int] = {}
        for registration, rows in by_version(decoded):
            counted[name_of(registration)] = add_rows(self._version(registration), rows, run)
        if run.first_offset > self.position:
            self.gaps.append((self.position, run.first_offset))
        for name, rows_seen in decoded.unregistered.items():
            self._meet(name, rows_seen, run)
        self.position = run.next_offset
        return counted

    def _version(self, registration: Registration) -> Counting | Collecting:
        name = name_of(registration)
        known = self.versions.get(name)
        if registration.layout is not None:
            if known is None or not self._counts(registration):
                raise RuntimeError(f"no total of {name} was opened in {self.tp}")
            return known
        if not isinstance(known, Collecting) or known.spec_hash != registration.declared_hash:
            known = self.versions[name] = Collecting(registration.spec, registration.declared_hash, *self.tp)
        return known

    def _meet(self, name: ModelVersion, rows: int, run: Run) -> None:
        is_nameable = not any(separator in part for part in name for separator in "/@")
        if not is_nameable or (name not in self.strangers and len(self.strangers) >= MOST_STRANGERS):
            name = OTHERS
        stranger = self.strangers.setdefault(name, Stranger(run.first_offset))
        stranger.rows += rows
        stranger.next_offset = run.next_offset
        stranger.changed = True

    def begin(self, registration: Registration, first_row: int | None = None) -> int:
        """Say at which offset the total of a version begins.

        Parameters
        ----------
        registration
            With a frozen reference.
        first_row
            Offset of the first row that was met; None: none was.
        """
        name = name_of(registration)
        if name in self.reopen:
            return self.reopen[name]
        if (end := baseline_end(registration, self.tp)) is not None:
            return end
        known = self.versions.get(name)
        if isinstance(known, Collecting) and known.first_offset is not None:
            return known.first_offset
        return self.position if first_row is None else first_row

    def open(self, registration: Registration, begin: int) -> Counting:
        """Make an empty total; it is not part of the ledger before `adopt`."""
        if registration.layout is None:
            raise ValueError("a total needs a frozen reference")
        known = self.versions.get(name_of(registration))
        if isinstance(known, Counting):  # of another spec: the version was registered anew
            self.incarnations[name_of(registration)] = known.total.incarnation + 1
        incarnation = self.incarnations.get(name_of(registration), 0)
        total = RunningTotal(registration.layout, *self.tp, started_at=begin, incarnation=incarnation)
        return Counting(total, self.generation, self.every_rows, changed=self.every_rows is None)

    def adopt(self, name: ModelVersion, version: Counting | Collecting) -> None:
        """Count a version from now on; it has come to the ledger's position."""
        self.versions[name] = version
        self.reopen.pop(name, None)
        self.behind.pop(name, None)

    def leave_out(self, gap: OffsetRange) -> None:
        """Name offsets that were gone before they could be counted, in all totals."""
        for version in self.versions.values():
            if isinstance(version, Counting):
                version.leave_out(gap)

    def shown(self, model: str | None = None) -> Iterator[dict[str, Any]]:
        """Show the totals of a model with their counts, or of all models without; nothing is changed by that."""
        for (of, _), version in self.versions.items():
            if isinstance(version, Counting) and model in (None, of):
                event = version.total.to_event(self.generation, hand_over=False)
                hidden = {"parts", "sample"} if model is None else {"sample"}
                yield {
                    **event.model_dump(mode="json", exclude=hidden),
                    "position": self.position, "committed": self.committed,
                }  # fmt: skip

    # ---------------------------------------------------------------------------------------------- publishing

    @property
    def has_cuts(self) -> bool:
        """Whether totals wait that were cut at a number of rows."""
        return self.every_rows is not None and any(
            isinstance(version, Counting) and version.changed for version in self.versions.values()
        )

    @property
    def committable(self) -> int:
        """The offset up to which everything is in what was, or would now be, published."""
        offsets = (each.committable(self.position) for each in self.versions.values() if isinstance(each, Counting))
        return min(offsets, default=self.position)

    def snapshot(self) -> Snapshot:
        """Take what has changed, with the offset up to which it is everything."""
        entries: list[Entry] = []
        replaces: dict[Address, list[Address]] = {}
        commit = self.committable
        for name, version in self.versions.items():
            home = partition_for(name[0], self.profile_partitions)
            if isinstance(version, Collecting):
                for chunk in version.take():
                    entries.append(self._entry(chunk, self._base(name, BASELINE, chunk.from_offset), home))
                    self.chunks.setdefault(name, []).append(_address(entries[-1]))
                continue
            totals = version.take()
            entries += [self._entry(total, self._base(name, total.incarnation), home) for total in totals]
            if totals:
                replaces[_address(entries[-1])] = self._replaced(name, _address(entries[-1]))
        entries += self._stranger_entries()
        stale, self.stale = self.stale, []
        return Snapshot(self, entries, replaces, stale, commit)

    def _replaced(self, name: ModelVersion, address: Address) -> list[Address]:
        older = [each for each in self.chunks.pop(name, []) if each != address]
        before = self.saved.get(name)
        if before is not None and before != address:
            older.append(before)
        self.saved[name] = address
        return older

    def _stranger_entries(self) -> Iterator[Entry]:
        for (model, version), stranger in self.strangers.items():
            if stranger.changed:
                stranger.changed = False
                event = UnregisteredRows(
                    model=model, version=version, topic=self.tp.topic, partition=self.tp.partition,
                    rows=stranger.rows, next_offset=stranger.next_offset,
                )  # fmt: skip
                home = partition_for(model, self.profile_partitions)
                yield self._entry(event, self._base((model, version), UNREGISTERED), home)

    def forget_stranger(self, name: ModelVersion) -> None:
        """Drop the count of a version that is registered now."""
        if self.strangers.pop(name, None) is not None:
            key = StateKey(self._base(name, UNREGISTERED), self.generation)
            self.stale.append((key, partition_for(name[0], self.profile_partitions)))

    def _entry(self, event: Event, base: str, partition: int) -> Entry:
        return Entry.of_event(event, base, self.generation, partition)

    def _base(self, name: ModelVersion, *rest: object) -> str:
        return "/".join(map(str, (*name, *self.tp, *rest)))


def add_rows(version: Counting | Collecting, rows: Rows, run: Run) -> int:
    """Count or keep the rows of a version in a run; return how many were new."""
    if isinstance(version, Collecting):
        return version.add(rows, run.next_offset)
    return version.add(rows, run.next_offset, lambda offset: appended_at(run, offset))


def appended_at(run: Run, offset: int) -> float:
    """Timestamp, in seconds since 1970, of the last record of the run below ``offset``."""
    index = bisect_left(run.records, offset, key=_offset) - 1
    return max(run.records[max(index, 0)].timestamp, 0) / 1_000.0


def baseline_end(registration: Registration, tp: TP) -> int | None:
    """Where the rows of a partition end that became the reference; None where none did."""
    frozen = registration.spec.reference.frozen
    for baseline in () if frozen is None else frozen.offsets:
        if (baseline.topic, baseline.partition) == tp:
            return baseline.to_offset
    return None


def name_of(registration: Registration) -> ModelVersion:
    """Model and version of a registration."""
    return registration.spec.model, registration.spec.version


def _address(entry: Entry) -> Address:
    return entry.key, entry.partition


def by_version(decoded: DecodedRun) -> Iterator[tuple[Registration, Rows]]:
    """Yield the rows of each version once.

    Rows of which this stream carries no signal are left out, and labels of versions whose reference is being collected:
    it is made of features and predictions.
    """
    pieces: dict[ModelVersion, list[tuple[Registration, Rows]]] = {}
    for registration, rows in decoded.rows:
        if rows.source is Source.OUTCOMES and registration.layout is None:
            continue
        if len(rows) and any(column is not None for column in rows.columns):
            pieces.setdefault(name_of(registration), []).append((registration, rows))
    for found in pieces.values():
        yield found[0][0], found[0][1] if len(found) == 1 else Rows.concat([rows for _, rows in found])
