"""Sorts the records of a run into groups of events that can be made rows together.

Each record is decoded by the decoder of the model version that the last one belonged to: one C call for each record,
made by ``map``, so that no Python code runs between two good ones. (Joining a run into one JSON array is no faster,
and would let a record that is no JSON by itself borrow brackets from its neighbours.) A record that does not fit is
looked at alone: it belongs to another model, it has many rows instead of one, its values have other types, or it is
refused.

What is counted depends on the record and the spec alone, never on its neighbours: every record is first tried with the
typed decoder of its own model version, and read leniently only if that fails.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from agents import dead_letters
from agents.formats import lenient
from agents.formats.assemble import Reader
from agents.formats.batches import Batches
from agents.formats.columns import count_invalid, taken
from agents.formats.decoded import DecodedRun, ModelVersion
from agents.formats.groups import Envelopes, Group, Kind, Refusal
from agents.formats.lenient import RefusedError
from agents.formats.singles import Singles
from agents.formats.strangers import MOST_ROWS, example_rows
from agents.formats.structs import SpecDecoder
from agents.formats.whole import shape_of
from detector.rows import Rows, Source
from detector.schema.shapes import Shape, sampled
from schemas.outbound import DeadLetterReason

if TYPE_CHECKING:
    from agents.registry import Registration
    from agents.runs import Run

Find = Callable[[ModelVersion, Source], "tuple[Registration, SpecDecoder] | None"]
"""What is in force for a model version, and what decodes its events; None if nobody registered it."""

FEW: Final = 4
MANY: Final = 64
"""Where fewer than FEW records in a row are alike, the next MANY are sorted alone: a vain try costs as much as two."""
MOST_NAMED: Final = 20
"""Rows of one event that a dead letter names."""

_UNDECODABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec raises."""


class _Envelope(msgspec.Struct, gc=False):
    """What says whose event it is."""

    model: str
    version: str
    rows: Any = None
    specversion: Any = None


_open: Final = msgspec.json.Decoder(_Envelope).decode


class Sorting:
    """Sorts the records of one run.

    Parameters
    ----------
    find
        The registry, with a decoder for each model version.
    run, source
        The records, and which stream their topic is.
    max_record_bytes
        Larger records are not read.
    """

    def __init__(self, find: Find, run: Run, source: Source, max_record_bytes: int) -> None:
        self._find = find
        self._source = source
        self._run = run
        self._records = run.records
        self._values = [record.value or b"" for record in run.records]
        self._envelopes = Envelopes(run.records)
        self._groups: dict[tuple[ModelVersion, Kind], Group] = {}
        self._registrations: dict[ModelVersion, Registration] = {}
        self._refused: dict[int, Refusal] = {}
        self._result = DecodedRun()
        self._leave_out_larger_than(max_record_bytes)

    def _leave_out_larger_than(self, limit: int) -> None:
        if max(map(len, self._values)) <= limit:
            return
        for position, value in enumerate(self._values):
            if len(value) > limit:
                detail = f"the value has {len(value):,} bytes; DRIFTLINE_MAX_RECORD_BYTES allows {limit:,}"
                self._refused[position] = (DeadLetterReason.TOO_LARGE, detail)
                self._values[position] = b""

    def sort(self, last: tuple[ModelVersion, Kind] | None) -> tuple[ModelVersion, Kind] | None:
        """Decode all records, supposing that each is like the one before.

        Parameters
        ----------
        last
            What the last record of the run before was.

        Returns
        -------
        tuple
            What the last record was that a typed decoder took.
        """
        remaining, position, alone = iter(self._values), 0, 0
        while position < len(self._values):
            group = None if last is None or alone > 0 else self._group(*last, self._values[position])
            if group is None:
                next(remaining)
                alone -= 1
            else:
                before = len(group.events)
                with suppress(*_UNDECODABLE):  # what came before the culprit is in the list, and `remaining` is past it
                    group.events.extend(map(group.decode, remaining))
                taken = len(group.events) - before
                group.records.extend(range(position, position + taken))
                position += taken
                alone = 0 if taken >= FEW else MANY
            if position < len(self._values):
                last = self._sort_alone(position) or last
                position += 1
        return last

    def _group(self, name: ModelVersion, kind: Kind, value: bytes) -> Group | None:
        """Return the group of a model version, to which ``value`` may belong; None if nobody registered it."""
        group = self._groups.get((name, kind))
        if group is None and (found := self._find(name, self._source)) is not None:
            registration, decoder = found
            if name not in self._registrations:  # later there are events that were decoded in the order of now
                self._registrations[name] = registration
                decoder.look_at(value)
            group = self._groups[name, kind] = Group(decoder, kind)
        return group

    def _sort_alone(self, position: int) -> tuple[ModelVersion, Kind] | None:
        """Sort one record; return its model version and kind if a typed decoder takes it."""
        value = self._values[position]
        try:
            if not value:
                raise RefusedError(DeadLetterReason.EMPTY, "the record has no value")
            if (envelope := _opened(value)) is not None:
                name, kind = (envelope.model, envelope.version), Kind.ROW if envelope.rows is None else Kind.BATCH
                group = self._group(name, kind, value)
                if group is None:
                    self._count_stranger(msgspec.structs.asdict(envelope), value)
                    return None
                if _sort_typed(group, position, value):
                    return name, kind
            self._sort_leniently(position, value)
        except RefusedError as refusal:
            self._refused.setdefault(position, (refusal.reason, refusal.detail))
        return None

    def _sort_leniently(self, position: int, value: bytes) -> None:
        parsed, time = lenient.unwrap(lenient.parse(value))
        model, version, _ = lenient.identity(parsed)
        kind = Kind.LENIENT_ROW if parsed.get("rows") is None else Kind.LENIENT_BATCH
        group = self._group((model, version), kind, value)
        if group is None:
            self._count_stranger(parsed, value)
            return
        group.events.append(lenient.read(parsed, self._source))
        group.records.append(position)
        if time is not None:
            self._envelopes.times[position] = time

    def _count_stranger(self, parsed: dict[str, Any], value: bytes) -> None:
        model, version, rows = lenient.identity(parsed)
        name = (model, version)
        self._result.unregistered[name] = self._result.unregistered.get(name, 0) + min(rows, len(value))
        examples = self._result.examples.setdefault(name, [])
        if len(examples) < MOST_ROWS:
            examples.extend(example_rows(value)[: MOST_ROWS - len(examples)])

    # ----------------------------------------------------------------------------------------------- finishing

    def finish(self) -> DecodedRun:
        """Make rows of the groups, and dead letters of what was refused."""
        pieces: defaultdict[ModelVersion, list[Rows]] = defaultdict(list)
        for (name, _), group in self._groups.items():
            reader, refused = _assemble(group, self._envelopes)
            self._refused |= refused
            if reader is not None:
                rows = reader.rows()
                rows = replace(rows, shapes=self._shapes(reader.group, rows))
                self._refused |= _left_out(reader)
                if not len(rows):
                    continue
                pieces[name].append(rows)
                self._count_invalid(name, group, rows)
                if (forward := reader.forward(rows)) is not None:
                    self._result.forwards.append(forward)
        self._result.rows = [(self._registrations[name], _in_order(of_name)) for name, of_name in pieces.items()]
        self._result.letters = [
            dead_letters.build(self._records[position], reason, detail)
            for position, (reason, detail) in sorted(self._refused.items())
        ]
        return self._result

    def _shapes(self, group: Group, rows: Rows) -> tuple[Shape, ...]:
        """Look in full at some of the records that the rows came from."""
        if not group.decoder.watches_shapes:
            return ()
        offsets = self._envelopes.offsets[group.records]
        drawn = np.flatnonzero(sampled(self._run.topic, self._run.partition, offsets))
        counted = drawn[np.isin(offsets[drawn], rows.offsets)].tolist()
        shapes = (shape_of(self._values[group.records[i]], int(offsets[i])) for i in counted)
        return tuple(shape for shape in shapes if shape is not None)

    def _count_invalid(self, name: ModelVersion, group: Group, rows: Rows) -> None:
        if not group.may_be_invalid:
            return
        spec = group.decoder.spec
        signals = [*(feature.name for feature in spec.features), *spec.signals[len(spec.features) :]]
        for signal, column in zip(signals, rows.columns, strict=True):
            if column is not None and (count := count_invalid(column)):
                counts = self._result.invalid.setdefault(name, {})
                counts[signal] = counts.get(signal, 0) + count


