"""The models that are watched while things break, and their events: each is made of its number alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import numpy as np

from schemas.model_spec import FeaturesFrom, ModelSpec
from schemas.performance import OutcomeSpec
from tests.support.data import category, frozen_of, numbers, spec_of

WIDTH: Final = 100
"""Values of the feature ``x`` are 0 to 99."""
SLICES: Final = tuple(f"s{number:02d}" for number in range(40))
"""So many bins of a category tell at once which rows are missing and which came twice."""
MODELS: Final = ("drifting", "calm")
LABEL_LAGS_S: Final = (40, 600, 9_000)
"""Seconds from a prediction to its label, in turn."""
TICK_S: Final = 0.25
"""Seconds between two numbers, where a thousand are sent in a second: so that steps close while a test runs."""

_ROWS: Final = 50_000
_rng = np.random.default_rng(11)
_X: Final = _rng.integers(0, WIDTH, _ROWS)
_SLICE: Final = _rng.integers(0, len(SLICES), _ROWS)
_LUCK: Final = _rng.random(_ROWS)
_REFERENCE: Final = range(_ROWS - 3_000, _ROWS)
"""Numbers that no stream gets to."""


class Kind(StrEnum):
    """What comes of a number."""

    PREDICTION = "prediction"
    """A prediction, and later a label under its id."""
    FEATURES = "features"
    """Features alone."""
    COMPLETE = "complete"
    """A label that brings its prediction along."""


def kind_of(number: int) -> Kind:
    """Most are predictions; of the others there are as many in each partition and of each model."""
    return {0: Kind.FEATURES, 1: Kind.COMPLETE}.get(number // 4 % 10, Kind.PREDICTION)


@dataclass(frozen=True, slots=True)
class Stream:
    """What producers send.

    Attributes
    ----------
    shift_at
        From this number on, ``x`` of the model ``drifting`` is in the upper half of what it was; None: never.
    clock_s
        What is added to the clocks of the producers, by partition (modulo their number).
    since
        Seconds since 1970 at which number 0 happened.
    tick_s
        Seconds between two numbers.
    """

    since: float
    shift_at: int | None = None
    clock_s: tuple[float, ...] = (0.0,)
    tick_s: float = TICK_S
    _models: tuple[str, ...] = field(default=MODELS, repr=False)

    def model(self, number: int) -> str:
        """Numbers belong to the models in turn."""
        return self._models[number % len(self._models)]

    def time(self, number: int, partition: int) -> float:
        """By the producer's clock, which runs fast, so that steps close while a test runs."""
        return self.since + number * self.tick_s + self.clock_s[partition % len(self.clock_s)]

    def label_time(self, number: int, partition: int) -> float:
        """When the label of a number becomes known, by the same clock."""
        return self.time(number, partition) + LABEL_LAGS_S[number % len(LABEL_LAGS_S)]

    def prediction(self, number: int, partition: int) -> bytes:
        """A prediction under the id of its number."""
        return _encoded(
            model=self.model(number), version="1", prediction_id=f"p{number}",
            time=_moment(self.time(number, partition)),
            features=self._features(number), score=int(_X[number % _ROWS]) / WIDTH,
        )  # fmt: skip

    def outcome(self, number: int, partition: int) -> bytes:
        """Its label, some time later."""
        return _encoded(
            model=self.model(number), prediction_id=f"p{number}",
            time=_moment(self.label_time(number, partition)), label=_label(number),
        )  # fmt: skip

    def features(self, number: int, partition: int) -> bytes:
        """The features of its number, without a prediction."""
        return _encoded(
            model=self.model(number), version="1", time=_moment(self.time(number, partition)),
            features=self._features(number),
        )  # fmt: skip

    def complete(self, number: int, partition: int) -> bytes:
        """Its label, which brings the prediction along."""
        return _encoded(
            model=self.model(number), version="1", time=_moment(self.label_time(number, partition)),
            label=_label(number), features=self._features(number), score=int(_X[number % _ROWS]) / WIDTH,
            prediction_time=_moment(self.time(number, partition)),
        )  # fmt: skip

    def _features(self, number: int) -> dict[str, Any]:
        x = int(_X[number % _ROWS])
        shifted = self.shift_at is not None and number >= self.shift_at and self.model(number) == MODELS[0]
        return {"x": (WIDTH + x) // 2 if shifted else x, "slice": SLICES[_SLICE[number % _ROWS]]}


POISON: Final = (
    b"\xff\xfe no json at all",
    b'{"model": "drifting", "version": "1"}',
    b"",
    b'{"model": "drifting", "version": "1", "score": 0.5, "features": {"x": 1}, "time": "yesterday"}',
)
"""Records that are no events."""


def watched(model: str) -> ModelSpec:
    """The spec of a model: two features, a score, and labels that find their predictions by the id.

    One model's features are judged as they come with its predictions, the other's as they come alone.
    """
    spec = spec_of(
        *numbers("x"), category("slice"), model=model, prediction={"output": "score"},
        outcomes=OutcomeSpec(estimate=False),
        features_from=FeaturesFrom.PREDICTIONS if model == MODELS[0] else FeaturesFrom.FEATURES,
    )  # fmt: skip
    x = _X[_REFERENCE.start :]
    labels = [_label(number) for number in _REFERENCE]
    is_wrong = (x >= WIDTH / 2) != (np.array(labels) == "1")
    return frozen_of(
        spec,
        {
            "feature:x": x,
            "feature:slice": [SLICES[each] for each in _SLICE[_REFERENCE.start :]],
            "prediction": x / WIDTH,
            "label": labels,
            "performance:error": ["true" if each else "false" for each in is_wrong],
        },
    )


def _label(number: int) -> str:
    at = number % _ROWS
    return "1" if _LUCK[at] * WIDTH < _X[at] else "0"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _encoded(**fields: Any) -> bytes:
    return json.dumps(fields).encode()
