"""Files of rows: csv, csv.gz and parquet, read in bounded chunks into the columns of the core.

A row's offset is its index in the file, from 0; values mean what they mean on the wire (``agents.cells``). Rows of
another version, of an unknown stage or without a readable time are left out and counted with their reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from agents.cells import MISSING, read_column, read_stages, read_times
from agents.errors import OperatorError
from agents.formats.columns import status_codes
from detector.constraints import Constraints
from detector.outcomes import outcome_columns
from detector.rows import Column, Rows, Source, carried, signal_types
from detector.segments.values import event_fields, segment_columns
from schemas.model_spec import LABEL, ColumnNames, FeatureType, ModelSpec, Output, Task

LATENCY_COLUMN: Final = "latency_ms"
STATUS_COLUMN: Final = "status"
SERVICE_COLUMNS: Final = (LATENCY_COLUMN, STATUS_COLUMN)
"""Where a file tells how the service answered; these have no names of their own in a spec."""
PARQUET_ROWS: Final = 16_384
CSV_BYTES: Final = 4 * 1_048_576
"""Read at once: bounds the memory, whatever the file's size."""


class FileError(OperatorError):
    """A file cannot be read as rows; the message names it and says what would help."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a file."""

    rows: Rows
    """Those that count, features and prediction together; times are NaN where the file has none."""
    next_row: int
    """Index of the first row behind the chunk."""
    left_out: dict[str, int]
    """Rows left out, by reason."""


class DataFile:
    """A table in a file.

    Raises
    ------
    FileError
        If there is no such file, or it is not csv, csv.gz or parquet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_parquet = path.suffix.lower() in (".parquet", ".pq")
        if not self.is_parquet and not path.name.lower().endswith((".csv", ".csv.gz")):
            raise FileError(f"{path}: the name should end with .csv, .csv.gz or .parquet")
        if not path.is_file():
            raise FileError(f"{path}: there is no such file")
        try:
            self.columns: tuple[str, ...] = tuple(self._schema().names)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise FileError(f"{path}: {_first_line(error)}") from None
        if repeated := {name for name in self.columns if self.columns.count(name) > 1}:
            raise FileError(f"{path}: columns named twice: {', '.join(sorted(repeated))}")

    @property
    def rows(self) -> int | None:
        """How many rows there are, where the file says so (parquet)."""
        return pa.parquet.read_metadata(self.path).num_rows if self.is_parquet else None

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read some columns from top to bottom; those of csv come as text.

        Raises
        ------
        FileError
            If the file is damaged.
        """
        try:
            if self.is_parquet:
                with pa.parquet.ParquetFile(self.path) as file:
                    yield from file.iter_batches(PARQUET_ROWS, columns=list(columns))
            else:
                text = pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(columns, pa.string()),
                    include_columns=list(columns),
                    null_values=list(MISSING),
                    strings_can_be_null=True,
                )
                yield from self._open_csv(text)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise FileError(f"{self.path}: {_first_line(error)}") from None

    def sample(self, rows: int) -> dict[str, list[object]]:
        """Return the first rows, at most so many, as plain values of the types that they seem to have.

        Raises
        ------
        FileError
            If the file is damaged, or has no rows.
        """
        try:
            if self.is_parquet:
                with pa.parquet.ParquetFile(self.path) as file:
                    batch = next(file.iter_batches(rows), None)
            else:
                inferred = pa.csv.ConvertOptions(null_values=list(MISSING), strings_can_be_null=True)
                batch = next(iter(self._open_csv(inferred, 4 * CSV_BYTES)), None)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise FileError(f"{self.path}: {_first_line(error)}") from None
        if batch is None or batch.num_rows == 0:
            raise FileError(f"{self.path}: there are no rows")
        columns: dict[str, list[object]] = batch.slice(0, rows).to_pydict()
        return columns

    def require(self, columns: Sequence[str], what: str) -> None:
        """Raise a FileError that names the columns that are not there, and what they may be called instead."""
        lacking = [name for name in columns if name not in self.columns]
        if lacking:
            near = {name: get_close_matches(name, self.columns, 1) for name in lacking[:5]}
            named = ", ".join(f"{name!r}" + (f" (did you mean {match[0]!r}?)" if match else "")
                              for name, match in near.items())  # fmt: skip
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            raise FileError(f"{self.path} has no {what} {named}{more}; its columns are {_listed(self.columns)}")

    def _schema(self) -> pa.Schema:
        return pa.parquet.read_schema(self.path) if self.is_parquet else self._open_csv().schema

    def _open_csv(
        self, convert: pa.csv.ConvertOptions | None = None, block: int = CSV_BYTES
    ) -> pa.csv.CSVStreamingReader:
        return pa.csv.open_csv(
            self.path,
            read_options=pa.csv.ReadOptions(block_size=block),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=convert,
        )