def _opened(value: bytes) -> _Envelope | None:
    """Read whose event it is; None if that needs a closer look."""
    try:
        envelope = _open(value)
    except _UNDECODABLE:
        return None
    return envelope if envelope.specversion is None else None


def _sort_typed(group: Group, position: int, value: bytes) -> bool:
    try:
        event = group.decode(value)
    except _UNDECODABLE:
        return False
    group.events.append(event)
    group.records.append(position)
    return True


def _assemble(group: Group, envelopes: Envelopes) -> tuple[Reader | None, dict[int, Refusal]]:
    """Read the events of a group; say why some were left out, by position of their record in the run."""
    refused: dict[int, Refusal] = {}
    while group.events:
        reader: Reader = (Batches if group.kind.is_batch else Singles)(group, envelopes)
        problems = reader.problems()
        if not problems:
            return reader, refused
        refused |= {group.records[position]: problem for position, problem in problems.items()}
        group = group.without(problems)
    return None, refused


def _left_out(reader: Reader) -> dict[int, Refusal]:
    """Say of each record whose rows, or some of them, the spec refuses which these are, and why the first one is."""
    rows: defaultdict[int, list[int]] = defaultdict(list)
    first = np.searchsorted(reader.event_of_row, np.arange(len(reader.events)))
    for row in sorted(reader.left_out):
        rows[int(reader.event_of_row[row])].append(row)
    refused: dict[int, Refusal] = {}
    for event, found in rows.items():
        detail = reader.left_out[found[0]]
        if reader.group.kind.is_batch:
            numbers = [row - int(first[event]) for row in found]
            shown = ", ".join(map(str, numbers[:MOST_NAMED])) + (" and more" if len(numbers) > MOST_NAMED else "")
            detail = f"{len(found)} of its {reader.events[event].rows} rows were left out ({shown}): {detail}"
        refused[reader.group.records[event]] = (DeadLetterReason.INVALID_VALUE, detail)
    return refused


def _in_order(pieces: list[Rows]) -> Rows:
    """Join the rows that groups of different kinds made, in the order of the log."""
    rows = Rows.concat(pieces)
    if len(pieces) == 1:
        return rows
    return taken(rows, np.argsort(rows.offsets, kind="stable"))
