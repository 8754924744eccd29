"""A reference from the first rows of the stream: rows are collected in the order in which they arrive, then frozen.

Profiling agents forward raw rows with their offsets, possibly twice (after a restart) and from several partitions. The
collector takes each record once, stops at the record that fills the reference, and names for each partition where the
baseline ends: behind it the rows are judged. Where features and predictions come in streams of their own, each stream
is filled by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from detector.reference import freeze
from detector.rows import INVALID, STAGES, Column, Rows, Source, signal_types
from detector.rows import carried as carried_by
from detector.segments.values import segments_as_context
from detector.state import pack, unpack
from schemas.codec import decode, encode
from schemas.model_spec import (
    PREDICTION,
    FeaturesFrom,
    FeatureType,
    ModelSpec,
    OffsetRange,
    Stage,
)
from schemas.outbound import ModelState, ModelStatus
from schemas.profiles import BaselineRows

ORIGIN: Final = "stream"
INFINITE: Final = "inf"
"""How an invalid value travels: JSON has no infinities."""


@dataclass(slots=True)
class _Fence:
    """What was taken from one source partition."""

    from_offset: int
    to_offset: int


class BaselineCollector:
    """Collects the reference of one model version.

    Parameters
    ----------
    spec
        A spec without a frozen reference; ``spec.reference.rows`` says how many rows are wanted.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self._spec_hash = spec.hash
        self._rows = dict.fromkeys(_sources(spec), 0)
        self._taken: list[BaselineRows] = []
        self._fences: dict[tuple[str, int], _Fence] = {}

    @property
    def rows(self) -> int:
        """Rows of the stream that has the fewest."""
        return min(self._rows.values())

    @property
    def complete(self) -> bool:
        """Whether there are enough rows."""
        return self.rows >= self.spec.reference.rows

    def add(self, event: BaselineRows) -> bool:
        """Take what is new and still wanted of the forwarded rows; True where anything was taken."""
        source = _source(self.spec, event)
        wanted = self.spec.reference.rows - self._rows.get(source, self.spec.reference.rows)
        if event.spec_hash != self._spec_hash or wanted <= 0:
            return False
        fence = self._fences.get((event.topic, event.partition))
        trimmed = _trim(event, from_offset=fence.to_offset if fence else 0, wanted=wanted)
        if trimmed is None:
            return False
        self._taken.append(trimmed)
        self._rows[source] += len(trimmed.offsets)
        if fence is None:
            self._fences[event.topic, event.partition] = _Fence(trimmed.from_offset, trimmed.next_offset)
        else:
            fence.to_offset = trimmed.next_offset
        return True

    def freeze(self) -> ModelSpec:
        """Make the reference of the rows taken.

        Raises
        ------
        ValueError
            If rows are still wanted, or a feature has no value at all to make bins of.
        """
        if not self.complete:
            raise ValueError(f"the reference has {self.rows} of {self.spec.reference.rows} rows")
        offsets = tuple(
            OffsetRange(topic=topic, partition=partition, from_offset=fence.from_offset, to_offset=fence.to_offset)
            for (topic, partition), fence in sorted(self._fences.items())
        )
        rows = [
            rows_of(self.spec, source, [event for event in self._taken if _source(self.spec, event) is source])
            for source in self._rows
        ]
        return freeze(self.spec, rows, origin=ORIGIN, offsets=offsets, declared=self._spec_hash)

    def status(self) -> ModelStatus:
        """How far the collection has come."""
        times = [event.time for event in self._taken if event.time is not None]
        return ModelStatus(
            model=self.spec.model,
            version=self.spec.version,
            stage=Stage.PRODUCTION,
            state=ModelState.COLLECTING,
            owner=self.spec.owner,
            spec_hash=self._spec_hash,
            rows=self.rows,
            rows_wanted=self.spec.reference.rows,
            time=max(times, default=None),
        )

    def state(self) -> bytes:
        """What must be saved: the rows taken."""
        return pack({"spec_hash": self._spec_hash, "taken": [encode(event) for event in self._taken]})

    @classmethod
    def restore(cls, spec: ModelSpec, data: bytes) -> BaselineCollector:
        """Take up where ``state`` left off; a state of another spec begins afresh."""
        collector = cls(spec)
        state: dict[str, Any] = unpack(data)
        if state.get("spec_hash") == collector._spec_hash:
            for value in state["taken"]:
                collector.add(decode(BaselineRows, value))
        return collector


