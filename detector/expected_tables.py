"""The tables of predictions and labels to expect while the labels are still to come: metrics are read from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.performance import PairTables
from detector.score_bins import BINS
from schemas.performance import Calibration

Floats = NDArray[np.float64]


def expected_tables(calibration: Calibration, scores: Floats) -> PairTables:
    """Return the tables to expect of predictions whose labels are not known, as if they had come (NannyML's CBPE).

    In a bin with n rows, calibrated probability p and a share r of rows predicted positive, ``n r p`` true positives
    are expected, ``n r (1 - p)`` false ones, ``n (1 - r) p`` misses.

    Parameters
    ----------
    scores
        (B,) rows by fine bin of the score.
    """
    p, r = np.array(calibration.positive), np.array(calibration.predicted)
    tp, fp, fn, tn = (scores * each for each in (r * p, r * (1 - p), (1 - r) * p, (1 - r) * (1 - p)))
    confusion = np.array([[tn.sum(), fn.sum()], [fp.sum(), tp.sum()]])
    by_score = np.stack([tn + fp, tp + fn], axis=1)
    return PairTables(confusion, by_score, np.zeros(BINS), np.zeros(4), np.zeros(0))
