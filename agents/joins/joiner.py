"""Runs of ``joins`` in, outcome rows out; and the stores of the partitions that this worker has.

What is counted of a run is what its records complete (``matching``); so a run gives the same rows whenever it is read,
and the running totals of the partition do the rest, as for any other source.

On an assignment the store goes on from its own checkpoint. If it is behind the offset that the group has committed, as
it is when another worker had the partition, what is missing is read from the log first, without counting; if it was
lost, that is the whole log.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import numpy as np
import structlog
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from agents.failpoints import Place, failpoint
from agents.formats.decoded import DecodedRun
from agents.joins.labelled import label_columns
from agents.joins.matching import Fate, Match, Part, arrive, decode_entry, encode_entry, encode_part, is_over, unmatched
from agents.joins.records import ID_BYTES, MOST_ITEMS, RecordError, decode_payload, decode_record
from agents.joins.store import DamagedStoreError, JoinStore, shared_cache
from agents.log_reader import LogReader
from agents.runs import Run
from agents.seals import NewerFormatError
from agents.statelog import report_damage
from detector.rows import Column, Rows, Source, signal_types
from detector.segments.values import segment_columns
from detector.state import NewerStateError
from schemas.model_spec import FeatureType, ModelSpec
from schemas.performance import OutcomeSpec

if TYPE_CHECKING:
    from agents.metrics import Metrics
    from agents.registry import Registry
    from agents.settings import Settings

SWEEP_S: Final = 10.0
"""How often a part of the stores is looked through for entries whose time is up."""
SWEEP_ENTRIES: Final = 2_000
"""Looked at in one turn."""
SKEW_MS: Final = 3_600_000
"""By so much the clocks of producers may differ: what is removed is surely over."""
PIECE_BYTES: Final = 262_144
"""Of records joined in one turn of the event loop, or one record."""

_OUTCOMES: Final = OutcomeSpec()

log = structlog.get_logger(__name__)


class Joiner:
    """Joins labels with their predictions, for the partitions of ``joins`` that are assigned to this worker.

    Parameters
    ----------
    settings, registry, metrics
        Of the worker.
    """

    def __init__(self, settings: Settings, registry: Registry, metrics: Metrics) -> None:
        self.topic = settings.topic("joins")
        self._settings = settings
        self._registry = registry
        self._metrics = metrics
        self._cache = shared_cache()
        self._stores: dict[TP, JoinStore] = {}
        self._waits: dict[str, float] = {}
        self._waits_of = -1
        self.taken = 0
        """Records taken in: it moves as long as the join does."""

    # ------------------------------------------------------------------------------------------------- stores

    async def prepare(self, tp: TP, position: int, is_current: Callable[[], bool]) -> None:
        """Open the store of a partition and bring it up to ``position``, without counting.

        Parameters
        ----------
        position
            Records from there on are still to be counted.
        is_current
            Whether the partition still belongs to this worker; if not, nothing more is done.
        """
        store = self._stores.get(tp)
        if store is None:
            group = quote(self._settings.group, safe="")
            path = self._settings.state_folder / group / f"{tp.topic}-{tp.partition}"
            store = self._stores[tp] = JoinStore(path, self._cache)
            await self._check_log(tp, store)
        if is_current() and self._stores.get(tp) is store and store.position < position:
            await self._catch_up(tp, store, position, is_current)

    async def _check_log(self, tp: TP, store: JoinStore) -> None:
        """Give up a store that was filled from another log."""
        if store.position == 0:
            return
        async with LogReader(self._settings, tp.topic, [tp.partition], {tp.partition: store.position - 1}) as reader:
            at = reader.positions[tp.partition]
            if at == store.position - 1:
                async with aclosing(reader.read_to_end()) as batches:
                    first = await anext(batches, None)
                if first and store.is_after(first[0]):
                    return
            elif at >= store.position:  # retention has removed the record by which it could be told
                return
        if self._stores.get(tp) is not store:  # the partition has moved meanwhile
            return
        log.warning("a store of the join is of another log, and is built anew", partition=tp.partition)
        store.clear()

    async def _catch_up(self, tp: TP, store: JoinStore, stop: int, is_current: Callable[[], bool]) -> None:
        start = store.position
        log.info("the join catches up", partition=tp.partition, from_offset=start, to_offset=stop)
        async with (
            LogReader(self._settings, tp.topic, [tp.partition], {tp.partition: start}) as reader,
            aclosing(reader.read_to_end()) as batches,
        ):
            while is_current() and reader.positions[tp.partition] < stop:
                records = await anext(batches, None)
                if records is None:
                    return
                below = [record for record in records if record.offset < stop]
                for run in pieces(Run(tp.topic, tp.partition, below)) if below else ():
                    if self._stores.get(tp) is not store:
                        return
                    self._take_in(store, run)
                    await asyncio.sleep(0)

    def close(self, tps: Iterable[TP] | None = None) -> None:
        """Close the stores of these partitions; None: all."""
        for tp in list(self._stores if tps is None else tps):
            if (store := self._stores.pop(tp, None)) is not None:
                store.close()

    # ------------------------------------------------------------------------------------------------ joining

    def decode(self, run: Run) -> DecodedRun:
        """Join a run of a partition that is prepared up to it.

        Raises
        ------
        DamagedStoreError
            The store was damaged and is empty now: prepare the partition again.
        """
        matches, fates = self._take_in(self._stores[TP(run.topic, run.partition)], run)
        failpoint(Place.STORED)
        for (name, fate), labels in fates.items():
            self._count(name, fate, labels)
        by_name: dict[str, list[Match]] = {}
        for match in matches:
            by_name.setdefault(match.prediction.name, []).append(match)
        decoded = DecodedRun()
        for name, found in by_name.items():
            registration = self._registry.lookup(*name.split("/"))
            if registration is not None and registration.layout is not None and registration.spec.outcomes is not None:
                decoded.rows.append((registration, joined_rows(registration.spec, found)))
        return decoded

    def _take_in(self, store: JoinStore, run: Run) -> tuple[list[Match], Counter[tuple[str, Fate]]]:
        """Take a run into a store.

        Returns
        -------
        tuple
            What its records complete, in the order of the log; and labels by model and version, and their fate.
        """
        parts = [part for record in run.records for part in self._read(record)]
        ids = list(dict.fromkeys(id_ for id_, _ in parts))
        written = dict(zip(ids, store.get(ids), strict=True)) if ids else {}
        entries: dict[bytes, list[Part]] = {}
        changed: set[bytes] = set()
        matches: list[Match] = []
        fates: Counter[tuple[str, Fate]] = Counter()
        for id_, part in parts:
            saved = written[id_] or b""
            entry = entries.get(id_)
            if entry is None:
                entry = decode_entry(saved) if saved else []
            arrival = arrive(entry, part, self._wait)
            entries[id_] = arrival.entry
            if arrival.changed:
                grew = len(arrival.entry) > len(entry)  # by this part, at the end
                written[id_] = saved + encode_part(part) if grew else encode_entry(arrival.entry)
                changed.add(id_)
            if arrival.matches:
                matches += arrival.matches
            if arrival.fate is not None:
                fates[part.name, arrival.fate] += 1
        store.write({id_: written[id_] or b"" for id_ in changed}, run.records[-1])
        self.taken += len(run)
        return matches, fates

    def _read(self, record: ConsumerRecord) -> list[tuple[bytes, Part]]:
        try:
            sections = decode_record(record.value)
        except NewerStateError as error:
            raise NewerFormatError(f"record {record.topic}/{record.partition}/{record.offset}", error) from None
        except RecordError as error:
            report_damage(self._metrics, record, error)
            return []
        first, stamp = record.offset * MOST_ITEMS, max(record.timestamp, 0)
        found: list[tuple[bytes, Part]] = []
        for section in sections:
            name = f"{section.model}/{section.version}"
            is_label, stage, ids = section.is_label, section.stage, section.ids
            times = np.frombuffer(section.times, np.float64).tolist()
            place = first + len(found)
            for index, (time_, payload) in enumerate(zip(times, section.payloads, strict=True)):
                at = index * ID_BYTES
                part = Part(is_label, name, place + index, stamp, time_, stage, payload)
                found.append((ids[at : at + ID_BYTES], part))
        return found

    def _wait(self, name: str) -> float:
        """Milliseconds that a model version's parts wait; of a label without a version the longest of the model's."""
        if self._waits_of != self._registry.revision:
            self._waits, self._waits_of = {}, self._registry.revision
        if name not in self._waits:
            model, version = name.split("/")
            versions = self._registry.versions(model)
            of = [each.spec.outcomes for each in versions if version in ("", each.spec.version)]
            waits = [(outcomes or _OUTCOMES).wait for outcomes in of] or [_OUTCOMES.wait]
            self._waits[name] = max(waits).total_seconds() * 1_000
        return self._waits[name]

    def _count(self, name: str, fate: Fate, labels: int = 1) -> None:
        self._metrics.outcomes.labels(model=name.partition("/")[0], fate=fate.value).inc(labels)

    # ----------------------------------------------------------------------------------------------- sweeping

    async def sweep_for_ever(self) -> None:
        """Remove entries whose time is up, a few at a time."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for tp in list(self._stores):
                with suppress(DamagedStoreError):  # it is empty now; before the next run it is built anew
                    self.sweep(tp)
                await asyncio.sleep(0)

    def sweep(self, tp: TP) -> int:
        """Look at the next entries of a store; return how many were removed.

        The time is that of the last record taken in: by the clock on the wall, a worker that was down for days would
        remove what the records that waited for it still match.
        """
        store = self._stores.get(tp)
        if store is None:
            return 0
        over = []
        for id_, value in store.some(SWEEP_ENTRIES):
            entry = decode_entry(value)
            if is_over(entry, store.seen_ms - SKEW_MS, self._wait):
                over.append(id_)
                for label in unmatched(entry):
                    self._count(label.name, Fate.UNMATCHED)
        if over:
            store.remove(over)
        return len(over)


