"""Losses of a model that keeps learning: what is expected of them follows them downwards.

A reference that was taken while the model was still learning holds losses that it no longer makes. Judged by it, a
drift that throws the model back to where it began would be no loss at all. So the losses since the last look are
added up, and where they are surely lower than expected they become what is expected from then on. What was adopted from
few rows is confirmed by the first long stretch that does not contradict it. Nothing else ever raises it, or a slow
decline would be learned as normal.

What is taken over is how the shares of the bins differ from those expected, so that the phases of a season keep their
shape, and the rows behind it, whose uncertainty the null then holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.losses import Losses
from detector.ragged import Floats, Indices, Ragged

LOOK_ROWS: Final = 512.0
"""Rows between two looks."""
FORGET_ROWS: Final = 4_096.0
"""Rows without a sure improvement after which they are forgotten, so that an improvement is not drowned in the past."""
SURE: Final = 3.0
"""Standard errors by which the mean loss must be lower."""
CONFIRMED: Final = -1.0
"""Standard errors by which the mean loss of a long stretch may be higher than what was adopted from a shorter one."""
_PRIOR_ROWS: Final = 8.0
_STATE: Final = ("counts", "expected", "rows", "looked_at", "factors", "adopted_rows")


class Improvement:
    """What is expected of losses that may fall.

    Parameters
    ----------
    layout
        Of the S signals with T bins.
    losses
        Those among them that are losses.
    follows : (S,)
        Those whose expectation follows improvements.

    Attributes
    ----------
    any
        Whether there is one.
    factors : (T,)
        What the reference's shares are to be multiplied with, before they are made to sum to 1.
    adopted_rows : (S,)
        Rows that the expectation rests on; infinite where it is still the reference's own.
    """

    def __init__(self, layout: Ragged, losses: Losses, follows: NDArray[np.bool_]) -> None:
        self._layout, self._losses = layout, losses
        self._follows = follows
        self.any = bool(follows.any())
        self.counts, self.expected = np.zeros((2, layout.bins))
        self.rows, self.looked_at = np.zeros((2, layout.signals))
        self.factors = np.ones(layout.bins)
        self.adopted_rows = np.full(layout.signals, np.inf)

    def add(self, counts: Floats, expected: Floats, rows: Floats, burst: Floats, reference_rows: Floats) -> Indices:
        """Take a step's counts and those expected, (T,), and rows, (S,); return the signals whose expectation changed.

        ``burst`` (S,) rows say as much as one independent row; ``reference_rows`` (S,) are behind the expectation.
        """
        self.counts += counts
        self.expected += expected
        self.rows += rows
        due = self._follows & (self.rows >= self.looked_at + LOOK_ROWS)
        if not due.any():
            return np.flatnonzero(due)
        self.looked_at = np.where(due, self.rows, self.looked_at)
        gain, long = self._gain(burst, reference_rows), self.rows >= FORGET_ROWS
        longer = long & np.isfinite(self.adopted_rows) & (self.rows > self.adopted_rows)
        improved = due & ((gain > SURE) | (longer & (gain > CONFIRMED)))
        for signal in np.flatnonzero(improved):
            self._adopt(int(signal))
        over = due & (improved | long)
        of_bins = self._layout.spread(over)
        self.counts[of_bins] = self.expected[of_bins] = 0.0
        self.rows[over] = self.looked_at[over] = 0.0
        return np.flatnonzero(improved)

    def _gain(self, burst: Floats, reference_rows: Floats) -> Floats:
        """How much lower the mean losses are than expected, in standard errors, (S,)."""
        variance = self._losses.variance(self.expected)
        noise = burst * (1 / np.maximum(self.rows, 1.0) + 1 / np.maximum(reference_rows, 1.0))
        fall = self._losses.mean(self.expected) - self._losses.mean(self.counts)
        return np.asarray(fall / np.sqrt(np.maximum(variance * noise, 1e-12)))

    def _adopt(self, signal: int) -> None:
        bins = self._layout.owner == signal
        prior = _PRIOR_ROWS * self.expected[bins] / max(self.expected[bins].sum(), 1e-300) + 1e-9
        self.factors[bins] *= (self.counts[bins] + prior) / (self.expected[bins] + prior)
        self.adopted_rows[signal] = self.rows[signal]

    def state(self) -> dict[str, Floats]:
        """Return what `restore` takes: nothing where no expectation follows."""
        return {name: getattr(self, name).copy() for name in _STATE} if self.any else {}

    def restore(self, state: Mapping[str, Floats]) -> None:
        """Continue from a saved state."""
        for name in _STATE if self.any else ():
            getattr(self, name)[...] = state[name]
