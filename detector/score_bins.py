"""Fine bins of a score between 0 and 1, the same for every model: what its metrics and its calibration are read from.

A bin holds the scores that round to the same hundredth, so that scores written with two digits are not torn apart;
within half a hundredth of 0 and of 1 bins are finer, down to 1/10,000, where the scores of rare classes live.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TAIL: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002)
CUTS: Final[Floats] = np.array(
    [*_TAIL, *((k + 0.5) / 100 for k in range(100)), *(1 - each for each in reversed(_TAIL))], dtype=np.float64
)
"""Lower edges of the bins but the first."""
BINS: Final = len(CUTS) + 1
MIDDLES: Final[Floats] = (np.concatenate([[0.0], CUTS]) + np.concatenate([CUTS, [1.0]])) / 2


def score_bins(scores: Floats) -> Ints:
    """Bin of each score (n,), those beyond 0 and 1 in the outer bins; -1 where there is none."""
    places = CUTS.searchsorted(scores, side="right")
    places[~np.isfinite(scores)] = -1
    return places


def average_by_bin(sums: NDArray[Any], counts: Floats) -> Floats:
    """Divide sums by counts, (B,); a bin without rows gets what lies between its neighbours, by position."""
    full = counts > 0
    if not full.any():
        return np.zeros(len(counts))
    places = np.arange(len(counts))
    return np.interp(places, places[full], sums[full] / counts[full])
