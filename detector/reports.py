"""What is said of a model's performance: metrics of recent rows, beside those of the reference and the estimate.

Recent means decayed with a half-life of 2,048 rows, of labels and of predictions each for themselves, since labels come
later. The estimate is corrected by what labels have taught: with d the mean of realised less expected losses over
recent matched rows, and v its variance, the correction is ``d max(0, 1 - v / d^2)`` (the positive part of James and
Stein's estimator): nothing while d may be chance, nearly all of it where it cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detector.expectation import WHOLE
from detector.expected_tables import expected_tables
from detector.intervals import Z
from detector.layout import Layout
from detector.pairs import UNIT
from detector.performance import MEASURES, measure_pairs
from detector.reference import reference_vectors
from schemas.model_spec import ESTIMATED_PERFORMANCE, feature_signal
from schemas.outbound import MetricStatus
from schemas.performance import METRICS_OF, RATES, Loss, Metric

Floats = NDArray[np.float64]

HALF_LIFE: Final = 2_048.0
_STATE: Final = ("labelled", "predicted", "tallies")
_SCORED: Final = (Metric.PRECISION, Metric.RECALL, Metric.F1, Metric.AUC)
"""Metrics that are estimated from scores, beside the one that the basic loss is the mean of."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A loss that is expected, corrected."""

    loss: float
    error: float
    """Standard error of what the labels will show."""
    correction: float | None