def _trim(event: BaselineRows, *, from_offset: int, wanted: int) -> BaselineRows | None:
    """Cut off what was taken before and what is no longer wanted, at record boundaries."""
    offsets = np.asarray(event.offsets, dtype=np.int64)
    start = int(np.searchsorted(offsets, from_offset))
    if start >= len(offsets):
        return None
    stop, next_offset = len(offsets), event.next_offset
    if stop - start > wanted:
        next_offset = int(offsets[start + wanted - 1]) + 1
        stop = int(np.searchsorted(offsets, next_offset))
    return event.model_copy(
        update={
            "from_offset": max(event.from_offset, from_offset),
            "next_offset": next_offset,
            "offsets": event.offsets[start:stop],
            "times": event.times[start:stop],
            "columns": {name: values[start:stop] for name, values in event.columns.items()},
        }
    )


def _sources(spec: ModelSpec) -> tuple[Source, ...]:
    """The streams that carry signals of the model."""
    if spec.features_from is FeaturesFrom.PREDICTIONS or not spec.features:
        return (Source.PREDICTIONS,)
    return (Source.FEATURES,) if spec.prediction is None else (Source.FEATURES, Source.PREDICTIONS)


def _source(spec: ModelSpec, event: BaselineRows) -> Source:
    """The stream that rows came from: only one of them carries predictions."""
    sources = _sources(spec)
    if len(sources) == 1:
        return sources[0]
    return Source.PREDICTIONS if PREDICTION in event.columns else Source.FEATURES


def rows_of(spec: ModelSpec, source: Source, events: Sequence[BaselineRows]) -> Rows:
    """Make columns of the forwarded rows of one stream: the inverse of ``columns_of``."""
    columns: list[Column | None] = []
    for signal, kind in zip(spec.signals, signal_types(spec), strict=True):
        carried = all(signal in event.columns for event in events)
        values = [value for event in events for value in event.columns[signal]] if carried else []
        columns.append(_column(values, number=kind is FeatureType.NUMBER) if carried else None)
    rows = sum(len(event.offsets) for event in events)
    made = Rows(
        source=source,
        offsets=np.array([offset for event in events for offset in event.offsets], dtype=np.int64),
        times=np.array([time for event in events for time in event.times], dtype=np.float64),
        stages=np.full(rows, STAGES.index(Stage.PRODUCTION), dtype=np.int8),
        columns=tuple(columns),
    )
    segments = len(spec.segment_signals)
    return made if not segments or carried_by(spec, source)[-1] else segments_as_context(made, segments)


def columns_of(spec: ModelSpec, rows: Rows) -> dict[str, tuple[float | str | None, ...]]:
    """Write rows as the columns of a ``BaselineRows`` event, with the segments that they are in."""
    columns: dict[str, tuple[float | str | None, ...]] = {}
    for index, signal in enumerate(spec.signals):
        column = rows.known(index) if signal in spec.segment_signals else rows.columns[index]
        if column is None:
            continue
        if isinstance(column, np.ndarray):
            columns[signal] = tuple(
                None if math.isnan(value) else INFINITE if math.isinf(value) else value for value in column.tolist()
            )
        else:
            columns[signal] = tuple(column)
    return columns


def _column(values: list[float | str | None], *, number: bool) -> Column:
    if number:
        return np.array([np.nan if v is None else np.inf if v == INFINITE else float(v) for v in values])
    return [INVALID if v == INVALID else None if v is None else str(v) for v in values]