@dataclass(slots=True)
class RowReader:
    """Reads the rows of one model version from a file.

    Raises
    ------
    FileError
        If the file has not every feature of the spec, or none of what is watched.
    """

    file: DataFile
    spec: ModelSpec
    notes: list[str] = field(default_factory=list)
    """What a person should know of the file."""

    def __post_init__(self) -> None:
        names = self.spec.columns
        self.file.require([feature.name for feature in self.spec.features], "column for the feature")
        renamed = set(ColumnNames.model_fields) - {"label", "label_time", "prediction_id"}
        self.file.require(
            [name for role in renamed if (name := getattr(names, role)) != ColumnNames.model_fields[role].default],
            "column",
        )
        if lacking := [name for name in event_fields(self.spec) if name not in self.file.columns]:
            self.notes.append(f"{self.file.path} has no column {', '.join(map(repr, lacking))}: "
                              "rows are not broken down by it")  # fmt: skip
        if self.spec.outcomes is not None and not self.has_labels:
            self.notes.append(f"{self.file.path} has no column {names.label!r}: performance is not judged")
        if self.answer is not None and not self.has_answer:
            self.notes.append(f"{self.file.path} has no column {self.answer!r}: the prediction is not judged")
            if not self.spec.features:
                self.file.require([self.answer], "column for the prediction")

    @property
    def answer(self) -> str | None:
        """Name of the column in which the watched part of the prediction is."""
        if self.spec.prediction is None:
            return None
        names = self.spec.columns
        return names.score if self.spec.prediction.output is Output.SCORE else names.prediction

    @property
    def has_answer(self) -> bool:
        """Whether the file has that column."""
        return self.answer is not None and self.answer in self.file.columns

    @property
    def has_labels(self) -> bool:
        """Whether outcomes are watched and the file has labels."""
        return self.spec.outcomes is not None and self.spec.columns.label in self.file.columns

    @property
    def timed(self) -> bool:
        """Whether the file has times."""
        return self.spec.columns.time in self.file.columns

    @property
    def fields(self) -> list[str]:
        """Columns by which rows are broken down, features aside, as far as the file has them."""
        return [name for name in event_fields(self.spec) if name in self.file.columns]

    def chunks(self) -> Iterator[Chunk]:
        """Read the file from top to bottom.

        Raises
        ------
        FileError
            If the file is damaged, or has a time column without a single readable time in a chunk.
        """
        names = self.spec.columns
        wanted = [feature.name for feature in self.spec.features]
        if self.has_labels:
            wanted += [name for name in (names.label, names.prediction, names.score) if name in self.file.columns]
        wanted += self.fields
        wanted += [name for name in (self.answer, names.time, names.version, names.stage)
                   if name is not None and name in self.file.columns]  # fmt: skip
        if self.spec.service is not None:
            wanted += [name for name in SERVICE_COLUMNS if name in self.file.columns]
        start = 0
        for batch in self.file.batches(list(dict.fromkeys(wanted))):
            if batch.num_rows:
                yield self._chunk(batch, start)
                start += batch.num_rows

    def _chunk(self, batch: pa.RecordBatch, start: int) -> Chunk:
        names, count = self.spec.columns, batch.num_rows
        left_out: dict[str, int] = {}
        keep = np.ones(count, dtype=bool)

        def leave_out(where: NDArray[np.bool_], reason: str) -> None:
            lost = int((keep & where).sum())
            if lost:
                left_out[reason] = lost
                keep[where] = False

        times, stages = np.full(count, np.nan), np.zeros(count, dtype=np.int8)
        if names.version in batch.schema.names:
            versions = read_column(batch[names.version], FeatureType.CATEGORY)
            leave_out(np.array([version not in (None, self.spec.version) for version in versions]), "another version")
        if names.stage in batch.schema.names:
            stages = read_stages(batch[names.stage])
            leave_out(stages < 0, "unknown stage")
        if self.timed:
            times = read_times(batch[names.time])
            leave_out(~(times >= 0), "no readable time")
            if left_out.get("no readable time") == count:
                shown = batch[names.time][0].as_py()
                raise FileError(f"{self.file.path}: {names.time!r} holds no times: row {start} has {shown!r}")
        watched = len(self.spec.features) + (self.spec.prediction is not None)
        constraints = Constraints(self.spec)
        features = list(constraints.apply([self._column(batch, signal) for signal in range(watched)]))
        if (refused := constraints.refused(features)) is not None:
            leave_out(~refused.keep, "a value that the spec refuses")
        outcomes = self._outcomes(batch)
        fields = {name: read_column(batch[name], FeatureType.CATEGORY) for name in self.fields}
        segments = segment_columns(self.spec, features[: len(self.spec.features)], fields)
        columns = (*features, *outcomes[: len(outcomes) - len(segments)], *segments)
        offsets = np.arange(start, start + count)
        rows = Rows(Source.PREDICTIONS, offsets, times, stages, columns, service=self._service(batch))
        return Chunk(rows if keep.all() else _only(rows, keep), start + count, left_out)

    def _column(self, batch: pa.RecordBatch, signal: int) -> Column | None:
        name = self.spec.features[signal].name if signal < len(self.spec.features) else self.answer
        if name is None or name not in batch.schema.names:
            return None
        return read_column(batch[name], signal_types(self.spec)[signal])

    def _service(self, batch: pa.RecordBatch) -> NDArray[np.float64] | None:
        """How the service answered, (n, 2), where the spec watches that and the file tells it."""
        told = set(SERVICE_COLUMNS) & set(batch.schema.names) - {feature.name for feature in self.spec.features}
        if self.spec.service is None or not told:
            return None
        found = np.full((batch.num_rows, 2), np.nan)
        if LATENCY_COLUMN in told:
            found[:, 0] = read_column(batch[LATENCY_COLUMN], FeatureType.NUMBER)
        if STATUS_COLUMN in told:
            found[:, 1] = status_codes(read_column(batch[STATUS_COLUMN], FeatureType.CATEGORY))
        return found

    def _outcomes(self, batch: pa.RecordBatch) -> list[Column | None]:
        spec, names = self.spec, self.spec.columns
        if spec.outcomes is None or not self.has_labels:
            return [None] * (len(spec.signals) - len(spec.features) - (spec.prediction is not None))

        def read(name: str, kind: FeatureType) -> Column | None:
            return read_column(batch[name], kind) if name in batch.schema.names else None

        kind = FeatureType.NUMBER if spec.task is Task.REGRESSION else FeatureType.CATEGORY
        labels, scores = cast(Column, read(names.label, kind)), read(names.score, FeatureType.NUMBER)
        return outcome_columns(spec, labels, read(names.prediction, kind), cast(NDArray[np.float64] | None, scores))


