"""What a chosen detector is told of a step: it never sees rows, since a step is counts.

============================  ======================================  =============================================
detectors                     of a number                             of a category, a boolean or an error
============================  ======================================  =============================================
`adwin`, `page_hinkley`       the step's mean minus the reference's,  rows: 1 outside the reference's most frequent
                              in sd of the reference; missing and     bin, 0 in it
                              invalid values left out
`kswin`                       the same                                the share of such rows minus the reference's
`ddm`, `eddm`, `hddm_a`,      (refused by the spec)                   rows, as above
`hddm_w`
============================  ======================================  =============================================

With seasons, the reference is that of each row's own hour. Rows of zeros and ones know none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.bins import NumberBinner
from detector.expectation import WHOLE
from detector.layout import Layout

Vectors = Mapping[int, NDArray[np.int64]]
"""Vectors of a layout by phase."""

MOST_ROWS_A_STEP: Final = 32
"""Rows of zeros and ones that stand for a step of more."""
_PRIOR_ROWS: Final = 50.0
"""Rows of the whole reference that each phase's mean is shrunk towards."""


class Feed(Protocol):
    """Turns the counts of a step into values for one detector of one signal."""

    def values(self, parts: Vectors) -> list[float]:
        """Values of a step that has rows of the signal; none where it has nothing to say."""

    def state(self) -> float:
        """Return what `restore` takes."""

    def restore(self, state: float) -> None:
        """Continue from a saved state."""


class _Ones:
    """Counts the rows outside the reference's most frequent bin: the first of several."""

    def __init__(self, layout: Layout, signal: int, reference: Vectors) -> None:
        self._layout, self._signal = layout, signal
        self._common = int(np.argmax(layout.signal_counts(reference[WHOLE])[signal]))

    def of(self, vector: NDArray[np.int64]) -> tuple[int, int]:
        """Ones, and rows."""
        counts = self._layout.signal_counts(vector)[self._signal]
        rows = int(counts.sum())
        return rows - int(counts[self._common]), rows


class StepMeans:
    """One value a step: how far its mean lies from the reference's.

    Parameters
    ----------
    reference
        Vectors of the reference by phase, ``WHOLE`` among them (`reference.reference_vectors`).
    """

    def __init__(self, layout: Layout, signal: int, reference: Vectors) -> None:
        self._layout, self._signal = layout, signal
        binner = layout.binners[signal]
        self._bins = binner.bins if isinstance(binner, NumberBinner) else None
        self._ones = _Ones(layout, signal, reference)
        total, rows = self._total(reference[WHOLE])
        self._whole = total / rows if rows else 0.0
        self._phases = {phase: self._shrunk(vector) for phase, vector in reference.items() if phase != WHOLE}

    def values(self, parts: Vectors) -> list[float]:
        """The step's mean minus the expected one; nothing where all values are missing."""
        gap, rows = 0.0, 0
        for phase in sorted(parts):
            total, count = self._total(parts[phase])
            gap += total - count * self._phases.get(phase, self._whole)
            rows += count
        return [gap / rows] if rows else []

    def state(self) -> float:
        """Nothing is carried from step to step."""
        return 0.0

    def restore(self, state: float) -> None:
        """Nothing to do."""

    def _total(self, vector: NDArray[np.int64]) -> tuple[float, int]:
        """Sum of the values that are there, in sd of the reference from its median (or of ones), and their number."""
        if self._bins is None:
            return self._ones.of(vector)
        mean, values = self._layout.mean(vector, self._signal), self._layout.values(vector, self._signal)
        return (0.0, 0) if mean is None else (values * (mean - self._bins.center) / self._bins.scale, values)

    def _shrunk(self, vector: NDArray[np.int64]) -> float:
        total, rows = self._total(vector)
        return (total + _PRIOR_ROWS * self._whole) / (rows + _PRIOR_ROWS)


class SpreadOnes:
    """Rows of zeros and ones, the ones spread evenly over a step, whose order of rows is not known.

    A step of more than ``MOST_ROWS_A_STEP`` rows is told as so many with the same rate of ones. What is left over of a
    one is carried to the next step, so that small rates are kept too.
    """

    def __init__(self, layout: Layout, signal: int, reference: Vectors) -> None:
        self._ones = _Ones(layout, signal, reference)
        self._carry = 0.5

    def values(self, parts: Vectors) -> list[float]:
        """The rows of a step."""
        counted = [self._ones.of(vector) for vector in parts.values()]
        ones, rows = (sum(column) for column in zip(*counted, strict=True))
        told = min(rows, MOST_ROWS_A_STEP)
        if not told:
            return []
        reached = np.floor(self._carry + ones * np.arange(told + 1) / rows)
        self._carry += ones * told / rows - float(reached[-1])
        return np.diff(reached).tolist()  # type: ignore[no-any-return]

    def state(self) -> float:
        """The part of a one that is still to be told, 0 to 1."""
        return self._carry

    def restore(self, state: float) -> None:
        """Continue from a saved part of a one."""
        self._carry = state


def means_or_ones(layout: Layout, signal: int, reference: Vectors) -> Feed:
    """The means of a number's steps, and rows of zeros and ones of everything else."""
    of_number = isinstance(layout.binners[signal], NumberBinner)
    return StepMeans(layout, signal, reference) if of_number else SpreadOnes(layout, signal, reference)
