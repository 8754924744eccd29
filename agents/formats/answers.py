"""Which value of a prediction is watched: its score, its class or its number.

===========  ==============================================================================================
output       the value
===========  ==============================================================================================
``score``    ``score``; without it the entry of ``probabilities`` for ``positive_class``. Where the spec
             names no positive class: for a binary task the second of the two classes in sorted order, as
             scikit-learn has them (``1`` of 0 and 1, ``yes`` of no and yes); for others the largest
             probability, which is the model's confidence
``class``    ``prediction``; without it the class of the largest probability (of equal ones the first)
``number``   ``prediction``
===========  ==============================================================================================

Where an event answers, but not what is watched, the value is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from detector.rows import Source
from schemas.model_spec import ModelSpec, Output, Task
from schemas.quality import Answered

UNREADABLE: Final[tuple[()]] = ()
"""Stands for an answer that cannot be read: of no type that a signal has, so that it becomes an invalid value."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How the watched value is found in a prediction."""

    output: Output
    task: Task
    positive_class: str | None

    @classmethod
    def of(cls, spec: ModelSpec, source: Source) -> Self | None:
        """Take it from the spec; None where nothing is watched in this stream."""
        if spec.prediction is None or source is Source.FEATURES:
            return None
        return cls(spec.prediction.output, spec.task, spec.prediction.positive_class)

    @property
    def field(self) -> str:
        """The field of the event that holds the value."""
        return "score" if self.output is Output.SCORE else "prediction"

    def from_probabilities(self, probabilities: object) -> object:
        """Find the value in the probabilities of the classes; None where it is not there."""
        if probabilities is None or self.output is Output.NUMBER:
            return None
        if not isinstance(probabilities, dict):
            return UNREADABLE
        if self.positive_class is not None and self.output is Output.SCORE:
            return probabilities.get(self.positive_class)
        if not all(type(value) in (float, int) for value in probabilities.values()):
            return UNREADABLE
        if self.output is Output.CLASS:
            return max(probabilities, key=probabilities.__getitem__, default=None)
        if self.task is Task.BINARY:
            return probabilities[max(probabilities)] if len(probabilities) == 2 else None
        return max(probabilities.values(), default=None)


def is_answered(prediction: object, score: object, probabilities: object) -> bool:
    """Whether an event answers at all."""
    return prediction is not None or score is not None or probabilities is not None


def has_failed(status: object) -> bool:
    """Whether a request ended without an answer: all requests, of an event of many."""
    if isinstance(status, list):
        return bool(status) and all(map(has_failed, status))
    return status in (Answered.ERROR.value, Answered.TIMEOUT.value)


NOT_ANSWERED: Final = "a prediction event needs `prediction`, `score` or `probabilities`"
NO_PREDICTION: Final = "an outcome needs `prediction_id`, or the prediction itself with its `version`"
NO_LABEL: Final = "an outcome needs `label`: the class or the number that came true"
