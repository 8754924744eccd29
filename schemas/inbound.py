"""What serving systems produce. Only JSON is needed; every field but the model, its version and a payload is optional.

These models are the documented contract (JSON Schemas, examples, small producers in Python). The worker's hot path
decodes the same fields with decoders built for each model spec (``agents.formats``); a test holds the two together.
"""

from __future__ import annotations

from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from schemas.base import FeatureName, Inbound, Name
from schemas.model_spec import Stage
from schemas.quality import Answered

FeatureValue = float | int | bool | str | None
"""A number, a category, a boolean, or null for missing (NaN is missing, an infinity invalid)."""


class FeatureEvent(Inbound):
    """The features of one row, without a prediction: from a feature pipeline."""

    model: Name
    version: Name
    time: AwareDatetime | None = None
    """When the row was observed; the record's timestamp stands in for it."""
    stage: Stage = Stage.PRODUCTION
    prediction_id: str | None = None
    features: dict[FeatureName, FeatureValue]
    segments: dict[str, str] = Field(default_factory=dict)
    """Values of the fields by which the model is broken down, such as a country."""


class PredictionEvent(Inbound):
    """One answer of a model, with or without the features it was made from."""

    model: Name
    version: Name
    time: AwareDatetime | None = None
    stage: Stage = Stage.PRODUCTION
    prediction_id: str | None = None
    """Under this id the outcome will come."""
    features: dict[FeatureName, FeatureValue] | None = None
    prediction: str | bool | int | float | None = None
    """The class, or the number of a regression."""
    score: float | None = None
    """Probability of the positive class."""
    probabilities: dict[str, float] | None = None
    """Probability of each class."""
    segments: dict[str, str] = Field(default_factory=dict)
    latency_ms: float | None = None
    """How long the model took to answer, in milliseconds."""
    status: Answered | None = None
    """How the request ended; after an error or a timeout there need be no answer. Null: it is not known."""

    @model_validator(mode="after")
    def _something_was_answered(self) -> Self:
        has_failed = self.status in (Answered.ERROR, Answered.TIMEOUT)
        if self.prediction is None and self.score is None and self.probabilities is None and not has_failed:
            raise ValueError("a prediction event needs `prediction`, `score` or `probabilities`")
        return self


class _Batch(Inbound):
    """Many rows in columns: every list has ``rows`` entries."""

    model: Name
    version: Name
    rows: int = Field(ge=1)
    time: AwareDatetime | list[AwareDatetime] | None = None
    """One time for all rows, or one for each."""
    stage: Stage = Stage.PRODUCTION
    prediction_id: list[str] | None = None
    segments: dict[str, list[str]] = Field(default_factory=dict)


def _check_lengths(rows: int, columns: dict[str, list[object] | None]) -> None:
    for name, column in columns.items():
        if column is not None and len(column) != rows:
            raise ValueError(f"column {name!r} has {len(column)} entries, but `rows` is {rows}")


class FeatureBatch(_Batch):
    """The features of many rows, in columns."""

    features: dict[FeatureName, list[FeatureValue]]

    @model_validator(mode="after")
    def _columns_are_of_one_length(self) -> Self:
        _check_lengths(self.rows, dict(self.features))  # type: ignore[arg-type]
        _check_lengths(self.rows, dict(self.segments))  # type: ignore[arg-type]
        return self


class PredictionBatch(_Batch):
    """Many answers of a model, in columns."""

    features: dict[FeatureName, list[FeatureValue]] | None = None
    prediction: list[str | bool | int | float | None] | None = None
    score: list[float | None] | None = None
    probabilities: dict[str, list[float]] | None = None
    latency_ms: list[float | None] | None = None
    status: list[Answered | None] | None = None
    """How each request ended; where one has failed, its answer may be null."""

    @model_validator(mode="after")
    def _columns_are_of_one_length(self) -> Self:
        _check_lengths(self.rows, dict(self.features or {}))  # type: ignore[arg-type]
        _check_lengths(self.rows, dict(self.segments))  # type: ignore[arg-type]
        columns: dict[str, list[object] | None] = {
            "prediction": self.prediction,  # type: ignore[dict-item]
            "score": self.score,  # type: ignore[dict-item]
            "latency_ms": self.latency_ms,  # type: ignore[dict-item]
            "status": self.status,  # type: ignore[dict-item]
        }
        _check_lengths(self.rows, columns)
        if self.prediction is None and self.score is None and self.probabilities is None:
            raise ValueError("a prediction event needs `prediction`, `score` or `probabilities`")
        return self


class OutcomeEvent(Inbound):
    """What came true of one prediction: it finds its prediction by the id, or brings it along."""

    model: Name
    version: Name | None = None
    """Needed where the event brings the prediction; otherwise the version that made the prediction counts."""
    time: AwareDatetime | None = None
    """When the label became known; the record's timestamp stands in for it."""
    stage: Stage = Stage.PRODUCTION
    """Of a prediction that the event brings; otherwise the prediction's own counts."""
    prediction_id: str | None = Field(default=None, min_length=1)
    """Of the prediction, unique within the model."""
    label: str | bool | int | float
    """The class, or the number of a regression."""
    features: dict[FeatureName, FeatureValue] | None = None
    prediction: str | bool | int | float | None = None
    """With this, the score or the probabilities, and the version, no join is needed."""
    score: float | None = None
    probabilities: dict[str, float] | None = None
    prediction_time: AwareDatetime | None = None
    """When the prediction was made, where the event brings it."""
    segments: dict[str, str] = Field(default_factory=dict)
    """Of the prediction, where the event brings it."""

    @model_validator(mode="after")
    def _finds_or_brings_its_prediction(self) -> Self:
        answers = (self.prediction, self.score, self.probabilities)
        _check_prediction(self.prediction_id is not None, self.version, any(each is not None for each in answers))
        return self


class OutcomeBatch(Inbound):
    """What came true of many predictions, in columns."""

    model: Name
    version: Name | None = None
    rows: int = Field(ge=1)
    time: AwareDatetime | list[AwareDatetime] | None = None
    stage: Stage = Stage.PRODUCTION
    prediction_id: list[str] | None = None
    label: list[str | bool | int | float | None]
    """Null where nothing is known yet: such a row says nothing."""
    features: dict[FeatureName, list[FeatureValue]] | None = None
    prediction: list[str | bool | int | float | None] | None = None
    score: list[float | None] | None = None
    probabilities: dict[str, list[float]] | None = None
    prediction_time: AwareDatetime | list[AwareDatetime] | None = None
    segments: dict[str, list[str]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _columns_are_of_one_length(self) -> Self:
        _check_lengths(self.rows, dict(self.features or {}))  # type: ignore[arg-type]
        _check_lengths(self.rows, dict(self.segments))  # type: ignore[arg-type]
        columns: dict[str, list[object] | None] = {
            "label": self.label,  # type: ignore[dict-item]
            "prediction_id": self.prediction_id,  # type: ignore[dict-item]
            "prediction": self.prediction,  # type: ignore[dict-item]
            "score": self.score,  # type: ignore[dict-item]
        }
        _check_lengths(self.rows, columns)
        answers = (self.prediction, self.score, self.probabilities)
        _check_prediction(self.prediction_id is not None, self.version, any(each is not None for each in answers))
        return self


def _check_prediction(has_id: bool, version: str | None, is_answered: bool) -> None:
    if not has_id and not (is_answered and version is not None):
        raise ValueError("an outcome needs `prediction_id`, or the prediction itself with its `version`")
