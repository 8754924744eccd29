"""Metrics of pairs of predictions and labels, with 95 % confidence intervals, from additive counts alone.

Counts may be weighted: what is given sums to the effective number of rows, so that intervals have the right width.
All intervals are for one look, and for independent rows unless the counts were scaled down for bursts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detector.intervals import Z
from detector.pairs import SQUARE_UNIT, UNIT, PairCounts
from detector.score_bins import BINS, MIDDLES
from schemas.performance import METRICS_OF, Metric

Floats = NDArray[np.float64]

CALIBRATION_GROUPS: Final = 10
"""Groups of scores of equal width over which the calibration error is averaged."""
_ITERATIONS: Final = 30
_GROUP: Final = np.minimum((MIDDLES * CALIBRATION_GROUPS).astype(np.int64), CALIBRATION_GROUPS - 1)


@dataclass(frozen=True, slots=True)
class Measure:
    """The value of a metric, and how sure it is."""

    value: float
    error: float
    """Standard error."""
    low: float
    high: float
    """Of the 95 % confidence interval."""
    rows: float
    """Effective rows that the value rests on: of precision those predicted positive, of recall those that are."""


@dataclass(frozen=True, slots=True)
class PairTables:
    """Sections of `PairCounts` as tables, in natural units.

    Attributes
    ----------
    confusion
        (K, K) rows by class predicted and class that came true; in a binary task negative and positive.
    by_score
        (B, 2) rows by fine bin of the score and by what came true.
    score_sums
        (B,) sums of scores.
    score_losses
        (4,) sums of log losses, their squares, Brier losses, their squares.
    errors
        (6,) rows, sums of ``|e|``, ``e^2``, ``e^4``, pinball losses and their squares, in the label's unit.
    others
        Whether the last class of the confusion table stands for several.
    """

    confusion: Floats
    by_score: Floats
    score_sums: Floats
    score_losses: Floats
    errors: Floats
    others: bool = False

    @classmethod
    def of(cls, pairs: PairCounts, vector: NDArray[Any], weight: float = 1.0) -> PairTables:
        """Read them from a vector; all counts are multiplied by ``weight``."""
        cells = pairs.of(vector, "confusion") * weight
        size = round(np.sqrt(len(cells)))
        table = pairs.of(vector, "table") * weight
        sums = pairs.of(vector, "errors") * weight
        scale = pairs.scale
        if len(sums):
            sums = sums * [1, scale / UNIT, scale**2 / UNIT, scale**4 / SQUARE_UNIT, scale / UNIT, scale**2 / UNIT]
        return cls(
            cells.reshape(size, size),
            table[: 2 * BINS].reshape(-1, 2),
            table[2 * BINS : 3 * BINS] / UNIT,
            table[3 * BINS :] / ([UNIT, SQUARE_UNIT, UNIT, UNIT] if len(table) else 1.0),
            sums,
            others=size > len(pairs.classes),
        )


def measure_pairs(pairs: PairCounts, vector: NDArray[Any], weight: float = 1.0) -> dict[Metric, Measure]:
    """Return the metrics of the model's task that have rows, in the order of the registry.

    Parameters
    ----------
    vector
        In the layout of the model version; counts may be decayed.
    weight
        Effective rows that a counted row is worth.
    """
    spec = pairs.spec
    output = spec.prediction.output if spec.prediction is not None else ""
    return measure_tables(PairTables.of(pairs, vector, weight), METRICS_OF.get((spec.task, output), ()))


def measure_tables(tables: PairTables, metrics: tuple[Metric, ...]) -> dict[Metric, Measure]:
    """Return those of the metrics that have rows."""
    found = ((metric, MEASURES[metric](tables)) for metric in metrics)
    return {metric: measure for metric, measure in found if measure is not None}


# ------------------------------------------------------------------------------------------------------------- classes


def wilson(hits: float, rows: float) -> Measure | None:
    """Share of hits, with Wilson's score interval (1927): right also near 0 and 1, where the normal one is not."""
    if rows <= 0:
        return None
    share, square = hits / rows, Z * Z
    middle = (hits + square / 2) / (rows + square)
    half = Z / (rows + square) * np.sqrt(max(hits * (rows - hits) / rows, 0.0) + square / 4)
    error = float(half / Z)
    return Measure(share, error, float(max(middle - half, 0.0)), float(min(middle + half, 1.0)), rows)


