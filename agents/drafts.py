"""A first spec of a model from the file that it was trained on: guess what is in it, then measure the reference."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from pydantic import ValidationError

from agents.errors import OperatorError
from agents.files import DataFile, RowReader, by_source
from detector.calibration import score_threshold
from detector.inference import infer_spec
from detector.layout import Layout
from detector.reference import freeze
from detector.rows import Column, Rows
from schemas.model_spec import ColumnNames, FrozenReference, ModelSpec, Task
from schemas.segments import PAIR

SAMPLE_ROWS: Final = 50_000
"""From so many rows at the head of the file, types are guessed."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A spec with its frozen reference, and what a person should know of it."""

    spec: ModelSpec
    reference: FrozenReference
    notes: tuple[str, ...]

    def heading(self, path: Path) -> tuple[str, ...]:
        """Lines for the top of the file."""
        return (
            f"What driftline watches of {self.spec.model} {self.spec.version}.",
            f"Reference: {self.reference.rows:,} rows of {self.reference.origin}.",
            f"Read it, edit it, then: driftline models apply {path}",
            *(f"Note: {note}" for note in self.notes),
        )


def draft_spec(
    path: Path,
    model: str,
    version: str,
    *,
    columns: ColumnNames,
    exclude: Collection[str] = (),
    task: Task | None = None,
    fields: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] = lambda _rows: None,
) -> Draft:
    """Make a spec from a file of rows.

    Parameters
    ----------
    columns
        Names of the columns that are not features.
    exclude
        Further columns that are none.
    task
        None: guessed.
    fields
        Further fields of the spec.
    progress
        Told how many rows have been read.

    Raises
    ------
    OperatorError
        If the file cannot be read, holds nothing to watch, or has no times although there are to be seasons.
    """
    file = DataFile(path)
    file.require(list(exclude), "column")
    file.require(list((fields or {}).get("segments", {}).get("fields", ())), "column for segments")
    sample = {name: values for name, values in file.sample(SAMPLE_ROWS).items() if name not in exclude}
    try:
        spec, notes = infer_spec(
            sample, model, version, task=task, names=columns, typed=file.is_parquet, **(fields or {})
        )
    except ValidationError as error:
        raise OperatorError("; ".join(_explain(detail) for detail in error.errors())) from None
    except (ValueError, LookupError) as error:
        raise OperatorError(f"{path}: {error}") from None
    reader = RowReader(file, spec)
    rows, left_out = _read_all(reader, progress)
    more = [f"left out {count:,} rows: {reason}" for reason, count in left_out.items()]
    if reader.timed and (np.diff(rows.times) < 0).any():
        rows = _in_order_of_time(rows)
        more.append("the rows were put in the order of their times, to measure how bursty they are")
    try:
        spec = freeze(spec, by_source(rows, spec), origin=f"{path.name} (SHA-256 {_digest(path)})")
    except ValueError as error:
        raise OperatorError(f"{path}: {error}") from None
    if spec.reference.frozen is None:
        raise OperatorError(f"{path}: no reference was made")
    threshold = spec.outcomes and score_threshold(spec.reference.frozen.calibration, spec.outcomes.threshold)
    if spec.outcomes is not None and threshold is not None:
        outcomes = spec.outcomes.model_copy(update={"threshold": threshold})
        spec = spec.model_copy(update={"outcomes": outcomes})
        more.append(f"the positive class was predicted from a score of {threshold:g} on: see `outcomes.threshold`")
    more += _broken(spec)
    return Draft(spec, cast(FrozenReference, spec.reference.frozen), (*notes, *reader.notes, *more))


def segments_of(asked: Sequence[str]) -> dict[str, Any]:
    """Read what rows are to be broken down by, columns and pairs as ``a+b``, as the ``segments`` of a spec."""
    pairs = [tuple(each.split(PAIR)) for each in asked if each.count(PAIR) == 1]
    single = [each for each in asked if each.count(PAIR) != 1]
    fields = dict.fromkeys([*single, *(name for pair in pairs for name in pair)])
    return {"fields": tuple(fields), "pairs": tuple(pairs)}


def _broken(spec: ModelSpec) -> list[str]:
    """Say of each rule that the reference breaks how often it does."""
    layout = Layout(spec)
    counts = [layout.rule_counts(vector) for vector in layout.reference().parts.values()]
    if not counts:
        return []
    return [
        f"rule {rule.name}: {broken:,} of {broken + kept:,} rows break it; it is an alarm when more do"
        for rule, (broken, kept, _) in zip(spec.rules, np.sum(counts, axis=0).tolist(), strict=True)
        if broken
    ]


def _read_all(reader: RowReader, progress: Callable[[int], None]) -> tuple[Rows, dict[str, int]]:
    pieces: list[Rows] = []
    left_out: dict[str, int] = {}
    for chunk in reader.chunks():
        pieces += [chunk.rows] if len(chunk.rows) else []
        for reason, count in chunk.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + count
        progress(chunk.next_row)
    if not pieces:
        why = ", ".join(f"{count:,} are of {reason}" for reason, count in left_out.items()) or "the file is empty"
        raise OperatorError(f"{reader.file.path}: no row can be used ({why}); the version is {reader.spec.version!r}")
    return Rows.concat(pieces), left_out


def _in_order_of_time(rows: Rows) -> Rows:
    order = np.argsort(rows.times, kind="stable")

    def sort(column: Column | None) -> Column | None:
        if column is None or isinstance(column, np.ndarray):
            return None if column is None else column[order]
        return [column[i] for i in order.tolist()]

    columns: Sequence[Column | None] = [sort(column) for column in rows.columns]
    service = None if rows.service is None else rows.service[order]
    return replace(rows, times=rows.times[order], stages=rows.stages[order], columns=tuple(columns), service=service)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _explain(detail: Any) -> str:
    where = ".".join(str(step) for step in detail["loc"])
    return f"{where}{': ' if where else ''}{detail['msg'].removeprefix('Value error, ')}"
