"""Ridge regression with forgetting: a linear model that has learned a few dozen rows to the full.

``w = (A + lambda I)^-1 b`` with ``A <- g A + z' z`` and ``b <- g b + z' y`` over blocks of rows, ``g = 2^(-rows /
half-life)``. All that it knows is A and b, so it is bounded, saved exactly, and needs no step size; River's linear
models take one stochastic gradient step a row, of which a few dozen teach little (measured: docs/decisions/0010).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RIDGE: Final = 4.0
"""lambda: so many rows' worth of weight on "no influence", for columns of variance 1."""


class Ridge:
    """Linear in K columns, with C outputs.

    Parameters
    ----------
    columns, outputs
        K and C.
    half_life
        In rows; infinite: nothing is forgotten.
    """

    def __init__(self, columns: int, outputs: int, half_life: float = np.inf) -> None:
        self._half_life = half_life
        self.a: Floats = np.zeros((columns, columns))
        self.b: Floats = np.zeros((columns, outputs))

    def predict(self, z: Floats) -> Floats:
        """Foretell the outputs of rows, (n, C)."""
        return np.asarray(z[:, : len(self.a)] @ self.weights())

    def weights(self) -> Floats:
        """Return w, (K, C)."""
        return np.asarray(np.linalg.solve(self.a + RIDGE * np.eye(len(self.a)), self.b))

    def learn(self, z: Floats, targets: Floats) -> None:
        """Learn a block of rows (n, K) and what should have been foretold, (n, C)."""
        z = z[:, : len(self.a)]
        keep = 0.5 ** (len(z) / self._half_life)
        self.a = keep * self.a + z.T @ z
        self.b = keep * self.b + z.T @ targets

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {"a": self.a.copy(), "b": self.b.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state, to the last bit.

        Raises
        ------
        ValueError
            If it is of a model of another size.
        """
        if state["a"].shape != self.a.shape or state["b"].shape != self.b.shape:
            raise ValueError("a saved linear model does not fit the features")
        self.a, self.b = state["a"].copy(), state["b"].copy()
