"""How late labels come: an additive histogram of the time from a prediction to its label.

The lags of a version stand at the end of its profile's vector (``detector.layout``), so that they are counted exactly
once, as its rows are, and subtract as its rows do::

    labels that were joined | lags below 1 s | a quarter of a doubling each ... | lags from 2^25 s (388 days) on

A quantile read off them is within 2^(1/4) (19 %) of the true one between the two ends. A label may be there before its
prediction (their clocks differ, or the decision was made later than the fact): its lag is negative and stands in the
first bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self, cast

import numpy as np
from numpy.typing import NDArray

from detector.rows import Rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EDGES: Final[Floats] = 2.0 ** (np.arange(101) / 4)
"""Seconds at which bins begin and end: 1 s to 388 days."""
JOINED_AT: Final = 0
"""Where the labels are counted that found their prediction by its id."""
WIDTH: Final = 1 + len(EDGES) + 1
"""Entries in a profile's vector."""


def lag_places(lags: Floats) -> Ints:
    """Where in the section each lag is counted.

    Parameters
    ----------
    lags
        (n,) seconds; NaN where the time of the prediction is not known.

    Returns
    -------
    (n,) places, -1 for a lag that is not known.
    """
    places = 1 + np.searchsorted(EDGES, lags, side="right")
    return np.where(np.isnan(lags), -1, places)


@dataclass(frozen=True, slots=True)
class LabelArrivals:
    """What the lags section says of some rows.

    Attributes
    ----------
    joined
        Labels that found their prediction by its id.
    counts
        (``WIDTH`` - 1,) labels by lag.
    """

    joined: int
    counts: Ints

    @classmethod
    def of(cls, section: Ints) -> Self:
        """Read a section, shape (``WIDTH``,)."""
        return cls(int(section[JOINED_AT]), section[1:])

    def quantile(self, q: float) -> float | None:
        """Lag in seconds that the share ``q`` of the labels does not exceed; None where no lag is known.

        Within a bin lags are taken to be spread evenly on a logarithmic scale; in the first, evenly from 0 s.
        """
        total = int(self.counts.sum())
        if total <= 0:
            return None
        reached = np.cumsum(self.counts)
        bin_ = int(np.searchsorted(reached, q * total))
        below = int(reached[bin_ - 1]) if bin_ else 0
        share = (q * total - below) / int(self.counts[bin_])
        if bin_ == 0:
            return share
        if bin_ == len(EDGES):
            return float(EDGES[-1])
        return float(EDGES[bin_ - 1] * (EDGES[bin_] / EDGES[bin_ - 1]) ** share)


def coverage(predictions: int, labels: int, joined: int, sample: float) -> float | None:
    """Share of the predictions whose label is known.

    Parameters
    ----------
    predictions
        Rows of predictions, with or without an id.
    labels
        Labels counted, ``joined`` of which found their prediction by its id.
    sample
        Share of the ids that the join keeps: a joined label stands for ``1 / sample``.

    Returns
    -------
    0 to 1; None where there are no predictions, or the join keeps none.
    """
    if predictions <= 0 or sample <= 0.0:
        return None
    return min(1.0, (labels - joined + joined / sample) / predictions)


def count_lags(rows: Rows, part: Ints | None, parts: int) -> Ints:
    """Count the lags section of labels by part: (parts, ``WIDTH``)."""
    places = lag_places(cast(Floats, rows.lags))
    known = places >= 0
    of_part = np.zeros(len(rows), dtype=np.int64) if part is None else part
    counts = np.bincount((of_part * WIDTH + places)[known], minlength=parts * WIDTH)
    sections = counts.reshape(parts, WIDTH)
    if rows.joined:
        sections[:, JOINED_AT] = np.bincount(of_part, minlength=parts)
    return sections
