"""A feature or the prediction as the checks see it: its bins, where they stand, and what is usual of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from detector.bins import Binner, NumberBinner
from schemas.quality import Check, NumberNorm

UNDERFLOW: Final = 0
OVERFLOW: Final = -3
UNSEEN: Final = -3
MISSING: Final = -2
INVALID: Final = -1
"""Bins as `detector.bins` puts them; negative ones are counted from the end."""


def quality_signal(check: Check, of: str = "") -> str:
    """Name the signal that watches a fault of a feature or, without one, of whole rows."""
    return f"quality:{check}:{of}" if of else f"quality:{check}"


@dataclass(frozen=True, slots=True)
class Binned:
    """A signal whose values have bins in the layout.

    Attributes
    ----------
    name, signal
        The feature's own, or ``prediction``; and that of its signal.
    column
        Its place among the columns of rows.
    binner, start
        Its bins, and where they begin in the vector.
    importance
        The feature's.
    norm
        What is usual of it, where it is a number and the spec asks for checks that need it.
    """

    name: str
    signal: str
    column: int
    binner: Binner
    start: int
    importance: float
    norm: NumberNorm | None = None

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return isinstance(self.binner, NumberBinner)

    def at(self, *bins: int) -> tuple[int, ...]:
        """Where bins stand in the vector; negative ones are counted from the end."""
        return tuple(self.start + place % self.binner.width for place in bins)

    def upto(self, stop: int) -> tuple[int, ...]:
        """Where all bins stand but the last ones; ``stop`` is 0, or negative and says how many."""
        return tuple(range(self.start, self.start + self.binner.width + stop))

    @property
    def values(self) -> tuple[int, ...]:
        """Where the bins of values stand that are neither missing nor invalid."""
        return self.upto(MISSING)
