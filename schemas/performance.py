"""What labels are used for: losses that are watched, metrics that are reported and limited, and what is expected."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from schemas.base import Duration, Outbound


class Loss(StrEnum):
    """What a prediction costs once its label is known: the mean of each is a signal, ``performance:<loss>``."""

    ERROR = "error"
    """1 where another class came true than was predicted: 1 - accuracy."""
    FALSE_DISCOVERY = "false_discovery"
    """Of the rows predicted positive, 1 where the negative class came true: 1 - precision."""
    MISS = "miss"
    """Of the rows that came true positive, 1 where the negative class was predicted: 1 - recall."""
    LOG_LOSS = "log_loss"
    """Minus the logarithm (nats) of the probability that was given to what came true."""
    BRIER = "brier"
    """Squared distance of the probability from what came true, 0 or 1."""
    ABSOLUTE_ERROR = "absolute_error"
    """Distance of the number predicted from the one that came true."""
    SQUARED_ERROR = "squared_error"
    """Its square."""
    PINBALL = "pinball"
    """What a forecast of the quantile q costs: q times what came true above it, 1 - q times what came below."""


class Metric(StrEnum):
    """What people call the quality of a model."""

    ACCURACY = "accuracy"
    PRECISION = "precision"
    RECALL = "recall"
    F1 = "f1"
    AUC = "auc"
    LOG_LOSS = "log_loss"
    BRIER = "brier"
    CALIBRATION_ERROR = "calibration_error"
    MAE = "mae"
    MSE = "mse"
    RMSE = "rmse"
    PINBALL = "pinball"


class LossTiers(Outbound):
    """Rises of the mean loss from which performance counts as worse: minor, moderate, significant."""

    minor: float = Field(gt=0.0)
    moderate: float = Field(gt=0.0)
    significant: float = Field(gt=0.0)

    @model_validator(mode="after")
    def _tiers_are_ordered(self) -> Self:
        if not self.minor <= self.moderate <= self.significant:
            raise ValueError("loss tiers must be ordered: minor <= moderate <= significant")
        return self


class OutcomeSpec(Outbound):
    """Labels come for the predictions, at once or late: they are watched, and the losses that they show."""

    threshold: float = Field(default=0.5, ge=0.0, le=1.0)
    """Score from which the positive class counts as predicted, where events carry no class."""
    losses: tuple[Loss, ...] = ()
    """Further losses to watch. ``error``, for a regression ``absolute_error``, is always watched."""
    quantile: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Which quantile a regression forecasts: of the pinball loss."""
    tiers: dict[Loss, LossTiers] = Field(default_factory=dict)
    """By loss; those not named: 0.02, 0.05, 0.1 for rates, and 10 %, 25 %, 50 % of the reference's mean for numbers
    (twice that for a squared error)."""
    limits: dict[Metric, float] = Field(default_factory=dict)
    """Values that a metric may not surely pass, whatever the reference was: at least for ``accuracy`` and the like, at
    most for losses."""
    limit_tier: Literal["minor", "moderate", "significant"] = "significant"
    """Tier of a limit that is surely broken."""
    estimate: bool = True
    """Whether performance is estimated from the predictions, while labels are still to come."""
    wait: Duration = Field(default=timedelta(days=30), le=timedelta(days=366))
    """How long a prediction waits for its label, and a label for its prediction. Beyond 30 days, let the topic
    ``joins`` keep its records longer too."""
    sample: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the prediction ids whose labels are joined: a hash of the id decides."""
    features: bool = True
    """Whether the features wait with the prediction: surrogate models learn from them, and estimates are corrected by
    them. Without them a waiting prediction takes a fraction of the room."""

    @field_validator("losses")
    @classmethod
    def _losses_are_named_once(cls, value: tuple[Loss, ...]) -> tuple[Loss, ...]:
        if repeated := sorted({each for each in value if value.count(each) > 1}):
            raise ValueError(f"losses named twice: {', '.join(repeated)}")
        return value

    @field_validator("limits")
    @classmethod
    def _limits_can_be_kept_and_broken(cls, value: dict[Metric, float]) -> dict[Metric, float]:
        for metric, limit in value.items():
            if metric in SHARES and not 0.0 < limit < 1.0:
                raise ValueError(f"a limit of {metric} lies between 0 and 1, as in 0.8: {limit:g} does not")
            if not limit > 0.0:
                raise ValueError(f"a limit of {metric} is positive: {limit:g} is not")
        return value

    def tiers_of(self, loss: Loss) -> LossTiers:
        """Return the tiers of a loss: those given, or the defaults."""
        return self.tiers.get(loss, LOSS_TIERS[loss])


class Calibration(Outbound):
    """What the reference's labelled rows tell of the loss to expect of a prediction whose label is not known yet.

    The expected loss of a row is that of its prediction's bin and, for each feature named in ``effects``, what its bin
    adds. Bins of a score are those of ``detector.score_bins``, others those of the signal ``prediction``.
    """

    rows: int = Field(ge=1)
    """Labelled rows of the reference."""
    expected: tuple[float, ...]
    """Mean loss by bin of the prediction."""
    variance: tuple[float, ...]
    """Of one row's loss, by bin of the prediction."""
    counts: tuple[int, ...]
    """Labelled rows by bin of the prediction."""
    positive: tuple[float, ...] = ()
    """For scores: the probability of the positive class in each bin, isotonic."""
    predicted: tuple[float, ...] = ()
    """For scores: the share of rows in each bin for which the positive class was predicted."""
    effects: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """By feature: what each of its bins adds to the expected loss."""
    effect_variances: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """How uncertain that is."""


