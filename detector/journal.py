"""A detector of somebody else's, made bounded in memory and exactly restorable by a journal of what it was told.

The state of River's detectors cannot be read (some are compiled) and grows with the stream in some of them. Instead
their inputs are kept. With 2W values the journal drops the oldest W, and the detector is made anew from the W that are
left, always, not only after a restart. So at every moment the detector is what the values in its journal make of a new
one: a function of the stream, and of the saved journal, to the last bit.

An alarm makes the detector anew and empties the journal, which is what River's own do at the next value. Where a
shorter memory is an alarm while it is made anew, it is told then: the change may lie in the values that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Detector(Protocol):
    """What River's drift detectors have in common."""

    def update(self, x: Any) -> None:
        """Take one value."""

    @property
    def drift_detected(self) -> bool:
        """Whether the last value was an alarm."""


class JournaledDetector:
    """A detector that remembers between W and 2W values since its last alarm.

    Parameters
    ----------
    make
        Makes the detector anew: the same one every time, which draws from no generator but one with a fixed seed.
    memory
        W, at least 1.
    """

    def __init__(self, make: Callable[[], Detector], memory: int) -> None:
        self._make, self.memory = make, memory
        self._detector = make()
        self._journal: list[float] = []

    def update(self, values: Iterable[float]) -> bool:
        """Take values in their order; return whether there was an alarm among them."""
        return sum(self._take(value) for value in values) > 0  # any() would stop at the first alarm

    def reset(self) -> None:
        """Begin anew, as after an alarm."""
        self._detector, self._journal = self._make(), []

    def _take(self, value: float) -> bool:
        self._detector.update(value)
        if self._detector.drift_detected:
            self.reset()
            return True
        self._journal.append(value)
        if len(self._journal) < 2 * self.memory:
            return False
        left = self._journal[-self.memory :]
        self.reset()
        return self.update(left)

    def __len__(self) -> int:
        """Values in the journal, fewer than 2W."""
        return len(self._journal)

    def state(self) -> NDArray[np.float64]:
        """Return what `restore` takes: the journal, oldest first."""
        return np.array(self._journal, dtype=np.float64)

    def restore(self, state: NDArray[np.float64]) -> None:
        """Continue from a saved journal of the same detector, to the last bit.

        Raises
        ------
        ValueError
            If there are more values than a journal has.
        """
        if state.ndim != 1 or len(state) >= 2 * self.memory:
            raise ValueError(f"a saved journal of shape {state.shape} does not fit a memory of {self.memory} values")
        self.reset()
        self.update(state.tolist())
