"""Events of many rows each, in columns: columns to columns, without work for each row."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.formats.answers import Answer
from agents.formats.assemble import Reader
from agents.formats.columns import CONVERTERS, typed_number_lists, where_none
from agents.formats.structs import segment_attribute
from agents.formats.times import seconds
from detector.rows import Column, Source
from schemas.model_spec import FeatureType

SPARSEST: Final = 64
"""Values that one byte of an event may stand for: a short message with few columns must not fill the memory."""


class Batches(Reader):
    """Events of many rows."""

    @cached_property
    def event_of_row(self) -> NDArray[np.int64]:
        """(rows,) position of each row's event in the group."""
        return np.repeat(np.arange(len(self.events)), [event.rows for event in self.events])

    @cached_property
    def times(self) -> tuple[NDArray[np.float64], dict[int, str]]:
        """(rows,) event times, and what is wrong with the events that have unreadable ones."""
        common = [None if isinstance(event.time, list) else event.time for event in self.events]
        missing = where_none(common)
        for position, stand_in in zip(
            missing, self.envelopes.stand_ins([self.group.records[position] for position in missing]), strict=True
        ):
            common[position] = stand_in
        of_event, problems = seconds(common)
        of_event = np.where(np.isnan(of_event), self.envelopes.appended[self.records], of_event)
        return self._spread(of_event, [event.time for event in self.events], problems)

    @cached_property
    def prediction_times(self) -> tuple[NDArray[np.float64], dict[int, str]]:
        """(rows,) times of the predictions that outcomes bring, and what is wrong with the unreadable ones."""
        raw = [event.prediction_time for event in self.events]
        of_event, problems = seconds([None if isinstance(each, list) else each for each in raw])
        return self._spread(of_event, raw, problems)

    def _spread(
        self, of_event: NDArray[np.float64], raw: list[Any], problems: dict[int, str]
    ) -> tuple[NDArray[np.float64], dict[int, str]]:
        """Give each row the time of its own where the event has a list of them, and that of the event otherwise."""
        pieces = []
        for position, (event, own_raw) in enumerate(zip(self.events, raw, strict=True)):
            piece = np.full(event.rows, of_event[position])
            if isinstance(own_raw, list):
                own, unreadable = seconds(own_raw)
                if unreadable:
                    problems[position] = min(unreadable.items())[1]
                piece = np.where(np.isnan(own), piece, own)
            pieces.append(piece)
        return np.concatenate(pieces), problems

    def values_of(self, name: str) -> list[Any]:
        """(rows,) values of a field, None where there is none."""
        pairs = ((event.rows, getattr(event, name)) for event in self.events)
        return list(chain.from_iterable([None] * rows if column is None else column for rows, column in pairs))

    def misshapen(self) -> dict[int, str]:
        """Find events whose columns differ in length."""
        problems: dict[int, str] = {}
        signals = len(self.decoder.types)
        for position, event in enumerate(self.events):
            size = self.envelopes.size(self.group.records[position])
            if event.rows > size or (event.rows - 1) * signals > SPARSEST * size:
                problems[position] = f"`rows` is {event.rows}, but the event has only {size} bytes"
        for name, columns in self._columns():
            for position, (event, column) in enumerate(zip(self.events, columns, strict=True)):
                if column is None:
                    continue
                if not isinstance(column, list):
                    problems.setdefault(position, f"{name} is no list, but `rows` says that the event has columns")
                elif len(column) != event.rows:
                    problems.setdefault(position, f"{name} has {len(column)} entries, but `rows` is {event.rows}")
        return problems

    def _columns(self) -> Iterator[tuple[str, list[Any]]]:
        """All columns that must have as many entries as ``rows`` says, with a name for people."""
        yield "`time`", [event.time if isinstance(event.time, list) else None for event in self.events]
        for name, columns in zip(self.decoder.features, self._feature_columns, strict=True):
            yield f"column {name!r}", columns
        for name, columns in zip(self.decoder.segments, self._segment_columns, strict=True):
            yield f"column {name!r} of `segments`", columns
        if self.decoder.source is Source.PREDICTIONS:
            yield "`status`", [event.status for event in self.events]
        if self.decoder.reads_service:
            yield "`latency_ms`", [event.latency_ms for event in self.events]
        if self.decoder.forwards:
            yield "`prediction_id`", [event.prediction_id for event in self.events]
        if self.decoder.source is Source.OUTCOMES:
            yield "`label`", [event.label for event in self.events]
            times = [event.prediction_time for event in self.events]
            yield "`prediction_time`", [each if isinstance(each, list) else None for each in times]
        if self.decoder.reads_answers:
            yield "`prediction`", [event.prediction for event in self.events]
            yield "`score`", [event.score for event in self.events]
            for position, event in enumerate(self.events):
                if isinstance(event.probabilities, dict):
                    for name, column in event.probabilities.items():
                        alone = [None] * len(self.events)
                        alone[position] = column
                        yield f"column {name!r} of `probabilities`", alone

    @cached_property
    def _feature_columns(self) -> list[list[Any]]:
        """For each feature of the spec its column in each event; None where it is not there."""
        features = [event.features for event in self.events] if self.decoder.features else []
        if self.group.kind.is_typed:
            return [[getattr(values, name) for values in features] for name in self.decoder.order.attributes]
        return [[values.get(name) for values in features] for name in self.decoder.features]

    def features(self) -> list[Column | None]:
        """(rows,) columns in the order of the spec's features."""
        made: list[Column | None] = []
        for columns, kind in zip(self._feature_columns, self.decoder.types, strict=False):
            pairs = zip(self.events, columns, strict=True)
            lists: list[list[Any]] = [[None] * event.rows if column is None else column for event, column in pairs]
            if self.group.kind.is_typed and kind is FeatureType.NUMBER:
                made.append(typed_number_lists(lists))
            else:
                made.append(CONVERTERS[kind](list(chain.from_iterable(lists))))
        return made

    @cached_property
    def _segment_columns(self) -> list[list[Any]]:
        """For each of the decoder's segments its column in each event; None where it is not there."""
        found = [event.segments for event in self.events] if self.decoder.segments else []
        if not self.group.kind.is_typed:
            return [[None if each is None else each.get(name) for each in found] for name in self.decoder.segments]
        attributes = map(segment_attribute, range(len(self.decoder.segments)))
        return [[None if each is None else getattr(each, name) for each in found] for name in attributes]

    def segments(self) -> list[list[Any]]:
        """(rows,) values of each of the decoder's segments; None where there is none."""
        made = []
        for columns in self._segment_columns:
            pairs = zip(self.events, columns, strict=True)
            made.append(
                list(chain.from_iterable([None] * event.rows if column is None else column for event, column in pairs))
            )
        return made

    def answers(self, answer: Answer) -> list[Any]:
        """(rows,) watched values of the prediction, as the events have them."""
        values: list[Any] = []
        for event, column in zip(self.events, self.watched, strict=True):
            found = list(column) if column is not None else [None] * event.rows
            if event.probabilities is not None:
                for row in where_none(found):
                    found[row] = answer.from_probabilities(_row(event.probabilities, row))
            values.extend(found)
        return values


def _row(probabilities: Any, row: int) -> Any:
    if not isinstance(probabilities, dict):
        return probabilities
    return {name: None if column is None else column[row] for name, column in probabilities.items()}
