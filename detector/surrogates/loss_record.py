"""The production model's loss of labelled rows: in the calm stretch, of late, and what the features let foresee.

The calm stretch teaches two things about rows by their features: the labels, and the loss of the production model. The
second foretells, for the features of recent rows, what the model loses on such rows when nothing else has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.surrogates.ridge import Ridge

Floats = NDArray[np.float64]

HALF_LIFE: Final = 128.0
"""Of what is recent, in labelled rows: the loss, the features, and a model of recent labels."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean losses of the production model, and what they rest on."""

    before: float
    realised: float
    expected: float
    """For the features of recent rows."""
    variance: float
    """Of the loss of one recent row."""
    rows: float
    """Recent ones, independent ones as if all had the same weight."""
    calm_rows: float

    @property
    def error(self) -> float:
        """Standard error of ``realised - expected``, for independent rows."""
        return float(np.sqrt(self.variance * (1 / self.rows + 1 / self.calm_rows)))


class LossRecord:
    """Keeps them.

    Parameters
    ----------
    columns, outputs
        K of the basis, and outputs of a model of labels.
    """

    def __init__(self, columns: int, outputs: int) -> None:
        self._calm = Ridge(columns, outputs + 1)
        """Of the labels, and in the last output the loss."""
        self._lately = Ridge(columns, outputs, HALF_LIFE)
        self._calm_loss = np.zeros(2)
        """Sum of the loss in the calm stretch, and rows."""
        self._recent = np.zeros(columns + 4)
        """Decayed sums over labelled rows: the basis, the loss and its square, the weights and theirs."""

    def learn_calm(self, z: Floats, targets: Floats, loss: Floats) -> None:
        """Learn rows of the calm stretch: basis (n, K), labels as outputs (n, C), losses (n,)."""
        self._calm.learn(z, np.column_stack([targets, loss]))
        self._calm_loss = self._calm_loss + np.array([loss.sum(), len(loss)])

    def learn(self, z: Floats, targets: Floats, loss: Floats) -> None:
        """Learn rows of the stream."""
        self._lately.learn(z, targets)
        keep = 0.5 ** (len(z) / HALF_LIFE)
        weights = np.array([*[keep] * (len(self._recent) - 1), keep**2])
        self._recent = self._recent * weights + [*z.sum(axis=0), loss.sum(), (loss**2).sum(), len(z), len(z)]

    def labels(self, z: Floats) -> tuple[Floats, Floats]:
        """Foretell labels as outputs, (n, C): by what the calm stretch taught, and by what recent rows did."""
        return np.asarray(z @ self._calm.weights()[:, :-1]), self._lately.predict(z)

    def compare(self) -> Losses | None:
        """Compare; None without rows."""
        *sums, loss, square, weight, squares = self._recent.tolist()
        calm_loss, calm_rows = self._calm_loss.tolist()
        rows = weight**2 / max(squares, 1e-300)
        if rows < 1 or calm_rows < 1:
            return None
        mean = loss / weight
        expected = float(np.array(sums) / weight @ self._calm.weights()[:, -1])
        return Losses(calm_loss / calm_rows, mean, expected, max(square / weight - mean**2, 1e-6), rows, calm_rows)

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {
            "calm": self._calm.state(),
            "lately": self._lately.state(),
            "calm_loss": self._calm_loss.copy(),
            "recent": self._recent.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state, to the last bit."""
        self._calm.restore(state["calm"])
        self._lately.restore(state["lately"])
        self._calm_loss, self._recent = state["calm_loss"].copy(), state["recent"].copy()