def pieces(run: Run) -> Iterable[Run]:
    """Cut a run into such as are joined in one turn."""
    start = size = 0
    for index, record in enumerate(run.records):
        size += len(record.value or b"")
        if size >= PIECE_BYTES:
            yield Run(run.topic, run.partition, run.records[start : index + 1])
            start, size = index + 1, 0
    if start < len(run.records):
        yield Run(run.topic, run.partition, run.records[start:])


def joined_rows(spec: ModelSpec, matches: Sequence[Match]) -> Rows:
    """Make outcome rows of matches of one model version; there is at least one.

    A row has the time and the stage of its prediction, as in a file that holds both, and the offset of the record that
    completed it. Its context is the prediction, the features where they have waited too, and its segments.
    """
    predictions = [decode_payload(match.prediction.payload) for match in matches]
    fields = _taken_fields(spec, predictions)
    labels = [decode_payload(match.label.payload) for match in matches]
    types = signal_types(spec)
    count = len(spec.features)
    watched = None if spec.prediction is None else _restored(types[count], [each[0] for each in predictions])
    outcomes = label_columns(spec, labels, watched, [each[1] for each in predictions])
    columns: list[Any] = [None] * (len(spec.signals) - len(outcomes))
    context: list[Any] = [None] * len(spec.signals)
    if watched is not None:
        context[count] = watched
    if count and all(len(each) == count + 2 for each in predictions):
        values = zip(*(each[2:] for each in predictions), strict=True)
        context[:count] = [_restored(kind, column) for kind, column in zip(types, values, strict=False)]
    if spec.segments is not None:
        context[-len(spec.segment_signals) :] = segment_columns(spec, (), fields)
    times = np.array([match.prediction.time for match in matches])
    return Rows(
        Source.OUTCOMES,
        offsets=np.array([max(each.prediction.place, each.label.place) // MOST_ITEMS for each in matches], np.int64),
        times=times,
        stages=np.array([match.prediction.stage for match in matches], dtype=np.int8),
        columns=tuple(chain(columns, outcomes)),
        context=tuple(context) if any(each is not None for each in context) else None,
        lags=np.array([match.label.time for match in matches]) - times,
        joined=True,
    )


def _taken_fields(spec: ModelSpec, predictions: Sequence[list[Any]]) -> dict[str, Column]:
    """Take the values of the fields, by which rows are broken down, off the ends of the payloads."""
    if spec.segments is None:
        return {}
    nothing: list[None] = [None] * len(spec.segments.fields)
    values = [each.pop() if isinstance(each[-1], list) else nothing for each in predictions]
    columns = map(list, zip(*values, strict=True))
    return dict(zip(spec.segments.fields, columns, strict=True))


def _restored(kind: FeatureType, values: Sequence[Any]) -> Column:
    """Make a column again of the values that were forwarded of one; None is missing."""
    if kind is FeatureType.NUMBER:
        return np.array(values, dtype=np.float64)
    return list(values)
