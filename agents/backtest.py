"""The worker's path over a file, without Kafka: rows, running totals, judge.

A file stands for one source partition whose totals are published every K rows. From decoded rows on, everything is what
the worker runs, so the same rows cut at the same places give the same events. Each event carries ``row``, the index
of the last data row that had been read when it was raised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from agents.errors import OperatorError
from agents.files import Chunk, RowReader, by_source
from detector.judge import ModelJudge
from detector.layout import Layout
from detector.reference import freeze
from detector.rows import Rows, Source, carried
from detector.segments.values import event_fields
from detector.totals import RunningTotal
from schemas.model_spec import ModelSpec, Seasonality
from schemas.outbound import DriftEvent, ModelStatus
from schemas.rules import Origin, RuleSpec


@dataclass(frozen=True, slots=True)
class ReferenceCut:
    """Which rows at the head of the data are the reference; neither: the spec's own reference is used."""

    rows: int | None = None
    """So many."""
    until: datetime | None = None
    """All before the first row of this time or later."""

    @property
    def is_given(self) -> bool:
        """Whether the data itself holds the reference."""
        return self.rows is not None or self.until is not None

    def position(self, rows: Rows, taken: int) -> int | None:
        """Where the reference ends in these rows, of which ``taken`` came before; None if it goes on behind them."""
        end: int | None = None
        if self.rows is not None and taken + len(rows) >= self.rows:
            end = self.rows - taken
        if self.until is not None:
            late = np.flatnonzero(rows.times >= self.until.timestamp())
            if len(late):
                end = min(int(late[0]), len(rows) if end is None else end)
        return end


@dataclass(slots=True)
class Backtest:
    """Judges the rows of one model version as they are fed.

    Parameters
    ----------
    spec
        With a frozen reference.
    topics
        What the source partitions are called in events.
    every_rows
        K: after so many rows, totals are folded in.
    first_row
        Index of the first row that is judged.
    """

    spec: ModelSpec
    topics: Mapping[Source, str]
    every_rows: int
    first_row: int = 0
    looked: Callable[[Backtest], None] = lambda _backtest: None
    """Told after each fold, before its events."""
    rows: int = 0
    """Rows judged."""
    time: float | None = None
    """The latest event time folded in, seconds since 1970; None where the file has none."""
    _judge: ModelJudge = field(init=False)
    _totals: dict[Source, RunningTotal] = field(init=False)
    _waiting: int = field(init=False, default=0)
    _is_timed: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        layout = Layout(self.spec)
        self._judge = ModelJudge(self.spec)
        self._totals = {
            source: RunningTotal(layout, topic, 0, started_at=self.first_row) for source, topic in self.topics.items()
        }

    def feed(self, rows: Rows) -> Iterator[DriftEvent]:
        """Count rows, fold totals in wherever K are full, and hand on what that decides."""
        self._is_timed = self._is_timed and not np.isnan(rows.times).any()
        if not self._is_timed:
            rows = replace(rows, times=np.zeros(len(rows)))
        start = 0
        while start < len(rows):
            stop = min(start + self.every_rows - self._waiting, len(rows))
            self._count(rows.slice(start, stop))
            start = stop
            if self._waiting == self.every_rows:
                yield from self.fold()

    def fold(self) -> Iterator[DriftEvent]:
        """Fold in what has been counted since the last time."""
        self._waiting = 0
        decided: list[DriftEvent] = []
        for total in self._totals.values():
            event = total.to_event()
            if not self._is_timed:
                event = event.model_copy(update={"time": None})
            elif event.time is not None:
                self.time = max(event.time.timestamp(), self.time or -math.inf)
            row = total.next_offset - 1
            decided += [each.model_copy(update={"row": row}) for each in self._judge.fold(event)]
        self.looked(self)
        yield from decided

    def status(self) -> list[ModelStatus]:
        """Where the version stands, by stage."""
        return self._judge.status()

    def _count(self, rows: Rows) -> None:
        next_offset = int(rows.offsets[-1]) + 1
        for part in by_source(rows, self.spec):
            self._totals[part.source].add(part, next_offset)
        self._waiting += len(rows)
        self.rows += len(rows)


