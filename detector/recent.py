"""What came lately: counts that decay with four half-lives, beside what was expected of the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from detector.expectation import Expectation, Expected
from detector.ragged import Floats, Indices, Ragged

HALF_LIVES: Final = (32, 128, 1024, 8192)
"""In rows."""

_HALF_LIFE: Final = np.array(HALF_LIVES, dtype=np.float64)[:, None]
_PRIOR_ROWS: Final = 8.0
"""Rows of the reference that an alternative starts from."""
_CAUTION: Final = 0.1
"""Share of the reference in every alternative: no row can lose more than log 10."""
_STATE: Final = ("counts", "expected", "squares")


class RecentRows:
    """Decayed counts of all signals, by half-life."""

    def __init__(self, layout: Ragged, expectation: Expectation) -> None:
        self._layout, self._expectation = layout, expectation
        self.counts = np.zeros((len(HALF_LIVES), layout.bins))
        self.expected = np.zeros((len(HALF_LIVES), layout.bins))
        self.squares = np.zeros((len(HALF_LIVES), layout.signals))
        """Sums of squared weights: with the sums of the weights they give the effective number of rows (Kish)."""

    def add(self, counts: Floats, expected: Floats, rows: Floats) -> None:
        """Take a step: counts and expected counts (T,), and each signal's rows (S,)."""
        keep = np.exp2(-rows / _HALF_LIFE)
        by_bin = self._layout.spread(keep)
        self.counts = self.counts * by_bin + counts
        self.expected = self.expected * by_bin + expected
        self.squares = self.squares * keep**2 + rows

    def forget(self, signal: int) -> None:
        """Start one signal afresh."""
        bins = self._layout.owner == signal
        self.counts[:, bins] = self.expected[:, bins] = 0.0
        self.squares[:, signal] = 0.0

    def alternatives(self, expected: Expected, burst: Floats) -> Floats:
        """Carry over to a phase how the recent past differed from its expectation: shares (4, T).

        ``q ~ p (c + a p) / (e + a p)`` with c the decayed counts and e the expected ones, of which one row in
        ``burst`` (S,) says something new. Without phases that is the recent past itself, shrunk towards the reference.
        """
        spread, total = self._layout.spread, self._layout.sum
        discount, prior = spread(1 / burst), _PRIOR_ROWS * expected.smooth
        seen = self.counts * discount + prior
        awaited = self._expectation.smooth(self.expected, spread(total(self.expected))) * discount + prior
        past = expected.smooth * (seen / awaited)
        return np.asarray(_CAUTION * expected.smooth + (1 - _CAUTION) * (past / spread(total(past))))

    def effective(self, half_life: Indices, burst: Floats) -> tuple[Floats, Floats, Floats]:
        """Return effective rows (S,), counts and expected counts (T,) at one half-life for each signal.

        The counts are scaled to the effective rows, ``(sum w)^2 / sum w^2`` of which one in ``burst`` (S,) says
        something new, and the expected ones to the reference's rows.
        """
        layout, signals = self._layout, np.arange(self._layout.signals)
        pick = half_life[layout.owner], np.arange(layout.bins)
        counts, expected = self.counts[pick], self.expected[pick]
        weight = np.maximum(layout.sum(counts), 1e-300)
        rows = layout.sum(counts) ** 2 / np.maximum(self.squares[half_life, signals], 1e-300) / burst
        unit = layout.spread(1 / weight)
        return rows, counts * unit * layout.spread(rows), expected * unit * layout.spread(self._expectation.rows)

    def state(self) -> dict[str, Floats]:
        """Return what `restore` takes."""
        return {name: getattr(self, name).copy() for name in _STATE}

    def restore(self, state: Mapping[str, Floats]) -> None:
        """Continue from a saved state."""
        for name in _STATE:
            getattr(self, name)[...] = state[name]
