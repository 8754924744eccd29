"""What all surrogates have in common, and the reading that their numbers become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.readings import SignalReading
from detector.surrogates.rising import HALF_LIFE, RisingMeans

Floats = NDArray[np.float64]

BLOCK: Final = 16
"""Rows foretold, then learned, at once."""
Z95: Final = 1.96


@dataclass(frozen=True, slots=True)
class Natural:
    """What a mean of a surrogate's numbers is called and worth by people: ``offset + factor * mean``."""

    name: str
    factor: float = 1.0
    offset: float = 0.0

    def of(self, mean: float) -> float:
        """Translate."""
        return self.offset + self.factor * mean


class Surrogate(Protocol):
    """Learns from sampled rows and says what it makes of them."""

    signal: str
    score_name: str
    thresholds: tuple[float, float, float]
    means: RisingMeans
    natural: Natural
    withholds: bool
    """Whether its evidence is not to be heard for now."""

    def weigh(self, *, inputs_drift: bool) -> None:
        """Decide so, given whether a feature drifts by itself."""

    def take(self, table: Floats, carried: NDArray[np.bool_]) -> None:
        """Take sampled rows: a table (n, S), and which signals these rows carry, (S,)."""

    def speaker(self, stream: int) -> str:
        """Name the model behind one of its streams."""

    def not_judged(self) -> str | None:
        """Why there is no evidence, if there can be none yet."""

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state, to the last bit."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a surrogate says of recent rows, in the words of people."""

    reading: SignalReading
    speaker: str
    interval: tuple[float, float]
    expected: float
    actual: float


def speak(surrogate: Surrogate, *, in_step: bool) -> Spoken:
    """Read a surrogate: of its models, the one with the most evidence speaks."""
    means = surrogate.means
    best = int(means.evidence_by_stream()[0, : means.speaking].argmax())
    recent, variance, rows = means.recent()
    score = float(means.score(recent - means.mean)[best])
    error = float(means.score(Z95 * np.sqrt(variance / np.maximum(rows, 1e-9)))[best])
    expected, actual = (surrogate.natural.of(float(each[best])) for each in (means.mean, recent))
    counts: Sequence[Floats] = [
        float(rows[best]) * np.array([1 - mean, mean]) for mean in (recent[best], means.mean[best])
    ]
    reading = SignalReading(
        name=surrogate.signal,
        score=score,
        quiet_score=score,
        evidence=(0.0, 0.0, 0.0) if surrogate.withholds else means.evidence(),
        rows=float(rows[best]),
        half_life=HALF_LIFE,
        current=counts[0],
        reference=counts[1],
        not_judged=surrogate.not_judged(),
        in_step=in_step,
        losses=(expected, actual),
    )
    return Spoken(reading, surrogate.speaker(best), (score - error, score + error), expected, actual)
