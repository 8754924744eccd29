"""How much of a change is one of the segments' shares, and how much happened within segments.

With w and v the segments' shares of the reference and of recent rows, p and q their distributions then and now, the
distribution of all rows changed by ::

    Q - P  =  sum_s (v_s - w_s) p_s  +  sum_s v_s (q_s - p_s)
                      mix                    within

What a change is measured by is linear in ``Q - P`` once its weights are given: PSI is its product with log(Q / P), the
rise of a mean loss that with the bins' costs. So the parts add up to the whole. (Oaxaca 1973 and Blinder 1973 take
differences of means apart like that.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.ragged import Floats
from detector.recent import HALF_LIVES

MIX_HALF_LIVES: Final = HALF_LIVES[1:]
"""Rows of the whole after which counts by segment count half: those of the evidence, but for the shortest."""


@dataclass(frozen=True, slots=True)
class Decomposition:
    """A change of a signal, taken apart by the segments of one field; rows without a segment stand last.

    Attributes
    ----------
    total
        The change: PSI, or the rise of a mean loss.
    mix
        What the segments' other shares make of it.
    within : (G + 1,)
        What happened within each.
    before, now : (G + 1,)
        Their shares of the rows.
    """

    total: float
    mix: float
    within: Floats
    before: Floats
    now: Floats

    @property
    def explained(self) -> float | None:
        """Share of the change that the mix explains, 0 to 1; None where there is no change to explain."""
        return float(np.clip(self.mix / self.total, 0.0, 1.0)) if self.total > 0 else None


def decompose(now: Floats, before: Floats, expected: Floats, costs: Floats | None = None) -> Decomposition:
    """Take a change apart.

    Parameters
    ----------
    now, before
        (G + 1, B) recent rows and those of the reference, by segment and bin: the last line is what has no segment.
    expected
        (B,) what is expected of all rows, in any unit: with a season that of the recent rows' phases.
    costs
        (B,) of a loss; None: the change is a PSI.
    """
    rows, reference = max(float(now.sum()), 1e-300), max(float(before.sum()), 1e-300)
    v, w = now.sum(axis=1) / rows, before.sum(axis=1) / reference
    p_all = expected / max(float(expected.sum()), 1e-300)
    q_all = now.sum(axis=0) / rows
    ever = before.sum(axis=0) / reference
    season = np.divide(p_all, ever, out=np.ones(len(ever)), where=ever > 0)
    p = _shares(before * season, instead=p_all)
    q = _shares(now, instead=p_all)
    weights = _log_ratio(q_all * rows, p_all * reference) if costs is None else costs
    mix = float((v @ p - p_all) @ weights)
    within = v * ((q - p) @ weights)
    return Decomposition(mix + float(within.sum()), mix, within, w, v)


def _shares(counts: Floats, instead: Floats) -> Floats:
    """Shares of each line; ``instead`` where it is empty."""
    rows = counts.sum(axis=1, keepdims=True)
    return np.where(rows > 0, counts / np.maximum(rows, 1e-300), instead)


def _log_ratio(current: Floats, reference: Floats) -> Floats:
    """Return log(Q / P) by bin, smoothed by half a row in each as the PSI is (`detector.scores`)."""
    seen = (current > 0) | (reference > 0)
    half = 0.5 * seen
    q, p = ((counts + half) / (counts.sum() + half.sum()) for counts in (current, reference))
    return np.asarray(np.log(np.divide(q, p, out=np.ones(len(current)), where=seen)))


class MixCounts:
    """Decayed counts of all rows and of each segment, all by the same clock: the rows of the whole.

    Parameters
    ----------
    segments, width
        How many segments, and bins of all judged signals in each.
    """

    def __init__(self, segments: int, width: int) -> None:
        self.whole = np.zeros((len(MIX_HALF_LIVES), width))
        self.segments = np.zeros((len(MIX_HALF_LIVES), segments, width))

    def add(self, whole: NDArray[np.int64], segments: NDArray[np.int64], rows: int) -> None:
        """Take in a step: counts (W,) and (S, W)."""
        for place, half_life in enumerate(MIX_HALF_LIVES):
            keep = 2.0 ** (-rows / half_life)
            self.whole[place] = self.whole[place] * keep + whole
            self.segments[place] = self.segments[place] * keep + segments

    def of(self, half_life: int, numbers: range, bins: slice) -> Floats:
        """Counts (G + 1, B) of some segments and, last, of the rows in none of them."""
        place = MIX_HALF_LIVES.index(max(half_life, MIX_HALF_LIVES[0]))
        found = self.segments[place, numbers.start : numbers.stop, bins]
        rest = np.maximum(self.whole[place, bins] - found.sum(axis=0), 0.0)
        return np.vstack([found, rest])

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {"whole": self.whole.copy(), "segments": self.segments.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state of the same segments, to the last bit."""
        self.whole[...], self.segments[...] = state["whole"], state["segments"]
