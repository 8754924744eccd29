"""How bursty rows are: the variance of block means over that of independent rows.

Repeated callers, batches and slow variables make neighbouring rows alike: a block of 64 rows then says less than 64
independent ones. ``phi`` is how many rows of the stream are worth one independent row, in the worst direction: the
location or the spread of the mid-rank scores of an ordered signal, or the share of any bin with 2 % or more. The mean
over bins would be 4 where 19 is right (AR(1) with rho 0.9), and most stable streams would alarm.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.ragged import Floats, Ragged

BLOCK_ROWS: Final = (16, 64, 256, 1024)
MIN_BLOCKS: Final = 16
MIN_SHARE: Final = 0.02
"""Of a bin that is a direction of its own: rarer ones are too noisy to tell."""

_MERGE: Final = 4
_LEVELS: Final = 3
_CLIP: Final = 9.0
"""A squared difference counts for at most this many of its expectation: three standard deviations."""
_MEMORY: Final = 256
"""Blocks over which the live estimate averages."""
_REFERENCE_BLOCK: Final = 1024.0


def mid_ranks(counts: NDArray[Any]) -> Floats:
    """Rank the bins by what lies below them, -1 to 1: counts (..., B) in the order of the bins."""
    total = np.maximum(counts.sum(axis=-1, keepdims=True), 1e-300)
    return np.asarray((2 * np.cumsum(counts, axis=-1) - counts) / total - 1)


def overdispersion(
    bins: NDArray[np.int64],
    width: int,
    *,
    ordered: bool,
    phases: NDArray[np.int64] | None = None,
    trending: bool = False,
    worth: Floats | None = None,
) -> float:
    """Measure phi, at least 1, on the rows of a reference in their own order.

    In blocks of 16, 64, 256 and 1,024 rows, as long as there are 16 of them, the variance of block means is compared
    with that of independent rows, direction by direction. A ratio counts only where it exceeds
    ``1 + 3 sqrt(2 / (M - 1))`` for M blocks, three standard deviations of chance. A shuffled reference hides all this:
    see `LiveDispersion`.

    Parameters
    ----------
    bins : (n,)
        The bin of each row, 0 to ``width`` - 1.
    width : int
        Number of bins.
    ordered : bool
        Whether the bins have an order, so that location and spread mean something.
    phases : (n,), optional
        The phase of the season of each row: what differs between phases is expected and is no burst.
    trending : bool
        Whether a slow change within the reference is no burst either, as in the losses of a model that is still
        learning: then neighbouring blocks are compared with each other (von Neumann 1941), not with the mean, and
        chance is ``3 sqrt(3 / (M - 1))``.
    worth : (width,), optional
        What a row of each bin is worth, where only the mean of that matters: then it is the one direction.
    """
    season = np.zeros(len(bins), dtype=np.int64) if phases is None else np.unique(phases, return_inverse=True)[1]
    if len(bins) < MIN_BLOCKS * BLOCK_ROWS[0]:
        return 1.0
    directions = _directions(np.bincount(bins, minlength=width), ordered) if worth is None else worth[:, None]
    by_phase = _tally(season, bins, int(season.max()) + 1, width)
    phase_rows = by_phase.sum(axis=1, keepdims=True)
    phase_means = by_phase @ directions / np.maximum(phase_rows, 1)
    row_variance = ((by_phase @ directions**2) - phase_rows * phase_means**2).sum(axis=0) / len(bins)

    size = BLOCK_ROWS[0]
    blocks = len(bins) // size
    block = np.repeat(np.arange(blocks), size)
    sums = _tally(block, bins[: blocks * size], blocks, width) @ directions
    sums -= _tally(block, season[: blocks * size], blocks, len(phase_means)) @ phase_means
    phi = 1.0
    for size in BLOCK_ROWS:
        if size > BLOCK_ROWS[0]:
            sums = sums[: len(sums) // _MERGE * _MERGE].reshape(-1, _MERGE, sums.shape[1]).sum(axis=1)
        if len(sums) < MIN_BLOCKS:
            break
        moving = row_variance > 1e-12
        ratio = _variance(sums[:, moving], trending=trending) / (size * row_variance[moving])
        believed = ratio[ratio > 1 + 3 * np.sqrt((3 if trending else 2) / (len(sums) - 1))]
        phi = max(phi, float(believed.max(initial=1.0)))
    return phi


def _variance(sums: Floats, *, trending: bool) -> Floats:
    """Variance of the sums (M, D) of blocks, around their mean or from each to the next."""
    if not trending:
        return np.asarray(sums.var(axis=0, ddof=1))
    return np.asarray((np.diff(sums, axis=0) ** 2).mean(axis=0) / 2)


def _directions(counts: NDArray[np.int64], ordered: bool) -> Floats:
    """Return the directions as columns, (B, D): each frequent bin, then location and spread."""
    frequent = np.eye(len(counts))[:, counts >= MIN_SHARE * counts.sum()]
    if not ordered:
        return frequent
    ranks = mid_ranks(counts)
    return np.column_stack([frequent, ranks, ranks**2])


def _tally(rows: NDArray[np.int64], columns: NDArray[np.int64], height: int, width: int) -> Floats:
    """Count pairs: (height, width)."""
    return np.bincount(rows * width + columns, minlength=height * width).reshape(height, width).astype(np.float64)


class LiveDispersion:
    """Phi of the live stream from its steps, for many signals at once: bounded state, one small update a step.

    Neighbouring blocks of 1, 4 and 16 steps are compared with each other, not with the reference, so that a drift is
    seen once, where it happens, and that one difference is clipped at three standard deviations of what was usual. The
    variance of a row is the reference's or the two blocks' own, whichever is larger, so that a bin that has grown by a
    drift is not taken for bursty. For independent rows the squared difference over its variance has mean 1; a ratio
    counts where it exceeds ``1 + 3 sqrt(3 / M)`` for M differences, of which there must be 16 (3 and not 2, since
    neighbours share a block).
    """

    def __init__(
        self, layout: Ragged, shares: Floats, ordered: NDArray[np.bool_], *, worth: Floats | None = None
    ) -> None:
        """Take the whole reference's ``shares`` (T,) and which signals are ``ordered`` (S,).

        ``worth`` (T,) is as for `overdispersion`.
        """
        self._layout = layout
        total = layout.spread(layout.sum(shares))
        below = np.cumsum(shares) - np.repeat(np.cumsum(shares)[layout.starts] - shares[layout.starts], layout.sizes)
        self._shares = shares
        self._ranks: Floats = (2 * below - shares) / total - 1 if worth is None else worth
        self._squares = self._ranks**2
        # A direction that is rare, never moves or means nothing gets no weight: its differences count as nothing.
        means_something = np.concatenate([shares >= MIN_SHARE, ordered, ordered])
        if worth is not None:
            means_something = np.repeat([False, True, False], [layout.bins, layout.signals, layout.signals])
        self._row_variance = self._variance(shares)
        self._weight = (means_something & (self._row_variance > 1e-9)).astype(np.float64)
        frequent = (1 - shares) * self._weight[: layout.bins]
        self._bin_weight = frequent / np.maximum(layout.spread(layout.sum(frequent)), 1e-9)
        self._owner = np.concatenate([layout.owner, np.arange(layout.signals), np.arange(layout.signals)])
        width = len(self._owner)
        self.sums, self.last_means, self.ratios = np.zeros((3, _LEVELS, width))
        self.rows, self.steps, self.errors = np.zeros((3, _LEVELS, layout.signals))
        self.last_rows, self.last_errors, self.differences = np.zeros((3, _LEVELS, layout.signals))
        self.block_rows = np.ones((_LEVELS, layout.signals))

    def update(self, residuals: Floats, rows: Floats, error: Floats) -> None:
        """Take one step.

        Parameters
        ----------
        residuals : (T,)
            Counts less the expected ones.
        rows : (S,)
            Rows of each signal, 0 where it was not seen.
        error : (S,)
            What the expectation may be off by, where that changes from step to step: one over the reference rows that a
            phase rests on. 0 without phases, where it is the same in every step and cancels.
        """
        seen = rows > 0
        moved = np.concatenate([residuals, self._along(residuals, self._ranks), self._along(residuals, self._squares)])
        for level in range(_LEVELS):
            self.sums[level] += moved
            self.rows[level] += rows
            self.errors[level] += rows * error
            self.steps[level] += seen
            full = seen & (self.steps[level] >= _MERGE**level)
            if full.any():
                self._close(level, full)

    def _along(self, values: Floats, direction: Floats) -> Floats:
        return self._layout.sum(values * direction)

    def _variance(self, shares: Floats) -> Floats:
        """Variance of one row's position along each direction, (T + 2 S,)."""
        moments = [self._along(shares, self._ranks**power) for power in (1, 2, 4)]
        location, spread = moments[1] - moments[0] ** 2, moments[2] - moments[1] ** 2
        return np.concatenate([shares * (1 - shares), location, spread])

    def _close(self, level: int, full: NDArray[np.bool_]) -> None:
        """End the blocks of the signals that are ``full`` and compare them with the ones before."""
        closing = full[self._owner]
        rows, last_rows = self.rows[level], self.last_rows[level]
        means = np.divide(self.sums[level], rows[self._owner], out=self.last_means[level].copy(), where=closing)

        compared = full & (last_rows > 0)
        error = np.divide(self.errors[level], rows, out=self.last_errors[level].copy(), where=full)
        noise = 1 / np.maximum(rows, 1) + 1 / np.maximum(last_rows, 1) + error + self.last_errors[level]
        middle = (means + self.last_means[level])[: self._layout.bins] / 2
        variance = np.maximum(self._row_variance, self._variance(np.clip(self._shares + middle, 0.0, 1.0)))
        squares = (
            (means - self.last_means[level]) ** 2 * self._weight / np.maximum(variance * noise[self._owner], 1e-12)
        )
        clipped = np.minimum(squares, _CLIP * np.maximum(self.ratios[level], 1.0))
        weight = compared / np.minimum(self.differences[level] + 1, _MEMORY)
        self.ratios[level] += weight[self._owner] * (clipped - self.ratios[level])
        self.block_rows[level] += weight * (rows - self.block_rows[level])
        self.differences[level] += compared

        self.last_means[level] = means
        self.last_rows[level] = np.where(full, rows, last_rows)
        self.last_errors[level] = error
        self.sums[level][closing] = 0.0
        self.rows[level][full] = 0.0
        self.errors[level][full] = 0.0
        self.steps[level][full] = 0.0

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Tell for which signals enough steps were seen to say anything, (S,)."""
        return np.asarray(self.differences[0] >= MIN_BLOCKS)

    def phi(self) -> tuple[Floats, Floats]:
        """Return phi, (S,), for blocks as long as the steps are, and for blocks of at most 1,024 rows.

        The first discounts evidence. The second is comparable with the reference's own: where steps hold many thousand
        rows, a wobble far too small to matter makes the first huge, and would say that the reference is worth nothing.
        """
        bins, directions = self._layout.bins, self._layout.signals
        worst = np.maximum(
            self._layout.max(self.ratios[:, :bins]),
            np.maximum(self.ratios[:, bins : bins + directions], self.ratios[:, bins + directions :]),
        )
        chance = 1 + 3 * np.sqrt(3 / np.maximum(self.differences, 1))
        excess = np.where((self.differences >= MIN_BLOCKS) & (worst > chance), worst - 1, 0.0)
        scale = np.minimum(1.0, _REFERENCE_BLOCK / self.block_rows)
        return 1 + excess.max(axis=0), 1 + (excess * scale).max(axis=0)

    def average(self) -> Floats:
        """Return how many rows are worth one independent row in the bins' shares on average, (S,), at least 1.

        It is what small samples of the stream add to a distance over all bins, where phi is for the worst direction.
        """
        by_bin = self._layout.sum(self._bin_weight * self.ratios[:, : self._layout.bins])
        return np.asarray(np.where(self.differences >= MIN_BLOCKS, np.maximum(by_bin, 1.0), 1.0).max(axis=0))

    def state(self) -> dict[str, Floats]:
        """Return what `restore` takes."""
        return {name: getattr(self, name).copy() for name in _STATE}

    def restore(self, state: dict[str, Floats]) -> None:
        """Continue from a saved state."""
        for name in _STATE:
            getattr(self, name)[...] = state[name]


_STATE: Final = (
    "sums", "rows", "errors", "steps", "last_means", "last_rows", "last_errors", "ratios", "differences", "block_rows",
)  # fmt: skip
