"""Signals of different widths laid end to end, so that one numpy call serves all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Ragged:
    """S signals of ``sizes`` bins each, T bins in all: signal s has the bins ``starts[s]`` to ``starts[s] + sizes[s]``.

    Bins are the last axis of every array, and every signal has at least one.
    """

    def __init__(self, sizes: Sequence[int] | Indices) -> None:
        self.sizes: Indices = np.asarray(sizes, dtype=np.int64)
        if self.sizes.size == 0 or self.sizes.min() < 1:
            raise ValueError("at least one signal, and at least one bin in each")
        ends = np.cumsum(self.sizes)
        self.starts: Indices = ends - self.sizes
        self.signals, self.bins = len(self.sizes), int(ends[-1])
        self.owner: Indices = np.repeat(np.arange(self.signals), self.sizes)
        """(T,) the signal that each bin belongs to."""
        self._place: Indices = np.arange(self.bins) - self.starts[self.owner]
        self._slices = tuple(slice(int(a), int(b)) for a, b in zip(self.starts, ends, strict=True))

    def sum(self, values: NDArray[Any]) -> Floats:
        """Add up each signal's bins: (..., T) to (..., S)."""
        return np.asarray(np.add.reduceat(values, self.starts, axis=-1), dtype=np.float64)

    def max(self, values: NDArray[Any]) -> Floats:
        """Take the largest of each signal's bins: (..., T) to (..., S)."""
        return np.asarray(np.maximum.reduceat(values, self.starts, axis=-1), dtype=np.float64)

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Give each signal's value to all its bins: (..., S) to (..., T)."""
        return np.asarray(values).take(self.owner, axis=-1)

    def select(self, signals: Indices) -> tuple[Ragged, Indices | slice]:
        """Keep only ``signals`` (ascending): their own layout, and where their bins are in this one."""
        if len(signals) == self.signals:
            return self, slice(None)
        part = Ragged(self.sizes[signals])
        return part, np.repeat(self.starts[signals] - part.starts, part.sizes) + np.arange(part.bins)

    def pad(self, values: Floats) -> Floats:
        """Lay (T,) out as (S, widest signal), filled up with zeros."""
        out = np.zeros((self.signals, int(self.sizes.max())))
        out[self.owner, self._place] = values
        return out

    def split(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """Cut (T,) into each signal's bins: views."""
        return [values[part] for part in self._slices]
