"""The demo's model: gradient boosting that tells, at departure, whether a flight will arrive more than 15 minutes late.

It is trained on January to March. What it answers there is answered by models that did not see the days in question
(three blocks of days, one after the other): answers on rows that a model was trained on are too sure of themselves, and
a reference made of them would make every new day look like drift.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from agents.demo.flights import CATEGORIES, FEATURES, LATE, ON_TIME, TIMEZONE, Flights
from agents.files import by_source
from detector.outcomes import outcome_columns
from detector.reference import freeze
from detector.rows import Column, Rows, Source
from schemas.model_spec import (
    FeatureSpec,
    FeatureType,
    ModelSpec,
    Output,
    PredictionSpec,
    Seasonality,
    StepSpec,
    SurrogateSpec,
    Task,
)
from schemas.performance import Loss, OutcomeSpec

MODEL: Final = "flight-delay"
VERSION: Final = "2013-q1"
OWNER: Final = "airport-operations"
THRESHOLD: Final = 0.5
"""Probability from which a flight is predicted to be late."""
BLOCKS: Final = 3
_SEED: Final = 0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DelayModel:
    """A trained model."""

    classifier: HistGradientBoostingClassifier
    codes: dict[str, NDArray[np.str_]]
    """Categories that the model knows, by feature."""

    def score(self, flights: Flights) -> Floats:
        """(n,) probabilities of being late."""
        return _score(self.classifier, _matrix(flights, self.codes))


@dataclass(frozen=True, slots=True)
class Trained:
    """What training leaves behind."""

    model: DelayModel
    scores: Floats
    """(n,) answers on the training months, each by a model that did not see the day."""
    importance: dict[str, float]
    """By feature: how much AUC is lost on unseen days when its values change places; the most important has 1."""


def train(flights: Flights, progress: Callable[[], None] = lambda: None) -> Trained:
    """Train on flights of which the outcome is known; ``progress`` is called ``BLOCKS + 1`` times."""
    codes = {name: np.unique(flights.column(name)) for name in CATEGORIES}
    x, known = _matrix(flights, codes), flights.arrived
    scores = np.empty(len(flights))
    losses = np.zeros(len(FEATURES))
    blocks = np.array_split(np.unique(flights.days), BLOCKS)
    for days in blocks:
        unseen = np.isin(flights.days, days)
        classifier = _fit(x[~unseen & known], flights.late[~unseen & known])
        scores[unseen] = _score(classifier, x[unseen])
        losses += _losses(classifier, x[unseen & known], flights.late[unseen & known])
        progress()
    model = DelayModel(_fit(x[known], flights.late[known]), codes)
    progress()
    share = np.maximum(losses, 0.0) / losses.max()
    return Trained(model, scores, dict(zip(FEATURES, np.round(share, 2).tolist(), strict=True)))


def auc(flights: Flights, scores: Floats) -> float:
    """Area under the ROC curve, over the flights that arrived."""
    known = flights.arrived
    return float(roc_auc_score(flights.late[known], scores[known]))


def spec_of(flights: Flights, trained: Trained, origin: str) -> ModelSpec:
    """Make the model's spec, with the training months as its reference; ``origin`` says where they came from."""
    features = tuple(
        FeatureSpec(
            name=name,
            type=FeatureType.CATEGORY if name in CATEGORIES else FeatureType.NUMBER,
            importance=trained.importance[name],
        )
        for name in FEATURES
    )
    spec = ModelSpec(
        model=MODEL,
        version=VERSION,
        task=Task.BINARY,
        owner=OWNER,
        features=features,
        prediction=PredictionSpec(output=Output.SCORE, positive_class=LATE),
        outcomes=OutcomeSpec(threshold=THRESHOLD, losses=(Loss.BRIER,)),
        # A mimic of what the model answers in winter is wrong about it in summer's heat, which it never saw: it would
        # call the model changed, which it is not. And 16 rows of the 200 between two looks are enough to learn from:
        # what the diagnosis compares then comes from two days rather than from a few hours.
        surrogates=SurrogateSpec(mimic=False, sample_rows=16),
        seasonality=Seasonality.DAILY,
        timezone=TIMEZONE,
        # The weather is told by the hour, so nothing is gained by a look at it every ten seconds; and the fewer looks,
        # the less evidence the false-alarm budget asks of each.
        steps=StepSpec(min_interval=timedelta(hours=1)),
    )
    return freeze(spec, rows_of(spec, flights, trained.scores), origin=origin)


def rows_of(spec: ModelSpec, flights: Flights, scores: Floats) -> list[Rows]:
    """Flights, what was answered, and of those that arrived what came true, as the core takes them."""
    labels: list[str | None] = [None if np.isnan(late) else LATE if late else ON_TIME for late in flights.late]
    features: list[Column] = [
        flights.column(name).tolist() if name in CATEGORIES else flights.column(name) for name in FEATURES
    ]
    columns = (*features, scores, *outcome_columns(spec, labels, None, scores))
    count = len(flights)
    whole = Rows(Source.PREDICTIONS, np.arange(count), flights.times, np.zeros(count, dtype=np.int8), columns)
    return by_source(whole, spec)


def _matrix(flights: Flights, codes: dict[str, NDArray[np.str_]]) -> Floats:
    """(n, 10) in the order of ``FEATURES``: categories as codes, NaN where the model does not know one."""
    columns = []
    for name in FEATURES:
        values = flights.column(name)
        if name in CATEGORIES:
            places = np.minimum(np.searchsorted(codes[name], values), len(codes[name]) - 1)
            values = np.where(codes[name][places] == values, places, np.nan)
        columns.append(values)
    return np.column_stack(columns)


def _fit(x: Floats, late: Floats) -> HistGradientBoostingClassifier:
    categorical = [name in CATEGORIES for name in FEATURES]
    return HistGradientBoostingClassifier(categorical_features=categorical, random_state=_SEED).fit(x, late)


def _score(classifier: HistGradientBoostingClassifier, x: Floats) -> Floats:
    return np.asarray(classifier.predict_proba(x)[:, 1])


def _losses(classifier: HistGradientBoostingClassifier, x: Floats, late: Floats) -> Floats:
    """AUC lost when the values of one feature change places, by feature."""
    rng = np.random.default_rng(_SEED)
    rows = rng.permutation(len(x))[:5_000]
    sample, truth = x[rows], late[rows]
    whole = roc_auc_score(truth, _score(classifier, sample))
    losses = []
    for feature in range(len(FEATURES)):
        shuffled = sample.copy()
        shuffled[:, feature] = rng.permutation(shuffled[:, feature])
        losses.append(whole - roc_auc_score(truth, _score(classifier, shuffled)))
    return np.array(losses)
