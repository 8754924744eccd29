"""Signals in which only one direction is bad: losses, whose bins have a cost each.

Their score is how much the mean loss has risen, and evidence is gathered against every alternative under which it
rises. So that an alarm says "worse", a distribution of losses that merely looks different is no drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detector.ragged import Floats, Indices, Ragged

_NEVER: Final = 1e-9
TOLERATED: Final = 0.5
"""Share of a tier's rise of the mean loss that its null still contains."""


class Losses:
    """The losses among S signals with T bins in all.

    Parameters
    ----------
    by_signal
        For each signal the cost of a row in each of its bins, (B,); None where the signal is no loss.
    layout
        Of the signals.
    rates : (S,)
        Which of them are rates of 0 or 1 that may be as rare as never.

    Attributes
    ----------
    any
        Whether there is one.
    """

    def __init__(
        self, by_signal: Sequence[Floats | None], layout: Ragged, rates: NDArray[np.bool_] | None = None
    ) -> None:
        self.by_signal = tuple(by_signal)
        self._is_rate = np.zeros(layout.signals, dtype=np.bool_) if rates is None else rates
        self._layout = layout
        self._is_loss: NDArray[np.bool_] = np.array([each is not None for each in by_signal])
        sized = zip(by_signal, layout.sizes.tolist(), strict=True)
        self._costs: Floats = np.concatenate([np.zeros(size) if each is None else each for each, size in sized])
        self.any = bool(self._is_loss.any())

    def directions(self, bins: Floats, ordered: NDArray[np.bool_]) -> Floats:
        """Return how many bins count for the reference's own uncertainty, (S,): two where a row is right or wrong."""
        return np.where(self._is_loss & ~ordered, 2.0, bins)

    def tolerance(self, thresholds: Floats, shares: Floats, *, of_others: Floats) -> Floats:
        """Return tau of each tier's null, (3, S), on PSI's scale; ``of_others`` where the signal is no loss.

        The null holds rises of up to `TOLERATED` of the tier's. How far away these are is an approximation that fails
        where a row is hardly ever bad, so that rates have it exactly: ``2 KL(p || p + rise)``.
        """
        rises = TOLERATED * thresholds
        found = np.where(self._is_loss, rises**2 * self.psi_of_rise(shares), of_others)
        if not self._is_rate.any():
            return found
        rate = np.clip(self.mean(shares), _NEVER, 1 - _NEVER)
        higher = np.minimum(rate + rises, 1 - _NEVER)
        distance = special.rel_entr(rate, higher) + special.rel_entr(1 - rate, 1 - higher)
        return np.where(self._is_rate, 2 * distance, found)

    def psi_of_rise(self, shares: Floats) -> Floats:
        """Return the PSI of a mean loss that is higher by 1, (S,); NaN where the signal is no loss.

        Shares whose mean loss is ``d`` higher are, at the least, ``d^2 / V`` away from the reference's, V being the
        variance of one row's loss (second order).
        """
        return np.where(self._is_loss, 1 / self.variance(shares), np.nan)

    def variance(self, counts: Floats) -> Floats:
        """Return the variance of one row's loss, (S,), where rows are spread as ``counts`` (T,)."""
        rows = np.maximum(self._layout.sum(counts), 1e-300)
        squares = self._layout.sum(counts * self._costs**2) / rows
        return np.maximum(squares - self.mean(counts) ** 2, 1e-9)

    def rises(self, alternatives: Floats, shares: Floats, layout: Ragged, bins: Indices | slice) -> Floats:
        """Return 1 where the mean loss is higher under an alternative (A, T') than under ``shares``, else 0: (A, S').

        Always 1 for signals that are no losses. ``layout`` and ``bins`` choose S' signals with T' bins.
        """
        costs = self._costs[bins]
        higher = layout.sum(alternatives * costs) > layout.sum(shares * costs)
        return np.where(layout.sum(np.abs(costs)) > 0, higher, True).astype(np.float64)

    def rise(self, current: Floats, reference: Floats, of_others: Floats) -> Floats:
        """Return how much higher the mean loss of ``current`` (T,) is, at least 0; ``of_others`` for the rest."""
        return np.where(self._is_loss, np.maximum(self.mean(current) - self.mean(reference), 0.0), of_others)

    def means(self, reference: Floats, current: Floats) -> list[tuple[float, float] | None]:
        """Return the mean loss of both counts (T,), for each signal that is a loss."""
        pairs = zip(self.mean(reference).tolist(), self.mean(current).tolist(), strict=True)
        return [pair if is_loss else None for pair, is_loss in zip(pairs, self._is_loss.tolist(), strict=True)]

    def mean(self, counts: Floats) -> Floats:
        """Return the mean loss of counts (T,), (S,); 0 where the signal is no loss."""
        return np.asarray(self._layout.sum(counts * self._costs) / np.maximum(self._layout.sum(counts), 1e-300))
