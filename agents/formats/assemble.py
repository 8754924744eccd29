"""What is common to reading events of one row (``singles``) and of many (``batches``) into ``Rows``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.formats.answers import NOT_ANSWERED, Answer, is_answered
from agents.formats.columns import CONVERTERS, typed_numbers
from agents.formats.groups import Envelopes, Group, Refusal
from agents.formats.times import disbelieved
from detector.rows import STAGES, Column, Rows, Source
from schemas.model_spec import FeatureType, Stage
from schemas.outbound import DeadLetterReason

_STAGE_CODES: Final = {stage.value: code for code, stage in enumerate(STAGES)}


class Reader(ABC):
    """Reads the events of a group; a problem is reported under the event's position in the group."""

    def __init__(self, group: Group, envelopes: Envelopes) -> None:
        self.group = group
        self.events = group.events
        self.decoder = group.decoder
        self.envelopes = envelopes
        self.records: NDArray[np.int64] = np.array(group.records, dtype=np.int64)

    def problems(self) -> dict[int, Refusal]:
        """Find the events that cannot be counted."""
        shapes = self.misshapen() | self.unanswered()
        if shapes:
            return {position: (DeadLetterReason.INVALID_EVENT, detail) for position, detail in shapes.items()}
        times, unreadable = self.times
        appended = self.envelopes.appended[self.records[self.event_of_row]]
        wrong = unreadable or disbelieved(times, appended, self.decoder.spec.times, self.event_of_row)
        return {position: (DeadLetterReason.INVALID_TIME, detail) for position, detail in wrong.items()}

    def rows(self) -> Rows:
        """Make the rows; there must be no problems."""
        spec = self.decoder.spec
        columns: list[Column | None] = self.features() if self.decoder.reads_features else [None] * len(spec.features)
        if spec.prediction is not None:
            answer = self.decoder.answer
            columns.append(None if answer is None else self._column(self.answers(answer), self.decoder.types[-1]))
        return Rows(
            source=self.decoder.source,
            offsets=self.envelopes.offsets[self.records[self.event_of_row]],
            times=self.times[0],
            stages=self._stages()[self.event_of_row],
            columns=tuple(columns),
        )

    @property
    @abstractmethod
    def event_of_row(self) -> NDArray[np.int64]:
        """(rows,) position of each row's event in the group."""

    @property
    @abstractmethod
    def times(self) -> tuple[NDArray[np.float64], dict[int, str]]:
        """(rows,) event times, and what is wrong with the events that have unreadable ones."""

    @abstractmethod
    def misshapen(self) -> dict[int, str]:
        """Find events whose columns differ in length."""

    @abstractmethod
    def features(self) -> list[Column | None]:
        """(rows,) columns in the order of the spec's features."""

    @abstractmethod
    def answers(self, answer: Answer) -> list[Any]:
        """(rows,) watched values of the prediction, as the events have them."""

    @cached_property
    def watched(self) -> list[Any]:
        """What the events have in the field that is watched; where nothing is, in ``prediction``."""
        name = self.decoder.answer.field if self.decoder.answer is not None else "prediction"
        return list(map(attrgetter(name), self.events))

    def unanswered(self) -> dict[int, str]:
        """Find predictions that predict nothing."""
        if self.decoder.source is not Source.PREDICTIONS:
            return {}
        suspects = ((position, self.events[position]) for position in where_none(self.watched))
        return {
            position: NOT_ANSWERED
            for position, event in suspects
            if not is_answered(event.prediction, event.score, event.probabilities)
        }

    def _column(self, values: list[Any], kind: FeatureType) -> Column:
        if self.group.kind.is_typed and kind is FeatureType.NUMBER:
            return typed_numbers(values, len(values))
        return CONVERTERS[kind](values)

    def _stages(self) -> NDArray[np.int8]:
        stages = [event.stage for event in self.events]
        if stages.count(Stage.PRODUCTION.value) == len(stages):
            return np.full(len(stages), _STAGE_CODES[Stage.PRODUCTION.value], dtype=np.int8)
        return np.array([_STAGE_CODES[stage] for stage in stages], dtype=np.int8)


def where_none(values: Sequence[Any]) -> list[int]:
    """Positions of what is missing."""
    return [position for position, value in enumerate(values) if value is None] if None in values else []
