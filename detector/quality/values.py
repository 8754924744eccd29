"""The numbers of a block of rows, laid side by side once for all checks that look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detector.quality.binned import Binned
from detector.quality.counters import Carry, Mask
from detector.quality.rates import Rate
from detector.rows import Rows, Source

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows.

    Attributes
    ----------
    rows
        As they came.
    x
        (F, n) the numbers among features and prediction; NaN where the rows do not carry the signal.
    finite
        (F, n) which of them are there, neither missing nor invalid.
    """

    rows: Rows
    x: Floats
    finite: Mask


class Part(Protocol):
    """A check of numbers: a `counters.Counter` that is given a block and writes into the places that it is given."""

    width: int
    carries: Mapping[str, int]

    def rates(self, start: int) -> Sequence[Rate]:
        """Say which rates are read off the places from ``start`` on."""

    def mark(self, block: Block, carry: Carry, out: Mask) -> None:
        """Mark the rows that count in each place: (width, n), false before."""


class ValueCounter:
    """All checks of numbers, as one counter.

    Parameters
    ----------
    signals
        The numbers among features and prediction.
    parts
        The checks; they know the numbers by their place in ``signals``.
    """

    def __init__(self, signals: Sequence[Binned], parts: Sequence[Part]) -> None:
        self._columns = [signal.column for signal in signals]
        ends = np.cumsum([0, *(part.width for part in parts)]).tolist()
        self._parts = list(zip(parts, ends, ends[1:], strict=False))
        self.width = int(ends[-1])
        self.carries: Mapping[str, int] = {name: size for part in parts for name, size in part.carries.items()}

    def rates(self, start: int) -> Sequence[Rate]:
        """Those of all checks."""
        return [rate for part, at, _ in self._parts for rate in part.rates(start + at)]

    def count(self, rows: Rows, carry: Carry) -> Mask | None:
        """Count rows by all checks; a label is no row of its own."""
        if rows.source is Source.OUTCOMES:
            return None
        x = np.full((len(self._columns), len(rows)), np.nan)
        for place, column in enumerate(self._columns):
            if (values := rows.columns[column]) is not None:
                x[place] = values
        block = Block(rows, x, np.isfinite(x))
        found = np.zeros((self.width, len(rows)), dtype=np.bool_)
        for part, start, stop in self._parts:
            part.mark(block, carry, found[start:stop])
        return found


def chosen(of_all: NDArray[np.generic], places: NDArray[np.int64]) -> NDArray[np.generic]:
    """Take lines of (F, n); without a copy where they are all."""
    return of_all if len(places) == len(of_all) else of_all[places]
