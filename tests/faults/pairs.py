"""What pairs of a prediction and its label come to in a total's vector: of a binary model whose answer is a score.

Behind the moments stand, for a model that estimates nothing and has no limits::

    losses matched with what was expected (3, none here) | table | confusion | labels joined | lags

The table holds rows by fine bin of the score and by what came true, the sum of scores by bin, and the sums of the log
losses, their squares, the Brier losses and their squares. Every number is rounded row by row, so that the order in
which rows are added up does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.int64]

SCORE: Final = "prediction"
LABEL: Final = "label"
LAG: Final = "lag_s"
"""Of a pair: seconds from the prediction to the label."""
JOINED: Final = "joined"
"""Of a pair: whether the label found its prediction by the id, and did not bring it."""

_TAIL: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002)
_CUTS: Final = np.array(
    [*_TAIL, *(0.005 + 0.01 * k for k in range(100)), *(1 - each for each in reversed(_TAIL))], dtype=np.float64
)
_BINS: Final = len(_CUTS) + 1
_LAG_EDGES: Final = 2.0 ** (np.arange(101) / 4)
_LEAST_PROBABILITY: Final = 1e-6
_UNIT, _SQUARE_UNIT = 2.0**20, 2.0**10


class PairSections:
    """Where pairs stand in a vector.

    Parameters
    ----------
    start
        Position behind the moments.
    threshold
        Score from which the positive class counts as predicted.
    """

    def __init__(self, start: int, threshold: float) -> None:
        self._threshold = threshold
        ends = start + np.cumsum([0, 3, 3 * _BINS + 4, 4, 1 + len(_LAG_EDGES) + 1])
        names = ("matched", "accuracy table", "confusion", "label lags")
        self.where = {name: slice(int(a), int(b)) for name, a, b in zip(names, ends[:-1], ends[1:], strict=True)}
        self.stop = int(ends[-1])

    def count(self, pairs: Sequence[Mapping[str, Any]], out: Vector) -> None:
        """Add pairs, each with its score, its label ("0" or "1") and its lag, to a vector."""
        score = np.array([pair[SCORE] for pair in pairs])
        true = np.array([int(pair[LABEL] == "1") for pair in pairs])
        out[self.where["accuracy table"]] += _table(score, true)
        cells = 2 * (score >= self._threshold).astype(np.int64) + true
        out[self.where["confusion"]] += np.bincount(cells, minlength=4)
        lags = np.searchsorted(_LAG_EDGES, np.array([pair[LAG] for pair in pairs]), side="right")
        joined = sum(pair[JOINED] for pair in pairs)
        out[self.where["label lags"]] += [joined, *np.bincount(lags, minlength=len(_LAG_EDGES) + 1)]


def _table(score: NDArray[np.float64], true: Vector) -> Vector:
    fine = np.searchsorted(_CUTS, score, side="right")
    rows = np.bincount(2 * fine + true, minlength=2 * _BINS)
    scores = np.bincount(fine, weights=np.rint(score * _UNIT), minlength=_BINS)
    loss = -np.log(np.maximum(np.where(true == 1, score, 1 - score), _LEAST_PROBABILITY))
    brier = (score - true) ** 2
    sums = [np.rint(each).sum() for each in
            (loss * _UNIT, loss**2 * _SQUARE_UNIT, brier * _UNIT, brier**2 * _UNIT)]  # fmt: skip
    return np.concatenate([rows, scores, sums]).astype(np.int64)
