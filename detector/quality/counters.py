"""Counting rows for rates that no bin tells: each counter has places of its own behind the layout's other sections.

What is counted must be a pure function of the log up to an offset, however it was cut into runs. A counter that looks
back at earlier rows keeps what it needs of them in the carry, which travels with the total of its source partition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detector.counting import by_part
from detector.quality.rates import Rate
from detector.rows import Rows, Source
from schemas.outbound import Family
from schemas.quality import RateTiers

Mask = NDArray[np.bool_]

Carry = dict[str, NDArray[np.int64]]
"""What counters keep of the rows before, of one source partition: an array of fixed length by name, moved on in place
by counting."""


class Counter(Protocol):
    """Counts rows into ``width`` places of a profile's vector."""

    width: int
    carries: Mapping[str, int]
    """Lengths of what it keeps in the carry, by name; zeros before the first row."""

    def rates(self, start: int) -> Sequence[Rate]:
        """Say which rates are read off the places from ``start`` on."""

    def count(self, rows: Rows, carry: Carry) -> Mask | None:
        """Say which rows count in each place, (width, n); None where this source has nothing to count."""


@dataclass(frozen=True, slots=True)
class RowCounter:
    """The simplest counter: of each row, whether it is bad.

    Attributes
    ----------
    signal, family, tiers, what, importance, expected
        As in a `Rate`.
    check
        Says of rows which are bad, (n,), and which can be, (n,); None: nothing can be said of rows of this source.
    """

    signal: str
    family: Family
    tiers: RateTiers
    what: str
    check: Callable[[Rows], tuple[Mask, Mask] | None]
    importance: float = 1.0
    expected: float | None = None
    width: int = field(init=False, default=2)
    carries: Mapping[str, int] = field(init=False, default_factory=dict)

    def rates(self, start: int) -> Sequence[Rate]:
        """Read bad rows and all rows off two places."""
        places = (start,), (start + 1,)
        return [Rate(self.signal, self.family, self.tiers, *places, self.what, self.importance, self.expected)]

    def count(self, rows: Rows, carry: Carry) -> Mask | None:
        """Count bad rows, and all that can be; a label is no row of its own."""
        found = None if rows.source is Source.OUTCOMES else self.check(rows)
        if found is None:
            return None
        bad, asked = found
        return np.stack([bad & asked, asked])


class Counters:
    """All counters of a spec, and where they stand.

    Parameters
    ----------
    counters
        There may be none.
    start
        Where their places begin in the vector.
    """

    def __init__(self, counters: Sequence[Counter], start: int) -> None:
        ends = start + np.cumsum([0, *(each.width for each in counters)])
        self._counters = [(each, int(at)) for each, at in zip(counters, ends, strict=False)]
        self.width = int(ends[-1]) - start
        self.rates: tuple[Rate, ...] = tuple(rate for each, at in self._counters for rate in each.rates(at))

    def begin(self) -> Carry:
        """Return the carry before the first row."""
        return {
            name: np.zeros(length, dtype=np.int64)
            for each, _ in self._counters
            for name, length in each.carries.items()
        }

    def count(self, rows: Rows, part: NDArray[np.int64] | None, vectors: NDArray[np.int64], carry: Carry) -> None:
        """Add rows, by part, to vectors (parts, width of the layout)."""
        for counter, start in self._counters:
            found = counter.count(rows, carry)
            if found is None or not found.any():
                continue
            where = slice(start, start + counter.width)
            if part is None:
                vectors[0, where] += [np.count_nonzero(line) for line in found]  # faster than along an axis
            else:
                vectors[:, where] += by_part(found.astype(np.int64), part)
