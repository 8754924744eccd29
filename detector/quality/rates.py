"""What a rate is: rows that are bad among the rows that can be, read off a profile's vector.

A rate is watched like a signal of two bins, fine and bad, of which only a rise of the second is evidence: the ball
around the reference, its dispersion, phases and budget are those of every signal (`detector.evidence`). Its score is by
how much it has risen, in rows per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.outbound import Family
from schemas.quality import RateTiers

Ints = NDArray[np.int64]

FINE, BAD = 0, 1
"""The bins of a rate."""
COSTS: Final = np.array([0.0, 1.0])
"""What a row in each of them costs: so that the mean is the rate."""
TOLD_ROWS: Final = 50
"""Bad rows in a reference that tell how bursty they are."""
ASSUMED_ROWS: Final = 10_000
"""Rows that an expected rate is taken to rest on where the reference has none."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One rate.

    Attributes
    ----------
    signal
        Its name, such as ``quality:missing:age``.
    family
        Whose incidents it belongs to.
    tiers
        Increases that are minor, moderate, significant.
    bad, rows
        Places of a profile's vector: those that count bad rows, and those that count all rows that can be bad.
    what
        What a bad row is, for people, such as ``missing``.
    importance
        Ranks the signals of an incident, as a feature's does.
    expected
        The rate where the reference has no such row; None: it is then not judged.
    of_signal
        The signal whose values make a row bad. Where the reference has too few bad rows to tell how bursty they are,
        they are taken to be as bursty as its values.
    by_value
        Whether the value itself is bad, so that this holds also where the reference has not a single one. What is
        missing or invalid has its own reasons.
    awaited
        Bad rows that the reference has not but that as many rows to come are expected to have.
    """

    signal: str
    family: Family
    tiers: RateTiers
    bad: tuple[int, ...]
    rows: tuple[int, ...]
    what: str
    importance: float = 1.0
    expected: float | None = None
    awaited: int = 0
    of_signal: str | None = None
    by_value: bool = False


class RateReader:
    """Reads R rates off vectors of a layout, all at once.

    Parameters
    ----------
    rates
        At least one.
    """

    def __init__(self, rates: Sequence[Rate]) -> None:
        self._bad, self._rows = (_Sums([getattr(each, name) for each in rates]) for name in ("bad", "rows"))

    def read(self, vectors: Ints) -> Ints:
        """Return rows that are fine and bad, (..., R, 2), of vectors (..., width)."""
        bad = self._bad.of(vectors)
        return np.stack([self._rows.of(vectors) - bad, bad], axis=-1)


class _Sums:
    """Sums over places of a vector; a rate may have many."""

    def __init__(self, places: Sequence[tuple[int, ...]]) -> None:
        self._places = np.concatenate([np.array(each, dtype=np.int64) for each in places])
        self._starts = np.cumsum([0, *(len(each) for each in places[:-1])])

    def of(self, vectors: Ints) -> Ints:
        return np.asarray(np.add.reduceat(vectors[..., self._places], self._starts, axis=-1))
