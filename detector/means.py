"""Means of the number signals over recent rows, at the half-lives of the evidence: what an event reports as "now"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.bins import NumberBinner
from detector.layout import Layout


class RecentMeans:
    """Exponentially decayed means by half-life.

    Parameters
    ----------
    layout
        Of the model version.
    half_lives
        In rows.
    """

    def __init__(self, layout: Layout, half_lives: tuple[int, ...]) -> None:
        self._layout = layout
        self._numbers = [i for i, binner in enumerate(layout.binners) if isinstance(binner, NumberBinner)]
        self._half_lives = half_lives
        shape = (len(half_lives), len(layout.signals))
        self._sums: NDArray[np.float64] = np.zeros(shape)
        self._values: NDArray[np.float64] = np.zeros(shape)

    def add(self, vector: NDArray[np.int64]) -> None:
        """Take in the rows of a step, given as one vector of the layout, all phases together."""
        sums, values, rows = np.zeros((3, len(self._layout.signals)))
        counts = self._layout.signal_counts(vector)
        for signal in self._numbers:
            rows[signal] = counts[signal].sum()  # its own: labels that come alone age no feature
            mean = self._layout.mean(vector, signal)
            if mean is not None:
                values[signal] = counts[signal][:-2].sum()
                sums[signal] = mean * values[signal]
        decay = 0.5 ** (rows / np.array(self._half_lives, dtype=np.float64)[:, None])
        self._sums = self._sums * decay + sums
        self._values = self._values * decay + values

    def mean(self, signal: int, half_life: int) -> float | None:
        """Mean of a number signal over the rows that a half-life remembers; None without any value."""
        place = self._half_lives.index(half_life)
        values = self._values[place, signal]
        return float(self._sums[place, signal] / values) if values > 0 else None

    def state(self) -> dict[str, Any]:
        """What must be saved."""
        return {"sums": self._sums, "values": self._values}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up where ``state`` left off."""
        self._sums, self._values = state["sums"], state["values"]
