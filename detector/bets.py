"""Bets against limits: what is multiplied up, row by row, to evidence that may be looked at at any time.

If the mean of a loss x >= 0 is at most m, then ``E[1 + lambda (x/m - 1)] <= 1`` for each lambda in [0, 1]: the product
over rows is what a player owns who bets against the limit in a game that is not in his favour (Waudby-Smith and Ramdas,
"Estimating means of bounded random variables by betting"). Its logarithm is a sum over rows, but no function of their
moments: a profile keeps it for a grid of lambda, rounded down to integers so that it stays additive and valid. Metrics
of classes are bet on in the same way, by what a row of each cell of the confusion table pays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.model_spec import ModelSpec
from schemas.performance import Loss, Metric

Floats = NDArray[np.float64]

LAMBDAS: Final = (0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)
BET_UNIT: Final = 2.0**16
MOST_TIMES: Final = 2.0**20
"""A loss counts for at most so many times its limit."""

LIMITED: Final = {
    Metric.LOG_LOSS: Loss.LOG_LOSS,
    Metric.BRIER: Loss.BRIER,
    Metric.MAE: Loss.ABSOLUTE_ERROR,
    Metric.MSE: Loss.SQUARED_ERROR,
    Metric.RMSE: Loss.SQUARED_ERROR,
    Metric.PINBALL: Loss.PINBALL,
}
"""Metrics that are a mean of a loss that is a number, or the root of one."""


@dataclass(frozen=True, slots=True)
class LossBets:
    """The bets against one limit.

    Attributes
    ----------
    metric
        That is limited.
    loss
        Whose mean it is.
    most
        m, the largest mean that keeps the limit.
    """

    metric: Metric
    loss: Loss
    most: float

    @property
    def width(self) -> int:
        """Rows, and a sum for each lambda."""
        return 1 + len(LAMBDAS)

    def values(self, losses: Floats) -> Floats:
        """Return what rows (n,) add: (n, width) whole numbers; of no meaning where a loss is not known."""
        with np.errstate(invalid="ignore"):
            times = np.minimum(losses / self.most, MOST_TIMES)[:, None]
            logs = np.log1p(np.array(LAMBDAS) * (times - 1.0))
        return np.concatenate([np.ones((len(losses), 1)), np.floor(logs * BET_UNIT)], axis=1)


def loss_bets(spec: ModelSpec) -> tuple[LossBets, ...]:
    """Return the bets that the limits of a spec ask for, in the order of the metrics."""
    limits = spec.outcomes.limits if spec.outcomes is not None else {}
    return tuple(
        LossBets(metric, loss, limits[metric] ** 2 if metric is Metric.RMSE else limits[metric])
        for metric, loss in LIMITED.items()
        if metric in limits
    )


def payoffs(metric: Metric, limit: float, classes: int, *, binary: bool) -> Floats | None:
    """Return what a bet against a limit pays for a row of each cell of the confusion table, at least -1.

    The mean of the payoff is at most 0 exactly where the metric is at least ``limit``. None where a metric is no ratio
    of means of rows, or is not read from the table.
    """
    size = classes if binary else classes + 1
    hit, cells = np.eye(size), np.zeros((size, size))
    if metric is Metric.ACCURACY and classes:
        cells = limit - hit
    elif not binary:
        return None
    elif metric is Metric.PRECISION:
        cells[1] = limit - hit[1]
    elif metric is Metric.RECALL:
        cells[:, 1] = limit - hit[:, 1]
    elif metric is Metric.F1:
        cells[1] = cells[:, 1] = limit
        cells[1, 1] = -2 * (1 - limit)
    else:
        return None
    return np.asarray(cells / -cells.min()).ravel()
