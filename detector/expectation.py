"""What is expected of a step's rows: the shares of the reference in the phase of the season that they fell in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.ragged import Floats, Ragged

WHOLE: Final = -1
"""The phase that stands for the whole reference."""

CACHED_PHASES: Final = 4
"""Phases kept at hand: a stream stays in one for an hour or more, and what is dropped is computed anew."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The expectation of one phase, for all signals."""

    shares: Floats
    """(T,) as counted: 0 where the reference has no row."""
    smooth: Floats
    """(T,) half a row added in each bin: positive."""
    rows: Floats
    """(S,) rows of the reference that the shares rest on."""


class Expectation:
    """Shares by phase; a phase with few rows is shrunk towards the whole.

    By as much as its rows leave open: between the phases of a signal, shares scatter by ``delta`` (chi-square
    distance, chance removed), which is the scatter of a Dirichlet prior of ``(B - 1) / delta`` independent rows around
    the whole. That is what the whole adds to the phase, and what the phase's shares then rest on: all of the reference
    where the phases do not differ.

    Parameters
    ----------
    phases
        For each signal, counts (B,) by phase, `WHOLE` among them.
    dispersion : (S,)
        Rows that are worth one independent row, for each signal.
    """

    def __init__(self, phases: Sequence[Mapping[int, NDArray[np.int64]]], layout: Ragged, dispersion: Floats) -> None:
        self._phases, self._layout = phases, layout
        whole = np.concatenate([each[WHOLE] for each in phases]).astype(np.float64)
        self.rows: Floats = layout.sum(whole)
        """(S,) of the whole reference."""
        occupied = layout.sum(whole > 0)
        self.bins: Floats = np.maximum(occupied + (occupied < layout.sizes), 2.0)
        """(S,) bins that count as degrees of freedom: those with rows, and one for all the empty ones."""
        self._whole: Floats = whole / np.maximum(layout.spread(self.rows), 1.0)
        self._prior = self._prior_rows(dispersion)
        self._factors, self._adopted_rows = np.ones(layout.bins), np.full(layout.signals, np.inf)
        self._cache: dict[int, Expected] = {}

    def of(self, phase: int) -> Expected:
        """Return the expectation of a phase; one that the reference has not seen gets the whole's."""
        if phase not in self._cache:
            while len(self._cache) >= CACHED_PHASES:
                del self._cache[next(iter(self._cache))]
            self._cache[phase] = self._expected(phase)
        return self._cache[phase]

    def follow(self, factors: Floats, rows: Floats) -> None:
        """Expect other shares from now on: those of the reference times ``factors`` (T,), resting on ``rows`` (S,).

        Infinite rows leave a signal as the reference has it (`detector.improvement`).
        """
        self._factors, self._adopted_rows = factors.copy(), rows.copy()
        self._cache.clear()

    def smooth(self, expected: Floats, total: Floats | float = 1.0) -> Floats:
        """Add half a row of the whole reference to each bin; linear in counts (..., T) that sum to ``total``."""
        rows, sizes = self._layout.spread(self.rows), self._layout.spread(self._layout.sizes)
        return np.asarray((expected * rows + 0.5 * total) / (rows + 0.5 * sizes))

    def _expected(self, phase: int) -> Expected:
        shares, rows = self._whole, self.rows
        if phase != WHOLE:
            counts = self._counts(phase)
            own = self._layout.sum(counts)
            rows = np.minimum(own + self._prior, self.rows)
            # An infinite prior leaves nothing of the phase's own counts.
            trust = np.where(np.isinf(self._prior) | (own == 0), 0.0, own / np.maximum(own + self._prior, 1.0))
            spread = self._layout.spread(trust)
            shares = spread * counts / np.maximum(self._layout.spread(own), 1.0) + (1 - spread) * self._whole
        if np.isfinite(self._adopted_rows).any():
            weighted = shares * self._factors
            shares = np.where(
                self._layout.spread(np.isfinite(self._adopted_rows)),
                weighted / np.maximum(self._layout.spread(self._layout.sum(weighted)), 1e-300),
                shares,
            )
            rows = np.minimum(rows, self._adopted_rows)
        return Expected(shares, self.smooth(shares), np.maximum(rows, 1.0))

    def _counts(self, phase: int) -> Floats:
        nothing = [np.zeros(size, dtype=np.int64) for size in self._layout.sizes]
        found = [each.get(phase, none) for each, none in zip(self._phases, nothing, strict=True)]
        return np.concatenate(found).astype(np.float64)

    def _prior_rows(self, dispersion: Floats) -> Floats:
        """Rows (S,) that the whole is worth as a prior of each phase; infinite where the phases do not differ."""
        scatter, rows, phases = (np.zeros(self._layout.signals) for _ in range(3))
        for phase in sorted({phase for each in self._phases for phase in each} - {WHOLE}):
            counts = self._counts(phase)
            own = self._layout.sum(counts)
            gap = counts - self._layout.spread(own) * self._whole
            expected = self._layout.spread(own) * self._whole
            scatter += self._layout.sum(np.divide(gap**2, expected, out=np.zeros(gap.shape), where=expected > 0))
            rows += own
            phases += own > 0
        by_chance = dispersion * (self.bins - 1) * np.maximum(phases - 1, 0)
        delta = np.maximum(scatter - by_chance, 0.0) / np.maximum(rows, 1.0)
        prior = dispersion * (self.bins - 1)
        return np.asarray(np.divide(prior, delta, out=np.full(prior.shape, np.inf), where=delta > 1e-9))
