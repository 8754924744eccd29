"""What the detectors of signals take, and what they say after each step: the words between evidence and tiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.ragged import Floats
from schemas.detectors import DetectorName

TIERS: Final = 3
"""Minor, moderate, significant."""


@dataclass(frozen=True)
class SignalBaseline:
    """What one signal is compared with."""

    name: str
    phases: Mapping[int, NDArray[np.int64]]
    """Counts (B,) of the reference by phase; -1 is the whole."""
    ordered: bool
    dispersion: float
    """Rows of the reference that are worth one independent row, at least 1."""
    opens: bool
    """Whether it may open an incident by itself."""
    thresholds: tuple[float, float, float]
    """Scores of minor, moderate and significant."""
    losses: Floats | None = None
    """(B,) what a row in each bin costs. The score is then how much the mean loss has risen, and only a rise is
    evidence. None: any change of the distribution counts."""
    is_rate: bool = False
    """Whether it is a loss that is 0 or 1 and may be as rare as never (`detector.quality.rates`)."""
    follows: bool = False
    """Whether what is expected of a loss follows it downwards (`detector.improvement`)."""


@dataclass(frozen=True, slots=True)
class SignalReading:
    """Where a signal stands after a step."""

    name: str
    score: float
    """PSI, bias removed, of counts with the half-life that foretold recent rows best: short just after a change, long
    when it lasts, so that noise is not taken for a larger change. It is `scores.psi(current, reference)`."""
    quiet_score: float
    """The same of recent rows only, a hundred independent ones or so: whether it is over."""
    evidence: tuple[float, float, float]
    """Nats against each tier's null, at least 0."""
    rows: float
    """Effective number of rows behind the score."""
    half_life: int
    """Of the counts behind the score, in rows."""
    current: Floats
    """(B,) decayed counts, scaled so that they sum to ``rows``."""
    reference: Floats
    """(B,) expected counts in the same mixture of phases, summing to the reference's rows."""
    not_judged: str | None
    """Why there is no evidence, if there can be none."""
    in_step: bool = True
    """Whether the step had rows of the signal."""
    losses: tuple[float, float] | None = None
    """Of a loss its mean, expected and now."""
    detector: DetectorName | None = None
    """The detector of River's whose alarms the evidence is (`detector.chosen`); None: it is the engine's own."""