def by_source(rows: Rows, spec: ModelSpec) -> list[Rows]:
    """Split rows as they would have come on the wire: labels apart, and features where the spec says so.

    Labels know what they belong to: the features and the prediction are the context of their rows.
    """
    split = []
    watched = len(spec.features) + (spec.prediction is not None)
    first = len(spec.signals) - len(spec.segment_signals)
    context = (*rows.columns[:watched], *[None] * (first - watched), *rows.columns[first:])
    for source in Source:
        pairs = zip(rows.columns, carried(spec, source), strict=True)
        columns = tuple(column if is_carried else None for column, is_carried in pairs)
        if any(column is not None for column in columns):
            service = rows.service if source is Source.PREDICTIONS else None
            part = Rows(source, rows.offsets, rows.times, rows.stages, columns, service=service)
            if source is Source.OUTCOMES:
                part = _labelled(replace(part, context=context), spec)
            elif spec.segments is not None and columns[first] is None:
                part = replace(part, context=(*[None] * first, *rows.columns[first:]))
            split.append(part)
    return [part for part in split if len(part)]


def _labelled(rows: Rows, spec: ModelSpec) -> Rows:
    """Rows whose label is known: of the others no outcome would have come."""
    labels = rows.columns[spec.signals.index(LABEL)]
    if isinstance(labels, np.ndarray):
        known = ~np.isnan(labels)
    else:
        known = np.array([label is not None for label in labels or ()], dtype=np.bool_)
    return rows if known.all() else _only(rows, known)


def _only(rows: Rows, keep: NDArray[np.bool_]) -> Rows:
    chosen = np.flatnonzero(keep)
    context = None if rows.context is None else _chosen(rows.context, chosen)
    columns = _chosen(rows.columns, chosen)
    return replace(
        rows,
        offsets=rows.offsets[chosen],
        times=rows.times[chosen],
        stages=rows.stages[chosen],
        columns=columns,
        context=context,
        service=None if rows.service is None else rows.service[chosen],
    )


def _chosen(columns: Sequence[Column | None], chosen: NDArray[np.int64]) -> tuple[Column | None, ...]:
    return tuple(
        column[chosen] if isinstance(column, np.ndarray) else column and [column[i] for i in chosen.tolist()]
        for column in columns
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