@dataclass(slots=True)
class FileBacktest:
    """A backtest over a file, with the reference from the spec or from the head of the file.

    Raises
    ------
    OperatorError
        If there is neither a frozen reference nor one in the data, or the data has no times where they are needed.
    """

    reader: RowReader
    cut: ReferenceCut
    every_rows: int
    progress: Callable[[int], None] = lambda _next_row: None
    """Told the index of the next row, again and again."""
    looked: Callable[[Backtest], None] = lambda _backtest: None
    """Told whenever rows were folded in."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Rows left out, by reason."""
    read: int = 0
    """Rows read, those of the reference and those left out too."""
    backtest: Backtest | None = None
    _origins: dict[RuleSpec, frozenset[Origin]] = field(init=False)

    def __post_init__(self) -> None:
        spec, path = self.reader.spec, self.reader.file.path
        self._origins = {each.rule: each.origins for each in spec.checked_rules}
        if not self.cut.is_given and spec.reference.frozen is None:
            self.cut = ReferenceCut(rows=spec.reference.rows)
            self.reader.notes.append(f"the spec has no reference yet: the first {spec.reference.rows} rows are taken")
        if self.cut.is_given and not self.reader.has_answer:
            self.reader.spec = spec = spec.model_copy(update={"prediction": None})
        if self.cut.is_given and spec.outcomes is not None and not self.reader.has_labels:
            self.reader.spec = spec.model_copy(update={"outcomes": None})
        if self.cut.is_given and len(self.reader.fields) < len(event_fields(spec)):
            self.reader.spec = self.reader.spec.model_copy(update={"segments": None})
        self._leave_out_rules()
        if not self.reader.timed:
            if self.cut.until is not None:
                raise OperatorError(f"{path} has no time column {spec.columns.time!r}: use --reference-rows")
            if spec.seasonality is not Seasonality.NONE:
                raise OperatorError(
                    f"{path} has no time column {spec.columns.time!r}, and {spec.seasonality} seasonality needs one: "
                    "name it under `columns: time:` in the spec"
                )

    def _leave_out_rules(self) -> None:
        """Ask no rule of a file that has not what it reads."""
        spec, path = self.reader.spec, self.reader.file.path
        lacking = {Origin.TIME} if not self.reader.timed else set()
        lacking |= {Origin.PREDICTION} if not self.reader.has_answer else set()
        lacking |= {Origin.LABEL} if not self.reader.has_labels else set()
        kept = []
        for rule, origins in self._origins.items():
            if lost := sorted(lacking & origins):
                self.reader.notes.append(f"{path} has not {' and '.join(lost)}: rule {rule.name} is not asked")
            else:
                kept.append(rule)
        if len(kept) < len(spec.rules):
            self.reader.spec = spec.model_copy(update={"rules": tuple(kept)})

    @property
    def judged(self) -> Backtest:
        """What was judged, once the reference is there."""
        if self.backtest is None:
            raise RuntimeError("events() comes first")
        return self.backtest

    def events(self) -> Iterator[DriftEvent]:
        """Run over the file.

        Raises
        ------
        OperatorError
            If the file is damaged, or it ends before the reference does.
        """
        baseline: list[Rows] = []
        if not self.cut.is_given:
            self.backtest = self._begin(self.reader.spec, 0)
        for chunk in self._chunks():
            rows = chunk.rows
            if self.backtest is None:
                end = self.cut.position(rows, sum(map(len, baseline)))
                baseline.append(rows if end is None else rows.slice(0, end))
                if end is None:
                    continue
                rows = rows.slice(end, len(rows))
                self.backtest = self._begin(self._freeze(baseline), self._behind(baseline))
                baseline = []
            yield from self.backtest.feed(rows)
        if self.backtest is None:
            raise OperatorError(f"{self.reader.file.path} ends before its reference does: {self.read} rows were read")
        yield from self.backtest.fold()

    def _chunks(self) -> Iterator[Chunk]:
        for chunk in self.reader.chunks():
            self.read = chunk.next_row
            for reason, rows in chunk.left_out.items():
                self.left_out[reason] = self.left_out.get(reason, 0) + rows
            self.progress(chunk.next_row)
            if len(chunk.rows):
                yield chunk

    def _freeze(self, baseline: list[Rows]) -> ModelSpec:
        spec = self.reader.spec
        if not any(map(len, baseline)):
            raise OperatorError("the reference would have no rows: move --reference-until behind the first of the data")
        return freeze(
            spec,
            by_source(Rows.concat(baseline), spec),
            origin=f"{self.reader.file.path.name}, the rows before the judged",
        )

    @staticmethod
    def _behind(baseline: list[Rows]) -> int:
        return int(next(rows for rows in reversed(baseline) if len(rows)).offsets[-1]) + 1

    def _begin(self, spec: ModelSpec, first_row: int) -> Backtest:
        sources = [source for source in Source if any(carried(spec, source))]
        name = self.reader.file.path.name
        topics = {source: name if len(sources) == 1 else f"{name} ({source})" for source in sources}
        return Backtest(spec, topics, self.every_rows, first_row, self.looked)