BASIC_LOSS: Final = {"binary": Loss.ERROR, "multiclass": Loss.ERROR, "regression": Loss.ABSOLUTE_ERROR}
"""The loss that is always watched, by task."""

SHARES: Final = frozenset(
    {Metric.ACCURACY, Metric.PRECISION, Metric.RECALL, Metric.F1, Metric.AUC, Metric.BRIER, Metric.CALIBRATION_ERROR}
)
"""Metrics between 0 and 1."""

HIGHER_IS_BETTER: Final = frozenset({Metric.ACCURACY, Metric.PRECISION, Metric.RECALL, Metric.F1, Metric.AUC})

RATES: Final = frozenset({Loss.ERROR, Loss.FALSE_DISCOVERY, Loss.MISS})
"""Losses of 0 or 1: they rise by so much, where others rise by a share of the reference's mean."""

CONDITIONAL: Final = frozenset({Loss.FALSE_DISCOVERY, Loss.MISS})
"""Losses that only some rows have: the others are not counted."""

_RATE_TIERS: Final = LossTiers(minor=0.02, moderate=0.05, significant=0.1)
_NUMBER_TIERS: Final = LossTiers(minor=0.1, moderate=0.25, significant=0.5)
LOSS_TIERS: Final = {
    Loss.ERROR: _RATE_TIERS,
    Loss.FALSE_DISCOVERY: _RATE_TIERS,
    Loss.MISS: _RATE_TIERS,
    Loss.LOG_LOSS: _NUMBER_TIERS,
    Loss.BRIER: _NUMBER_TIERS,
    Loss.ABSOLUTE_ERROR: _NUMBER_TIERS,
    Loss.SQUARED_ERROR: LossTiers(minor=0.2, moderate=0.5, significant=1.0),
    Loss.PINBALL: _NUMBER_TIERS,
}
"""Defaults: a rate in its own unit, other losses in units of the reference's mean."""

_CLASSES: Final = (Metric.ACCURACY, Metric.PRECISION, Metric.RECALL, Metric.F1)
_SCORES: Final = (Metric.AUC, Metric.LOG_LOSS, Metric.BRIER, Metric.CALIBRATION_ERROR)

LOSSES_OF: Final = {
    ("binary", "score"): (Loss.ERROR, Loss.FALSE_DISCOVERY, Loss.MISS, Loss.LOG_LOSS, Loss.BRIER),
    ("binary", "class"): (Loss.ERROR, Loss.FALSE_DISCOVERY, Loss.MISS),
    ("multiclass", "score"): (Loss.ERROR,),
    ("multiclass", "class"): (Loss.ERROR,),
    ("regression", "number"): (Loss.ABSOLUTE_ERROR, Loss.SQUARED_ERROR, Loss.PINBALL),
}
"""Losses by task and output of the prediction."""

METRICS_OF: Final = {
    ("binary", "score"): (*_CLASSES, *_SCORES),
    ("binary", "class"): _CLASSES,
    ("multiclass", "score"): (Metric.ACCURACY, Metric.CALIBRATION_ERROR),
    ("multiclass", "class"): _CLASSES,
    ("regression", "number"): (Metric.MAE, Metric.MSE, Metric.RMSE, Metric.PINBALL),
}
"""Metrics likewise."""
