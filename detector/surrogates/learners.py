"""What challengers are: linear models and trees that foretell a block of labelled rows, then learn it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.surrogates.ridge import Ridge
from detector.surrogates.trees import KeptTree

Floats = NDArray[np.float64]


class Learner(Protocol):
    """One challenger."""

    name: str

    def predict(self, z: Floats, codes: Floats) -> Floats:
        """Foretell classes (their numbers) or numbers, (n,)."""

    def learn(self, z: Floats, codes: Floats, target: Floats) -> None:
        """Learn a block."""

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""


class LinearLearner:
    """A ridge regression; of classes on indicators, the largest of which is the answer."""

    def __init__(self, name: str, columns: int, classes: int, half_life: float) -> None:
        self.name, self.classes = name, classes
        self.ridge = Ridge(columns, max(classes, 1), half_life)

    def predict(self, z: Floats, codes: Floats) -> Floats:
        """Foretell."""
        return answer(self.ridge.predict(z), self.classes)

    def learn(self, z: Floats, codes: Floats, target: Floats) -> None:
        """Learn."""
        self.ridge.learn(z, targets(target, self.classes))

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return self.ridge.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self.ridge.restore(state)


class TreeLearner:
    """A Hoeffding tree of River's."""

    def __init__(self, name: str, features: int, classes: int, memory: int) -> None:
        self.name = name
        self._tree = KeptTree(features, memory, classes=classes)

    def predict(self, z: Floats, codes: Floats) -> Floats:
        """Foretell."""
        return self._tree.predict(codes)

    def learn(self, z: Floats, codes: Floats, target: Floats) -> None:
        """Learn."""
        self._tree.learn(codes, target)

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return self._tree.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self._tree.restore(state)


def learners(columns: int, linear: int, features: int, classes: int) -> Sequence[Learner]:
    """Make all challengers of one model: K columns, so many of which are linear, F features, C classes or 0."""
    return (
        LinearLearner("constant, 24 rows", 1, classes, 24),
        LinearLearner("linear, 32 rows", linear, classes, 32),
        LinearLearner("quadratic, 512 rows", columns, classes, 512),
        TreeLearner("tree, 256 rows", features, classes, 256),
    )


def targets(target: Floats, classes: int) -> Floats:
    """Write targets as outputs, (n, C): indicators of classes, or the number itself."""
    if not classes:
        return target[:, None]
    return np.asarray(np.eye(classes)[target.astype(np.int64)])


def answer(outputs: Floats, classes: int) -> Floats:
    """Read outputs (n, C) as what is foretold, (n,)."""
    return outputs.argmax(axis=1).astype(np.float64) if classes else outputs[:, 0]
