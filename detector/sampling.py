"""Which rows are handed on in full, where totals only count: at most K of those between two totals, drawn by a hash.

A row's hash is made of where it stands alone (topic, partition, offset, and its number among the rows of its record),
and the K rows with the smallest hashes are kept. So the draw is uniform, spread evenly over the rows, and the same
whoever counts, however the records were fetched, and however often they are read again.

The hash is the finaliser of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.rows import INVALID, STAGES, Column, Rows
from schemas.profiles import SampledRows

Hashes = NDArray[np.uint64]
Value = float | str | None

MOST_CELLS: Final = 16_384
"""Values that a sample holds at the most: wide models hand on fewer rows, so that a total stays small."""
INFINITE: Final = "inf"
"""How an invalid number travels: JSON has no infinities."""
_MULTIPLIERS: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_IN_RECORD: Final = np.uint64(0xD1B54A32D192ED03)


def salt_of(topic: str, partition: int) -> np.uint64:
    """Return what sets the hashes of one source partition apart."""
    digest = hashlib.blake2b(f"{topic}/{partition}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def row_hashes(salt: np.uint64, offsets: NDArray[np.int64]) -> Hashes:
    """Hash each row, (n,): by its offset and its number among the rows with that offset.

    Parameters
    ----------
    offsets
        (n,) non-decreasing, whole records: the number in the record is counted from the first of an offset.
    """
    numbers = np.arange(len(offsets)) - np.searchsorted(offsets, offsets)
    with np.errstate(over="ignore"):
        z = salt + offsets.astype(np.uint64) * _GOLDEN + numbers.astype(np.uint64) * _IN_RECORD
        for shift, multiplier in zip((np.uint64(30), np.uint64(27)), _MULTIPLIERS, strict=True):
            z = (z ^ (z >> shift)) * multiplier
    return np.asarray(z ^ (z >> np.uint64(31)))


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One row in the draw."""

    hash: int
    offset: int
    number: int
    """Among the rows of its record."""
    time: float | None
    stage: int
    values: tuple[Value, ...]
    """Of every signal; None where it is missing, or the row does not carry it."""


@dataclass(slots=True)
class RowSampler:
    """Draws from the rows of one model version in one source partition.

    Parameters
    ----------
    signals
        Names of the columns.
    topic, partition
        Where the rows come from.
    most_rows
        K.
    """

    signals: tuple[str, ...]
    topic: str
    partition: int
    most_rows: int
    _salt: np.uint64 = field(init=False)
    _drawn: list[_Drawn] = field(init=False, default_factory=list)
    _carried: set[int] = field(init=False, default_factory=set)
    """Signals that a row drawn since the last time may have a value of."""

    def __post_init__(self) -> None:
        self._salt = salt_of(self.topic, self.partition)
        self.most_rows = max(1, min(self.most_rows, MOST_CELLS // max(len(self.signals), 1)))

    def add(self, rows: Rows) -> None:
        """Let rows take part in the draw: whole records, in log order."""
        hashes = row_hashes(self._salt, rows.offsets)
        chosen = np.arange(len(rows))
        if len(self._drawn) == self.most_rows:
            chosen = np.flatnonzero(hashes < np.uint64(self._drawn[-1].hash))
        if len(chosen) > self.most_rows:
            chosen = chosen[np.argpartition(hashes[chosen], self.most_rows - 1)[: self.most_rows]]
        if len(chosen):
            columns = rows.sampled_columns
            self._carried |= {i for i, column in enumerate(columns) if column is not None}
            entering = _drawn(rows, columns, hashes, np.sort(chosen))
            self._drawn = nsmallest(self.most_rows, self._drawn + entering, key=_by_hash)

    def take(self) -> SampledRows | None:
        """Return the draw in log order and begin the next; None where there were no rows."""
        drawn, self._drawn = sorted(self._drawn, key=lambda each: (each.offset, each.number)), []
        if not drawn:
            return None
        carried, self._carried = sorted(self._carried), set()
        return SampledRows(
            offsets=tuple(each.offset for each in drawn),
            times=tuple(each.time for each in drawn),
            stages=tuple(STAGES[each.stage] for each in drawn),
            columns={self.signals[i]: tuple(each.values[i] for each in drawn) for i in carried},
        )


def _by_hash(drawn: _Drawn) -> tuple[int, int, int]:
    return drawn.hash, drawn.offset, drawn.number


def _drawn(rows: Rows, columns: Sequence[Column | None], hashes: Hashes, chosen: NDArray[np.int64]) -> list[_Drawn]:
    nothing: list[Value] = [None] * len(chosen)
    values = zip(*(nothing if column is None else _values(column, chosen) for column in columns), strict=True)
    offsets = rows.offsets[chosen]
    numbers = chosen - np.searchsorted(rows.offsets, offsets)
    times = [None if math.isnan(time) else time for time in rows.times[chosen].tolist()]
    parts = (hashes[chosen].tolist(), offsets.tolist(), numbers.tolist(), times, rows.stages[chosen].tolist(), values)
    return [_Drawn(*each) for each in zip(*parts, strict=True)]


def _values(column: Column, chosen: NDArray[np.int64]) -> list[Value]:
    if isinstance(column, np.ndarray):
        return [
            None if math.isnan(value) else INFINITE if math.isinf(value) else value for value in column[chosen].tolist()
        ]
    return [column[i] for i in chosen.tolist()]


def columns_of_sample(sample: SampledRows, signals: Sequence[str], numbers: Sequence[bool]) -> list[Column | None]:
    """Read a sample as columns in the order of ``signals``; None where it does not carry one.

    Parameters
    ----------
    numbers
        Of each signal whether it is a number; all others are text.

    Raises
    ------
    ValueError
        If a column is not as long as there are rows, or holds what cannot be.
    """
    rows = len(sample.offsets)
    sizes = {len(sample.times), len(sample.stages), *map(len, sample.columns.values())}
    if sizes - {rows} or (np.diff(sample.offsets) < 0).any():
        raise ValueError("a sample's columns are not of one length, or its offsets are not ascending")
    read: list[Column | None] = []
    for signal, number in zip(signals, numbers, strict=True):
        values = sample.columns.get(signal)
        read.append(None if values is None else _number_column(values) if number else _text_column(values))
    return read


def _number_column(values: Sequence[Value]) -> Column:
    return np.array([np.nan if v is None else np.inf if v == INFINITE else float(v) for v in values], dtype=np.float64)


def _text_column(values: Sequence[Value]) -> Column:
    return [INVALID if v == INVALID else None if v is None else str(v) for v in values]
