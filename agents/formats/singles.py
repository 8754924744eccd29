"""Events of one row each to columns."""

from __future__ import annotations

from functools import cached_property
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from agents.formats.answers import NO_LABEL, Answer
from agents.formats.assemble import Reader
from agents.formats.columns import CONVERTERS, typed_numbers, where_none
from agents.formats.structs import segment_attribute
from agents.formats.times import seconds
from detector.rows import Column, Source


class Singles(Reader):
    """Events of one row."""

    @cached_property
    def event_of_row(self) -> NDArray[np.int64]:
        """(rows,) position of each row's event in the group."""
        return np.arange(len(self.events))

    def values_of(self, name: str) -> list[Any]:
        """(rows,) values of a field, None where there is none."""
        return list(map(attrgetter(name), self.events))

    @cached_property
    def prediction_times(self) -> tuple[NDArray[np.float64], dict[int, str]]:
        """(rows,) times of the predictions that outcomes bring, and what is wrong with the unreadable ones."""
        return seconds(self.values_of("prediction_time"))

    @cached_property
    def times(self) -> tuple[NDArray[np.float64], dict[int, str]]:
        """(rows,) event times, and what is wrong with the events that have unreadable ones."""
        raw = [event.time for event in self.events]
        missing = where_none(raw)
        stand_ins = self.envelopes.stand_ins([self.group.records[position] for position in missing])
        for position, stand_in in zip(missing, stand_ins, strict=True):
            raw[position] = stand_in
        times, problems = seconds(raw)
        if missing:
            times = np.where(np.isnan(times), self.envelopes.appended[self.records], times)
        return times, problems

    def misshapen(self) -> dict[int, str]:
        """Find outcomes without a label; there are no columns here that could differ in length."""
        if self.decoder.source is not Source.OUTCOMES:
            return {}
        return dict.fromkeys(where_none(self.values_of("label")), NO_LABEL)

    def features(self) -> list[Column | None]:
        """(rows,) columns in the order of the spec's features."""
        features = [event.features for event in self.events]
        if self.group.kind.is_typed:
            return self._typed_features(features)
        return [
            CONVERTERS[kind]([values.get(name) for values in features])
            for name, kind in zip(self.decoder.features, self.decoder.types, strict=False)
        ]

    def _typed_features(self, features: list[Any]) -> list[Column | None]:
        """Take all numbers at once: a call for each feature would cost as much as decoding.

        The tuples are not kept: so many containers at a time make Python's garbage collector run.
        """
        order = self.decoder.order
        columns: dict[int, Column] = {}
        if len(order.numbers) > 1:
            tuples = map(astuple, features)
            picked = tuples if len(order.numbers) == len(order.names) else map(itemgetter(*order.numbers), tuples)
            flat = typed_numbers(chain.from_iterable(picked), len(features) * len(order.numbers))
            columns = dict(zip(order.numbers, np.ascontiguousarray(flat.reshape(len(features), -1).T), strict=True))
        places = zip(order.of_features, order.attributes, self.decoder.types, strict=False)
        return [
            columns[position] if position in columns else CONVERTERS[kind](list(map(attrgetter(attribute), features)))
            for position, attribute, kind in places
        ]

    def segments(self) -> list[list[Any]]:
        """(rows,) values of each of the decoder's segments; None where there is none."""
        found = [event.segments for event in self.events]
        if not self.group.kind.is_typed:
            return [[None if each is None else each.get(name) for each in found] for name in self.decoder.segments]
        attributes = map(segment_attribute, range(len(self.decoder.segments)))
        return [[None if each is None else getattr(each, name) for each in found] for name in attributes]

    def answers(self, answer: Answer) -> list[Any]:
        """(rows,) watched values of the prediction, as the events have them."""
        values = self.watched.copy()
        for position in where_none(values):
            values[position] = answer.from_probabilities(self.events[position].probabilities)
        return values
