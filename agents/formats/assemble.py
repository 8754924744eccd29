"""What is common to reading events of one row (``singles``) and of many (``batches``) into ``Rows``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.formats.answers import NO_PREDICTION, NOT_ANSWERED, Answer, has_failed, is_answered
from agents.formats.columns import (
    CONVERTERS,
    categories,
    id_text,
    numbers,
    status_codes,
    taken,
    typed_numbers,
    where_none,
)
from agents.formats.groups import Envelopes, Group, Refusal
from agents.formats.times import disbelieved
from agents.joins.forwarding import Forward
from agents.joins.labelled import label_columns
from detector.rows import STAGES, Column, Rows, Source
from detector.segments.values import field_columns, segment_columns, segments_as_context
from schemas.model_spec import FeatureType, Output, Stage
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
        self.left_out: dict[int, str] = {}
        """Rows that the spec wants left out, with the reason, once `rows` has found them."""
        self._kept: NDArray[np.int64] | None = None

    def problems(self) -> dict[int, Refusal]:
        """Find the events that cannot be counted."""
        shapes = self.misshapen() | self.unanswered()
        if shapes:
            return {position: (DeadLetterReason.INVALID_EVENT, detail) for position, detail in shapes.items()}
        times, unreadable = self.times
        if self.decoder.source is Source.OUTCOMES:
            unreadable = unreadable | self.prediction_times[1]
        appended = self.envelopes.appended[self.records[self.event_of_row]]
        wrong = unreadable or disbelieved(times, appended, self.decoder.spec.times, self.event_of_row)
        if self.decoder.source is Source.OUTCOMES and not wrong:
            made = np.flatnonzero(~np.isnan(self.prediction_times[0]))
            wrong = disbelieved(
                self.prediction_times[0][made], appended[made], self.decoder.spec.times, self.event_of_row[made]
            )
        return {position: (DeadLetterReason.INVALID_TIME, detail) for position, detail in wrong.items()}

    def rows(self) -> Rows:
        """Make the rows; there must be no problems. Those that the spec refuses are left out."""
        spec, constraints = self.decoder.spec, self.decoder.constraints
        features: list[Column | None] = self.features() if self.decoder.reads_features else [None] * len(spec.features)
        answer: list[Column | None] = [] if spec.prediction is None else [self._answer()]
        features = list(constraints.apply(features))
        segments = self._segments(features)
        rest: list[Column | None] = [None] * (len(spec.signals) - len(features) - len(answer) - len(segments))
        rows = Rows(
            source=self.decoder.source,
            offsets=self.envelopes.offsets[self.records[self.event_of_row]],
            times=self.times[0],
            stages=self._stages()[self.event_of_row],
            columns=(*features, *answer, *rest, *segments),
            service=self._service() if self.decoder.reads_service else None,
        )
        if self.decoder.source is Source.OUTCOMES:
            return self._labelled(rows)
        if segments and not self.decoder.carried[-1]:
            rows = segments_as_context(rows, len(segments))
        refused = constraints.refused(rows.columns)
        if refused is None:
            return rows
        self.left_out, self._kept = refused.why, np.flatnonzero(refused.keep)
        return taken(rows, self._kept)

    def _of_kept(self, values: list[Any]) -> list[Any]:
        """Values of the rows that were not left out."""
        return values if self._kept is None else [values[row] for row in self._kept.tolist()]

    def _segments(self, features: list[Column | None]) -> list[Column | None]:
        """(rows,) columns of the segments that rows are in, as far as this stream tells."""
        spec, names = self.decoder.spec, self.decoder.segments
        if not self.decoder.reads_rows:
            return [None] * len(spec.segment_signals)
        fields = zip(names, map(categories, self.segments()), strict=True) if names else ()
        return segment_columns(spec, features, dict(fields))

    def _answer(self) -> Column | None:
        answer = self.decoder.answer
        return None if answer is None else self._column(self.answers(answer), self.decoder.answer_type)

    def _service(self) -> NDArray[np.float64] | None:
        """(rows, 2) latencies and how the requests ended; None where no event tells."""
        latencies, statuses = self.values_of("latency_ms"), self.values_of("status")
        if latencies.count(None) == len(latencies) and statuses.count(None) == len(statuses):
            return None
        return np.stack([numbers(latencies), status_codes(statuses)], axis=1)

    def _labelled(self, rows: Rows) -> Rows:
        """Make outcome rows of rows that have all else; those without a label say nothing and are left out.

        They have the time of their prediction, if it is known: as in a file that holds both.
        """
        spec, labels, classes = self.decoder.spec, self.values_of("label"), self.classes()
        before = len(spec.features) + (spec.prediction is not None)
        watched = rows.columns[before - 1] if spec.prediction is not None else None
        made, known = self.prediction_times[0], np.array([label is not None for label in labels], dtype=np.bool_)
        labelled = replace(
            rows,
            times=np.where(np.isnan(made), rows.times, made),
            columns=(*[None] * before, *label_columns(spec, labels, watched, classes)),
            context=rows.columns,
            lags=rows.times - made,
        )
        return labelled if known.all() else taken(labelled, np.flatnonzero(known))

    def forward(self, rows: Rows) -> Forward | None:
        """Make of the rows of predictions what the join needs of them; None where none has an id."""
        spec = self.decoder.spec
        if not self.decoder.forwards or spec.outcomes is None:
            return None
        ids = list(map(id_text, self._of_kept(self.values_of("prediction_id"))))
        kept = [row for row, id_ in enumerate(ids) if id_ is not None]
        if not kept:
            return None
        classes, count = self.classes(), len(spec.features)
        classes = classes and self._of_kept(classes)
        if len(kept) < len(ids):
            rows = taken(rows, np.array(kept))
            classes = classes and [classes[row] for row in kept]
        features = rows.columns[:count] if self.decoder.reads_features else ()
        return Forward(
            model=spec.model,
            version=spec.version,
            ids=[id_ for id_ in ids if id_ is not None],
            times=rows.times,
            stages=rows.stages,
            outcomes=spec.outcomes,
            watched=rows.columns[count] if spec.prediction is not None else None,
            classes=classes,
            features=tuple(column for column in features if column is not None),
            segments=field_columns(spec, rows),
        )

    def classes(self) -> list[str | None] | None:
        """(rows,) classes that were predicted beside the score that is watched; None where no event has one."""
        prediction = self.decoder.spec.prediction
        if prediction is None or prediction.output is not Output.SCORE:
            return None
        values = self.values_of("prediction")
        return None if values.count(None) == len(values) else categories(values)

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
    def segments(self) -> list[list[Any]]:
        """(rows,) values of each of the decoder's segments; None where there is none."""

    @property
    @abstractmethod
    def prediction_times(self) -> tuple[NDArray[np.float64], dict[int, str]]:
        """(rows,) times of the predictions that outcomes bring, and what is wrong with the unreadable ones."""

    @abstractmethod
    def values_of(self, name: str) -> list[Any]:
        """(rows,) values of a field, None where there is none."""

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
        if not self.decoder.reads_answers:
            return {}
        lacking = NOT_ANSWERED if self.decoder.source is Source.PREDICTIONS else NO_PREDICTION
        suspects = ((position, self.events[position]) for position in where_none(self.watched))
        return {
            position: lacking
            for position, event in suspects
            if not is_answered(event.prediction, event.score, event.probabilities)
            and not (self.decoder.source is Source.PREDICTIONS and has_failed(event.status))
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
