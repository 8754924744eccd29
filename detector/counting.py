"""The number signals of a layout side by side: bins and moments of a block of rows, without a loop over signals.

A number's bin is how many of its cuts it reaches. With a dozen cuts for each signal, comparing a whole block with one
cut of every signal after the other is several times faster than a binary search for each value, whose branches no
processor can foresee.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.bins import NumberBinner
from schemas.model_spec import NumberBins

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SUM_UNIT: Final = 2.0**20
SQUARE_UNIT: Final = 2.0**8
MAX_SCALES: Final = 4_096.0
"""Values are clipped to so many reference scales on either side of the center."""


@dataclass(frozen=True, slots=True)
class NumberSignal:
    """Where one number signal stands in a vector.

    Attributes
    ----------
    binner
        Its bins.
    start, sum_at, square_at
        Position of its first bin, its sum and its square.
    bounds
        What sums clip its values to, as the spec says.
    """

    binner: NumberBinner
    start: int
    sum_at: int
    square_at: int
    bounds: tuple[float, float] | None = None

    @property
    def limits(self) -> tuple[float, float]:
        """What sums clip its values to: ``MAX_SCALES`` around the center, and the bounds."""
        around = self.around(self.binner.bins)
        if self.bounds is None:
            return around
        low, high = np.clip(self.bounds, *around)
        return float(low), float(high)

    @staticmethod
    def around(bins: NumberBins) -> tuple[float, float]:
        """The widest limits: finite, whatever the scale."""
        with np.errstate(over="ignore"):
            low, high = np.nan_to_num(bins.center + bins.scale * np.array([-MAX_SCALES, MAX_SCALES]))
        return float(low), float(high)


class NumberSignals:
    """F number signals whose rows are counted together: a block ``x`` has shape (F, n).

    Attributes
    ----------
    sums_at, squares_at
        (F,) positions in the vector.
    """

    def __init__(self, signals: Sequence[NumberSignal]) -> None:
        self._cuts = _padded([signal.binner.cuts for signal in signals])
        self._count_type = np.min_scalar_type(self._cuts.shape[1])
        self._start = _upright([signal.start for signal in signals]).astype(np.int64)
        self._missing = np.array([signal.start + signal.binner.missing for signal in signals])
        self._low, self._high = (_upright(side) for side in zip(*(signal.limits for signal in signals), strict=True))
        self._center = _upright([signal.binner.bins.center for signal in signals])
        self._scale = _upright([signal.binner.bins.scale for signal in signals])
        self.sums_at = np.array([signal.sum_at for signal in signals])
        self.squares_at = np.array([signal.square_at for signal in signals])

    def places(self, x: Floats, void: NDArray[np.bool_] | None, out: Ints) -> None:
        """Write the position of each value's bin in the vector to ``out``; ``void`` marks what is not finite."""
        reached = np.zeros(x.shape, dtype=self._count_type)
        reaches = np.empty(x.shape, dtype=np.bool_)
        as_bytes = reaches.view(np.uint8)  # of the sum's own type, numpy adds several times faster
        for j in range(self._cuts.shape[1]):
            np.greater_equal(x, self._cuts[:, j : j + 1], out=reaches)
            reached += as_bytes
        np.add(self._start, reached, out=out)
        if void is not None:
            signal, row = np.nonzero(void)
            out[signal, row] = self._missing[signal] + ~np.isnan(x[signal, row])  # invalid is next to missing

    def moments(self, x: Floats, void: NDArray[np.bool_] | None) -> tuple[Floats, Floats]:
        """Sum and square that each value adds, as integers in floats; overwrites ``x``."""
        np.maximum(x, self._low, out=x)
        np.minimum(x, self._high, out=x)
        x -= self._center
        x /= self._scale
        if void is not None:
            x[void] = 0.0
        squares = np.rint(x * SQUARE_UNIT)
        squares *= squares
        x *= SUM_UNIT
        return np.rint(x, out=x), squares


def _upright(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64).reshape(-1, 1)


def _padded(cuts: Sequence[Floats]) -> Floats:
    """One row for each signal; a pad is never reached by a finite value."""
    padded = np.full((len(cuts), max(len(of) for of in cuts)), np.inf)
    for row, of in enumerate(cuts):
        padded[row, : len(of)] = of
    return padded


def by_part(values: NDArray[Any], part: Ints | None) -> NDArray[Any]:
    """Add up (F, n) values by part: (parts, F). Every part from 0 on has a row."""
    if part is None:
        return np.asarray(values.sum(axis=1)[None, :])
    if (part[1:] < part[:-1]).any():  # rows mostly come in the order of time, and so of parts
        order = np.argsort(part, kind="stable")
        part, values = part[order], values[:, order]
    starts = np.searchsorted(part, np.arange(int(part[-1]) + 1))
    return np.asarray(np.add.reduceat(values, starts, axis=1).T)