def accuracy(tables: PairTables) -> Measure | None:
    """Share of rows whose class was predicted; those of rare classes that share a place count as one class."""
    cells = tables.confusion if tables.confusion.size else np.diag(tables.by_score.sum(axis=0))
    if not tables.confusion.size:  # of a score of several classes: 1 where the model was right
        return wilson(float(cells[1, 1]), float(cells.sum()))
    return wilson(float(np.trace(cells)), float(cells.sum()))


def precision(tables: PairTables) -> Measure | None:
    """Of the rows predicted positive, the share that are; for several classes the mean of their precisions."""
    cells = tables.confusion
    if _is_binary(tables):
        return wilson(float(cells[1, 1]), float(cells[1].sum()))
    return _macro(tables, 1.0, cells.sum(axis=1), lambda k: np.eye(len(cells))[k][:, None])


def recall(tables: PairTables) -> Measure | None:
    """Of the rows that are positive, the share predicted so; for several classes the mean of their recalls."""
    cells = tables.confusion
    if _is_binary(tables):
        return wilson(float(cells[1, 1]), float(cells[:, 1].sum()))
    return _macro(tables, 1.0, cells.sum(axis=0), lambda k: np.eye(len(cells))[k][None, :])


def f1(tables: PairTables) -> Measure | None:
    """Harmonic mean of precision and recall, ``2 TP / (2 TP + FP + FN)``; for several classes the mean over them."""
    cells = tables.confusion

    def either(k: int) -> Floats:
        row = np.eye(len(cells))[k]
        return np.asarray(row[:, None] + row[None, :])

    return _macro(tables, 2.0, cells.sum(axis=0) + cells.sum(axis=1), either)


def _is_binary(tables: PairTables) -> bool:
    return len(tables.confusion) == 2 and not tables.others


def _macro(tables: PairTables, per_hit: float, under: Floats, members: Callable[[int], Floats]) -> Measure | None:
    """Mean over classes of ``per_hit hits / under``, by the delta method.

    ``members(k)`` says how often a row of each cell (K, K) counts in ``under`` of class k. One row more in a cell moves
    the ratio r of class k by ``(per_hit [it is a hit] - r members) / under``; a ratio of counts does not change when
    all are multiplied, so that the variance is the sum of the squares of these, over all rows.
    """
    cells = tables.confusion
    named = [1] if _is_binary(tables) else range(len(cells) - tables.others)
    classes = [k for k in named if under[k] > 0]
    if not classes:
        return None
    ratios = {k: per_hit * float(cells[k, k] / under[k]) for k in classes}
    gradient = np.zeros(cells.shape)
    for k in classes:
        gradient -= ratios[k] * members(k) / under[k]
        gradient[k, k] += per_hit / under[k]
    error = float(np.sqrt((cells * gradient**2).sum())) / len(classes)
    return _normal(sum(ratios.values()) / len(classes), error, float(cells.sum()), 0.0, 1.0)


# -------------------------------------------------------------------------------------------------------------- scores


def auc(tables: PairTables) -> Measure | None:
    """Probability that a positive row has a higher score than a negative one, ties counting half; by fine bins.

    Variance after DeLong, DeLong and Clarke-Pearson (1988): that of the rows' placements among the other class.
    """
    negative, positive = tables.by_score.T if tables.by_score.size else (np.zeros(0), np.zeros(0))
    of_negatives, of_positives = float(negative.sum()), float(positive.sum())
    if min(of_negatives, of_positives) <= 1:
        return None
    below = (np.cumsum(negative) - negative / 2) / of_negatives
    above = 1 - (np.cumsum(positive) - positive / 2) / of_positives
    value = float(positive @ below) / of_positives
    variance = float(positive @ (below - value) ** 2) / of_positives / (of_positives - 1)
    variance += float(negative @ (above - value) ** 2) / of_negatives / (of_negatives - 1)
    return _normal(value, float(np.sqrt(variance)), of_negatives + of_positives, 0.0, 1.0)