class PerformanceReport:
    """Metrics of one model version in one stage.

    Parameters
    ----------
    layout
        Of a spec with outcomes and a prediction; of others nothing is reported.
    """

    def __init__(self, layout: Layout) -> None:
        spec = layout.spec
        self._layout, self._pairs, self._spec = layout, layout.pairs, spec
        output = spec.prediction.output if spec.prediction is not None else ""
        self._metrics = METRICS_OF.get((spec.task, output), ()) if spec.loss is not None else ()
        self.labelled, self.predicted = np.zeros((2, layout.width))
        self.tallies = np.zeros(5)
        """Sums of weights of labels and of predictions and of their squares, and the sum of expected losses."""
        self.reference: Mapping[Metric, float] = {}
        self._calibration = None if spec.reference.frozen is None else spec.reference.frozen.calibration
        if self._metrics:
            whole = reference_vectors(spec, layout)[WHOLE]
            self.reference = {metric: each.value for metric, each in measure_pairs(self._pairs, whole).items()}

    def add(self, vector: NDArray[np.int64]) -> None:
        """Take in the rows of a step, given as one vector of the layout, all phases together."""
        if not self._metrics:
            return
        labels, expected = self._layout.label_rows(vector), 0.0
        estimates = 0
        if self._layout.expected is not None:
            index = self._layout.signals.index(ESTIMATED_PERFORMANCE)
            estimates = self._layout.values(vector, index)
            expected = (self._layout.mean(vector, index) or 0.0) * estimates
        keep_labels, keep = np.exp2(-np.array([labels, estimates]) / HALF_LIFE)
        self.labelled = self.labelled * keep_labels + vector
        self.predicted = self.predicted * keep + vector
        decay = np.array([keep_labels, keep, keep_labels**2, keep**2, keep])
        self.tallies = self.tallies * decay + [labels, estimates, labels, estimates, expected]

    def metrics(self, burst: float = 1.0) -> tuple[MetricStatus, ...]:
        """Say where each metric stands; ``burst`` rows are worth one independent row."""
        if not self._metrics:
            return ()
        rows, squares = self.tallies[0], self.tallies[2]
        weight = float(rows / squares) / burst if squares > 0 else 1.0
        measured = measure_pairs(self._pairs, self.labelled, weight)
        estimates = self._estimates(burst)
        limits = self._spec.outcomes.limits if self._spec.outcomes is not None else {}
        statuses = []
        for metric in self._metrics:
            own, guess = measured.get(metric), estimates.get(metric)
            statuses.append(
                MetricStatus(
                    metric=metric,
                    value=None if own is None else round(own.value, 6),
                    interval=None if own is None else (round(own.low, 6), round(own.high, 6)),
                    rows=0.0 if own is None else round(own.rows, 1),
                    reference=None if metric not in self.reference else round(self.reference[metric], 6),
                    limit=limits.get(metric),
                    **(guess or {}),
                )
            )
        return tuple(statuses)

    # ---------------------------------------------------------------------------------------------- the estimate

    def estimate(self, burst: float = 1.0) -> Estimate | None:
        """Return the basic loss to expect of recent predictions; None without a calibration or predictions."""
        rows, squares, expected = self.tallies[1], self.tallies[3], self.tallies[4]
        if self._calibration is None or self._layout.expected is None or rows <= 0:
            return None
        shares = self._shares(self._answer_bins(self.predicted))
        variance = np.array(self._calibration.variance)
        of_row = burst * float(shares @ variance)
        error = self._calibration_error(shares, variance, burst) + of_row * squares / rows**2
        correction, more = self._correction(of_row)
        loss = float(expected / rows) + (correction or 0.0)
        largest = 1.0 if self._spec.loss in RATES else np.inf
        return Estimate(min(max(loss, 0.0), largest), float(np.sqrt(error + more)), correction)

    def _calibration_error(self, shares: Floats, variance: Floats, burst: float) -> float:
        """Variance of the mean expected loss: what the reference's own labels leave open."""
        calibration = self._calibration
        if calibration is None:
            return 0.0
        found = burst * float(shares**2 @ (variance / np.maximum(calibration.counts, 1)))
        for name, each in calibration.effect_variances.items():
            index = self._layout.signals.index(feature_signal(name))
            found += float(self._shares(self.predicted[self._layout.slices[index]]) ** 2 @ np.array(each))
        return found

    def _correction(self, of_row: float) -> tuple[float | None, float]:
        """What recent labels teach, and its variance; nothing where none of them has an expected loss."""
        matched, realised, expected = self._pairs.of(self.labelled, "matched")
        if matched <= 0:
            return None, 0.0
        gap = (realised - expected) / matched * self._pairs.scale / UNIT
        variance = of_row * self.tallies[2] / max(self.tallies[0], 1e-300) / matched
        trust = max(1.0 - variance / max(gap * gap, 1e-300), 0.0)
        return float(trust * gap), float(trust * variance)

    def _answer_bins(self, vector: Floats) -> Floats:
        scores = self._pairs.of(vector, "scores")
        return scores if len(scores) else vector[self._layout.slices[len(self._spec.features)]]

    @staticmethod
    def _shares(counts: Floats) -> Floats:
        return np.asarray(counts / max(float(counts.sum()), 1e-300))

    def _estimates(self, burst: float) -> dict[Metric, dict[str, Any]]:
        """Return the estimates by metric, as fields of a status."""
        basic = self.estimate(burst)
        if basic is None or self._calibration is None:
            return {}
        sign, base = (-1.0, 1.0) if self._spec.loss is Loss.ERROR else (1.0, 0.0)
        ends = sorted(base + sign * (basic.loss + side * Z * basic.error) for side in (-1, 1))
        low, high = max(ends[0], 0.0), min(ends[1], 1.0) if self._spec.loss in RATES else ends[1]
        found: dict[Metric, dict[str, Any]] = {
            Metric.ACCURACY if self._spec.loss is Loss.ERROR else Metric.MAE: {
                "estimate": round(base + sign * basic.loss, 6),
                "estimate_interval": (round(low, 6), round(high, 6)),
                "correction": None if basic.correction is None else round(sign * basic.correction, 6) + 0.0,
            }
        }
        if self._calibration.predicted:
            weight = float(self.tallies[1] / self.tallies[3]) / burst
            tables = expected_tables(self._calibration, self._pairs.of(self.predicted, "scores") * weight)
            for metric in _SCORED:
                if (each := MEASURES[metric](tables)) is not None:
                    interval = (round(each.low, 6), round(each.high, 6))
                    found[metric] = {"estimate": round(each.value, 6), "estimate_interval": interval}
        return found

    # ------------------------------------------------------------------------------------------------- what is saved

    def state(self) -> dict[str, Floats]:
        """Return what `restore` takes."""
        return {name: getattr(self, name).copy() for name in _STATE}

    def restore(self, state: Mapping[str, Floats]) -> None:
        """Continue from a saved state; one of an earlier version of driftline has none."""
        for name in _STATE:
            if name in state:
                setattr(self, name, state[name].copy())
