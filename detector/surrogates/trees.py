"""River's Hoeffding trees with a bounded memory: at every moment a function of the rows that are kept.

As in `detector.journal`: with 2W rows the oldest W are dropped and the tree is grown anew from the W that are left,
always, not only after a restart. So the tree knows between W and 2W rows, forgets what is older, and is restored by
growing it again. River is imported when the first tree is made: it takes two seconds, which nobody else pays.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GRACE_ROWS: Final = 50
"""Rows between two attempts to split a leaf: a quarter of River's default, since memories are short."""
MOST_GAUSSIANS: Final = 64
"""Features times classes up to which leaves may be naive Bayes models, which know more but ask each of these."""
DELTA: Final = 1e-3
"""Confidence of a split (River's default is 1e-7, for streams without end)."""


class KeptTree:
    """A Hoeffding tree that knows the last W to 2W rows.

    Parameters
    ----------
    features
        F.
    memory
        W.
    classes
        How many there are; 0 where numbers are foretold.
    """

    def __init__(self, features: int, memory: int, *, classes: int) -> None:
        self._features, self.memory, self._classes = features, memory, classes
        self._rows: NDArray[np.int8] = np.zeros((2 * memory, features), dtype=np.int8)
        self._targets: Floats = np.zeros(2 * memory)
        self._kept = 0
        self._tree: Any = None

    def predict(self, codes: Floats) -> Floats:
        """Foretell the class or the number of each row, (n,); 0 where nothing was learned."""
        if self._tree is None:
            return np.zeros(len(codes))
        predict = self._tree.predict_one
        found = [predict(dict(enumerate(row))) for row in codes.astype(np.int64).tolist()]
        return np.array([0.0 if each is None else each for each in found], dtype=np.float64)

    def learn(self, codes: Floats, targets: Floats) -> None:
        """Learn rows (n, F) of whole numbers from -127 to 127, and what should have been foretold, (n,)."""
        for row, target in zip(codes.astype(np.int8), targets.tolist(), strict=True):
            self._rows[self._kept], self._targets[self._kept] = row, target
            self._kept += 1
            self._grow(self._kept - 1)
            if self._kept == 2 * self.memory:
                self._rows[: self.memory], self._targets[: self.memory] = (
                    self._rows[self.memory :].copy(),
                    self._targets[self.memory :].copy(),
                )
                self._kept = self.memory
                self._regrow()

    def _grow(self, place: int) -> None:
        if self._tree is None:
            self._tree = self._make()
        target: int | float = int(self._targets[place]) if self._classes else float(self._targets[place])
        self._tree.learn_one(dict(enumerate(self._rows[place].tolist())), target)

    def _regrow(self) -> None:
        self._tree = None
        for place in range(self._kept):
            self._grow(place)

    def _make(self) -> Any:
        river = import_module("river.tree")
        if not self._classes:
            return river.HoeffdingTreeRegressor(grace_period=GRACE_ROWS, delta=DELTA)
        leaves = "nba" if self._features * self._classes <= MOST_GAUSSIANS else "mc"
        return river.HoeffdingTreeClassifier(grace_period=GRACE_ROWS, delta=DELTA, leaf_prediction=leaves)

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes: the rows kept."""
        return {"rows": self._rows[: self._kept].copy(), "targets": self._targets[: self._kept].copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Grow the tree again from saved rows.

        Raises
        ------
        ValueError
            If they are too many, or have other features.
        """
        rows, targets = state["rows"], state["targets"]
        fits = rows.ndim == 2 and rows.shape[1] == self._features and len(rows) == len(targets) < 2 * self.memory
        if not fits:
            raise ValueError(f"saved rows of shape {rows.shape} do not fit a memory of {self.memory} rows")
        self._kept = len(rows)
        self._rows[: self._kept], self._targets[: self._kept] = rows, targets
        self._regrow()
