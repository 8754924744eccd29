"""The rules of a spec on rows: of each row, whether it breaks a rule, keeps it, or leaves it open.

A rule is asked once of each row: where its label comes if it reads the label, else where the prediction comes if it
reads that, else in the stream that carries the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, cast

import numpy as np

from detector.rows import FALSE, INVALID, TRUE, Column, Rows, Source
from detector.rules.evaluate import Evaluation
from detector.rules.values import Floats, Mask, Texts, Truth, Values
from detector.season import Season
from schemas.expressions.checking import Kind
from schemas.model_spec import LABEL, PREDICTION, ModelSpec, Seasonality, feature_signal
from schemas.rules import HOUR, WEEKDAY, CheckedRule, Origin, RowField, RuleSpec

_HOURS_OF_DAY: Final = 24


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a rule says of n rows.

    Attributes
    ----------
    broken, kept
        (n,) where it is surely broken, and where it surely holds; where it is neither, a value was missing.
    """

    broken: Mask
    kept: Mask


class RuleBook:
    """The rules of one model version.

    Parameters
    ----------
    spec
        Whose rules are known to be right.

    Attributes
    ----------
    rules
        In the order of the spec.
    sources
        Where each is asked.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._checked: tuple[CheckedRule, ...] = tuple(spec.checked_rules)
        self.rules: tuple[RuleSpec, ...] = tuple(each.rule for each in self._checked)
        self.sources: tuple[Source, ...] = tuple(_source(each, spec) for each in self._checked)
        self._columns = {
            name: spec.signals.index(_signal(name, each))
            for rule in self._checked
            for name, each in rule.fields.items()
            if each.origin is not Origin.TIME
        }
        self._clock = Season(Seasonality.WEEKLY, spec.timezone)

    def ask(self, rows: Rows) -> list[Verdicts | None]:
        """Ask every rule of rows; None where it is not asked of this source."""
        bound = _BoundRows(rows, self._columns, self._clock)
        return [
            bound.verdicts(rule) if source is rows.source else None
            for rule, source in zip(self._checked, self.sources, strict=True)
        ]


def _source(rule: CheckedRule, spec: ModelSpec) -> Source:
    if Origin.LABEL in rule.origins:
        return Source.OUTCOMES
    return Source.PREDICTIONS if Origin.PREDICTION in rule.origins else Source(spec.features_from.value)


def _signal(name: str, field: RowField) -> str:
    return {Origin.FEATURE: feature_signal(name), Origin.PREDICTION: PREDICTION}.get(field.origin, LABEL)


class _BoundRows:
    """Rows as rules see them: a column is converted once, whichever rules read it."""

    def __init__(self, rows: Rows, columns: dict[str, int], clock: Season) -> None:
        self._rows, self._columns, self._clock = rows, columns, clock
        self._values: dict[str, Values] = {}
        self._missing: dict[str, Mask] = {}

    def verdicts(self, rule: CheckedRule) -> Verdicts:
        """Ask one rule."""
        for name, field in rule.fields.items():
            if name not in self._values:
                self._values[name], self._missing[name] = self._bind(name, field)
        truth = Evaluation(self._values, self._missing).truth(rule.node)
        return Verdicts(broken=truth.false, kept=truth.true)

    def _bind(self, name: str, field: RowField) -> tuple[Values, Mask]:
        if field.origin is Origin.TIME:
            values = self._time_part(name)
            return values, np.isnan(values)
        column = self._rows.sampled_columns[self._columns[name]]
        if column is None:  # of a label that brought no features
            return _unknown(field.kind, len(self._rows)), np.ones(len(self._rows), dtype=np.bool_)
        return _values(field.kind, column)

    @cached_property
    def _hours(self) -> Floats:
        """(n,) hours since Monday in the spec's timezone; NaN where a row has no time."""
        times = self._rows.times
        known = np.isfinite(times)
        return np.where(known, self._clock.phase_of(np.where(known, times, 0.0)), np.nan)

    def _time_part(self, name: str) -> Floats:
        day, hour = np.divmod(self._hours, _HOURS_OF_DAY)
        return {HOUR: hour, WEEKDAY: day}[name]


def _values(kind: Kind, column: Column) -> tuple[Values, Mask]:
    """Values of a column, and where it has none."""
    if kind is Kind.NUMBER:
        numbers = cast(Floats, column)
        return np.where(np.isinf(numbers), np.nan, numbers), np.isnan(numbers)
    texts = np.array(column, dtype=object)
    missing = np.array([value is None for value in cast(Sequence[str | None], column)], dtype=np.bool_)
    if kind is Kind.TRUTH:
        return Truth(_equal(texts, TRUE), _equal(texts, FALSE)), missing
    return Texts(texts, ~missing & ~_equal(texts, INVALID)), missing


def _equal(texts: np.ndarray[tuple[int], np.dtype[np.object_]], value: str) -> Mask:
    return np.asarray(texts == value, dtype=np.bool_)


def _unknown(kind: Kind, count: int) -> Values:
    nowhere = np.zeros(count, dtype=np.bool_)
    if kind is Kind.NUMBER:
        return np.full(count, np.nan)
    return Truth(nowhere, nowhere) if kind is Kind.TRUTH else Texts(np.full(count, "", dtype=object), nowhere)
