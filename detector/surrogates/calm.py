"""The calm stretch: what the numbers of K streams are when nothing has changed, and how sure that is.

It is measured once, on the reference's rows or on the first of the stream. Of a model that keeps learning a later
stretch takes its place where that is surely lower; nothing ever raises it, or a slow drift would be learned as normal.
(`detector.improvement` does the same to the losses that the engine expects: there it is the shares of bins, phase by
phase, that are scaled down; here a mean and its error, of which the stretch itself is the only source.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.dispersion import overdispersion

Floats = NDArray[np.float64]

CONFIDENCE: Final = 2.33
"""Standard errors of the calm mean that its null holds on top of it: 99 %."""
LOWERING_ROWS: Final = 2_048
LOWERING_CONFIDENCE: Final = 3.0
"""Standard errors of the mean of so many rows, on top of which it takes the calm mean's place if that is higher."""
LEVELS: Final = 5
"""Bins of x in which bursts are measured."""
WORTH: Final = np.arange(LEVELS) / (LEVELS - 1)
"""What x is worth in each: bursts of its mean are what counts."""


class CalmStretch:
    """What is expected of K streams of numbers between 0 and 1.

    Parameters
    ----------
    streams
        K.
    rows
        That it takes, at the least.
    skipped
        Rows of the stream before them.
    learning
        Whether the numbers are of a model that keeps learning: they may fall, for some streams.

    Attributes
    ----------
    mean, error, phi : (K,)
        The calm mean, how far it may be off, and how many rows are worth one (`detector.dispersion`).
    shares : (K, LEVELS)
        Of the levels.
    """

    def __init__(self, streams: int, rows: int, skipped: int = 0, *, learning: bool = False) -> None:
        self._wanted, self._skip, self._learning = rows, skipped, learning
        self._stretch: Floats | None = np.empty((streams, 0))
        """What is collected, (K, n); None once it is measured."""
        self.mean, self.error, self.phi = np.full(streams, 0.5), np.zeros(streams), np.ones(streams)
        self.shares: Floats = np.full((streams, LEVELS), 1 / LEVELS)
        self._window: Floats = np.zeros((3, streams))
        """Rows, sums and squares since the calm mean was last compared with later rows."""

    @property
    def over(self) -> bool:
        """Whether it was measured."""
        return self._stretch is None

    @property
    def collected(self) -> int:
        """Rows so far."""
        return self._wanted if self._stretch is None else self._stretch.shape[1]

    def take(self, x: Floats) -> Floats:
        """Take numbers of the stream, (K, n); return those behind the stretch, once it is complete."""
        if self._stretch is None:
            return x
        skip = min(self._skip, x.shape[1])
        self._skip -= skip
        x = x[:, skip:]
        wanted = max(self._wanted - self._stretch.shape[1], 0)
        self._stretch, behind = np.concatenate([self._stretch, x[:, :wanted]], axis=1), x[:, wanted:]
        self.settle()
        return behind

    def take_reference(self, x: Floats) -> None:
        """Take numbers of the reference, however many, without skipping any; `settle` ends it."""
        if self._stretch is not None:
            self._stretch = np.concatenate([self._stretch, x], axis=1)

    def settle(self, *, at_least: float = 0.0, error: float | None = None) -> bool:
        """Measure the stretch if it has enough rows; return whether that was done now.

        Parameters
        ----------
        at_least
            The calm mean is no lower, whatever was measured.
        error
            Uncertainty of the calm mean, where it is known better than from the stretch. How bursty the rows are is
            then measured on the stream alone.
        """
        stretch = self._stretch
        if stretch is None or stretch.shape[1] < self._wanted:
            return False
        self._stretch = None
        rows, levels = stretch.shape[1], levels_of(stretch)
        self.mean = np.maximum(stretch.mean(axis=1), at_least)
        if error is None:
            self.phi = np.array([
                overdispersion(each, LEVELS, ordered=True, trending=self._learning, worth=WORTH) for each in levels
            ])  # fmt: skip
            self.error = CONFIDENCE * np.sqrt(self.phi * (stretch.var(axis=1) + 1 / rows) / rows)
        else:
            self.error = np.full_like(self.mean, error)
        counts = np.stack([np.bincount(each, minlength=LEVELS) for each in levels])
        self.shares = (counts + 0.5) / (rows + 0.5 * LEVELS)
        return True

    def follow(self, fresh: Floats, phi: Floats, *, streams: int) -> None:
        """Let later rows take its place, for the first ``streams`` of a model that keeps learning, if surely lower.

        ``fresh`` (3, K) are rows, sums and squares; ``phi`` (K,) is that of the live stream.
        """
        if not self._learning:
            return
        self._window = self._window + fresh
        rows, sums, squares = self._window
        if rows[0] < LOWERING_ROWS:
            return
        self._window = np.zeros_like(self._window)
        mean = sums / rows
        variance = np.maximum(squares / rows - mean**2, 0.0)
        error = LOWERING_CONFIDENCE * np.sqrt(phi * (variance + 1 / rows) / rows)
        lower = mean + error < self.mean + self.error
        lower[streams:] = False
        self.mean, self.error = np.where(lower, mean, self.mean), np.where(lower, error, self.error)
        self.phi = np.where(lower, 1.0, self.phi)  # of these rows it is known from the live stream

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        arrays = {name: getattr(self, name).copy() for name in _ARRAYS}
        return {**arrays, "window": self._window.copy(), "stretch": self._stretch, "skip": self._skip}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state, to the last bit."""
        for name in _ARRAYS:
            setattr(self, name, state[name].copy())
        self._window, self._skip = state["window"].copy(), state["skip"]
        self._stretch = None if state["stretch"] is None else state["stretch"].copy()


def levels_of(x: Floats) -> NDArray[np.int64]:
    """Return the level of each number."""
    return np.minimum((x * LEVELS).astype(np.int64), LEVELS - 1)


_ARRAYS: Final = ("mean", "error", "phi", "shares")