def calibration_error(tables: PairTables) -> Measure | None:
    """Expected calibration error: mean distance of score and share of positives, over ten groups of scores.

    By chance alone the distance d of a group is seen larger than it is, by ``2 se phi(d / se) - 2 d Phi(-d / se)`` with
    se the standard error of its share of positives (the mean of a folded normal law): the d that explains what is seen
    is taken, 0 where that is less than chance makes.
    """
    by_group = np.zeros((CALIBRATION_GROUPS, 2))
    sums = np.zeros(CALIBRATION_GROUPS)
    if tables.by_score.sum() <= 0:
        return None
    np.add.at(by_group, _GROUP, tables.by_score)
    np.add.at(sums, _GROUP, tables.score_sums)
    rows = by_group.sum(axis=1)
    full = rows > 0
    rows, positives, sums = rows[full], by_group[full, 1], sums[full]
    n = float(rows.sum())
    share, score = positives / rows, sums / rows
    gap = np.abs(share - score)
    # One row of each kind more, so that a group of equal outcomes is not taken for certain.
    spread = (positives + 1) * (rows - positives + 1) / (rows + 2) ** 2
    error = np.sqrt(max(float(rows / n @ (spread + gap**2)) - float(rows / n @ gap) ** 2, 0.0) / n)
    return _normal(float(rows / n @ _unfolded(gap, np.sqrt(spread / rows))), float(error), n, 0.0, 1.0)


def _unfolded(seen: Floats, error: Floats) -> Floats:
    """Return d >= 0 for which the mean of |N(d, error^2)| is what was seen, by fixed-point iteration."""
    distance = seen
    for _ in range(_ITERATIONS):
        z = distance / error
        excess = 2 * error * np.exp(-z * z / 2) / np.sqrt(2 * np.pi) - 2 * distance * special.ndtr(-z)
        distance = np.maximum(seen - excess, 0.0)
    return distance


def log_loss(tables: PairTables) -> Measure | None:
    """Mean log loss, nats."""
    return _mean(float(tables.by_score.sum()), tables.score_losses[:2])


def brier(tables: PairTables) -> Measure | None:
    """Mean Brier loss."""
    return _mean(float(tables.by_score.sum()), tables.score_losses[2:])


# ------------------------------------------------------------------------------------------------------------- numbers


def mae(tables: PairTables) -> Measure | None:
    """Mean absolute error."""
    return _mean(_rows(tables), tables.errors[1:3])


def mse(tables: PairTables) -> Measure | None:
    """Mean squared error."""
    return _mean(_rows(tables), tables.errors[2:4])


def rmse(tables: PairTables) -> Measure | None:
    """Root of the mean squared error; the interval is the root of its interval."""
    square = mse(tables)
    if square is None:
        return None
    value, low, high = (float(np.sqrt(each)) for each in (square.value, square.low, square.high))
    return Measure(value, square.error / (2 * value) if value > 0 else 0.0, low, high, square.rows)


def pinball(tables: PairTables) -> Measure | None:
    """Mean pinball loss at the spec's quantile."""
    return _mean(_rows(tables), tables.errors[4:6])


def _rows(tables: PairTables) -> float:
    return float(tables.errors[0]) if len(tables.errors) else 0.0


def _mean(rows: float, sums: Floats) -> Measure | None:
    """Mean of a loss from its sum and the sum of its squares, with a normal interval."""
    if rows <= 0:
        return None
    value = float(sums[0]) / rows
    variance = max(float(sums[1]) / rows - value * value, 0.0)
    return _normal(value, float(np.sqrt(variance / rows)), rows, 0.0, np.inf)


def _normal(value: float, error: float, rows: float, least: float, most: float) -> Measure:
    return Measure(value, error, max(value - Z * error, least), min(value + Z * error, most), rows)


MEASURES: Final[Mapping[Metric, Callable[[PairTables], Measure | None]]] = {
    Metric.ACCURACY: accuracy,
    Metric.PRECISION: precision,
    Metric.RECALL: recall,
    Metric.F1: f1,
    Metric.AUC: auc,
    Metric.LOG_LOSS: log_loss,
    Metric.BRIER: brier,
    Metric.CALIBRATION_ERROR: calibration_error,
    Metric.MAE: mae,
    Metric.MSE: mse,
    Metric.RMSE: rmse,
    Metric.PINBALL: pinball,
}
