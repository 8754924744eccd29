"""Decoded rows in columns: what every payload format and file reader hands to the core.

A run of records becomes one ``Rows`` for each model version in it. Columns stand in the order of ``spec.signals``:

===================  =======================  ======================  =====================================
signal               column                   missing                 not of the signal's type ("invalid")
===================  =======================  ======================  =====================================
number               float64 array            NaN                     an infinity
category, boolean    list of ``str | None``   None                    the constant ``INVALID``
===================  =======================  ======================  =====================================

Booleans are written ``true`` and ``false``; an integral number that came for a category is written ``str(int(x))``, so
that a producer that sends ``3.0`` and one that sends ``3`` mean the same category.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from schemas.model_spec import ESTIMATED_PERFORMANCE, FeatureType, ModelSpec, Output, Stage, Task
from schemas.performance import RATES
from schemas.quality import Answered

if TYPE_CHECKING:
    from detector.schema.shapes import Shape

STAGES: Final[tuple[Stage, ...]] = tuple(Stage)
"""``Rows.stages`` holds indices into this."""

ANSWERED: Final[tuple[Answered, ...]] = tuple(Answered)
"""``Rows.service`` holds indices into this."""

INVALID: Final = "\x00invalid"
"""Stands in a category or boolean column for a value that is not of the type, such as a list."""

TRUE: Final = "true"
FALSE: Final = "false"

Column = NDArray[np.float64] | list[str | None]


class Source(StrEnum):
    """The stream a row came from."""

    FEATURES = "features"
    PREDICTIONS = "predictions"
    OUTCOMES = "outcomes"


@dataclass(frozen=True, slots=True)
class Rows:
    """n rows of one model version from one source partition, in log order.

    Attributes
    ----------
    source
        The stream they came from.
    offsets
        (n,) of the record that each row came from, non-decreasing: a record may hold many rows.
    times
        (n,) event times in seconds since 1970.
    stages
        (n,) indices into ``STAGES``.
    columns
        One for each of ``spec.signals``; None where this source does not carry the signal.
    context
        Likewise, of what is known of the rows but counted elsewhere: the features and the prediction that a label
        belongs to. None: nothing is. It is never counted, only sampled (``sampled_columns``), and tells in which
        segments a row is (``known``).
    lags
        (n,) seconds from the prediction to its label, NaN where that is not known; None: no labels.
    service
        (n, 2) of predictions: milliseconds until the answer, and how the request ended (index into ``ANSWERED``), each
        NaN where it is not known; None: neither is.
    joined
        Whether these labels found their predictions by the id.
    shapes
        What sampled records look like in full, by ascending offset; part of them all, however the rows are cut: who
        counts takes those whose offsets are new.
    """

    source: Source
    offsets: NDArray[np.int64]
    times: NDArray[np.float64]
    stages: NDArray[np.int8]
    columns: tuple[Column | None, ...]
    context: tuple[Column | None, ...] | None = None
    lags: NDArray[np.float64] | None = None
    joined: bool = False
    service: NDArray[np.float64] | None = None
    shapes: tuple[Shape, ...] = ()

    def __len__(self) -> int:
        return len(self.offsets)

    def slice(self, start: int, stop: int) -> Rows:
        """Rows ``start`` to ``stop`` (exclusive), as views where the columns are arrays."""
        part = slice(start, stop)
        columns = tuple(None if column is None else column[part] for column in self.columns)
        context = self.context and tuple(None if column is None else column[part] for column in self.context)
        lags = None if self.lags is None else self.lags[part]
        return replace(
            self,
            offsets=self.offsets[part],
            times=self.times[part],
            stages=self.stages[part],
            columns=columns,
            context=context,
            lags=lags,
            service=None if self.service is None else self.service[part],
        )

    @property
    def sampled_columns(self) -> tuple[Column | None, ...]:
        """Columns with those of the context in the places that this source does not carry."""
        if self.context is None:
            return self.columns
        return tuple(own if own is not None else other for own, other in zip(self.columns, self.context, strict=True))

    def known(self, signal: int) -> Column | None:
        """Values of a signal, whether they are counted here or elsewhere."""
        own = self.columns[signal]
        return own if own is not None or self.context is None else self.context[signal]

    @classmethod
    def concat(cls, pieces: Sequence[Rows]) -> Rows:
        """Join pieces of one source in the order given.

        Raises
        ------
        ValueError
            If there is no piece, or the pieces differ in source or in which columns they carry.
        """
        if not pieces:
            raise ValueError("no rows to join")
        first = pieces[0]
        if len(pieces) == 1:
            return first
        if any(piece.source is not first.source for piece in pieces):
            raise ValueError("rows of different sources cannot be joined")
        if any(piece.joined is not first.joined for piece in pieces):
            raise ValueError("labels that found their predictions and labels that brought them cannot be joined")
        return cls(
            first.source,
            np.concatenate([piece.offsets for piece in pieces]),
            np.concatenate([piece.times for piece in pieces]),
            np.concatenate([piece.stages for piece in pieces]),
            tuple(_join(columns) for columns in zip(*(piece.columns for piece in pieces), strict=True)),
            _join_context([piece.context for piece in pieces]),
            _join_lags([piece.lags for piece in pieces]),
            first.joined,
            _join_service(pieces),
            tuple(sorted((shape for piece in pieces for shape in piece.shapes), key=lambda shape: shape.offset)),
        )


def _join_service(pieces: Sequence[Rows]) -> NDArray[np.float64] | None:
    if all(piece.service is None for piece in pieces):
        return None
    blank = [np.full((len(piece), 2), np.nan) if piece.service is None else piece.service for piece in pieces]
    return np.concatenate(blank)


def _join_lags(lags: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    known = [piece for piece in lags if piece is not None]
    if not known:
        return None
    if len(known) < len(lags):
        raise ValueError("rows with lags and rows without them cannot be joined")
    return np.concatenate(known)


def _join_context(contexts: Sequence[tuple[Column | None, ...] | None]) -> tuple[Column | None, ...] | None:
    known = [context for context in contexts if context is not None]
    if not known:
        return None
    if len(known) < len(contexts):
        raise ValueError("rows with a context and rows without one cannot be joined")
    return tuple(_join(columns) for columns in zip(*known, strict=True))


def _join(columns: Sequence[Column | None]) -> Column | None:
    if all(column is None for column in columns):
        return None
    arrays = [column for column in columns if isinstance(column, np.ndarray)]
    if len(arrays) == len(columns):
        return np.concatenate(arrays)
    lists = [column for column in columns if isinstance(column, list)]
    if len(lists) == len(columns):
        return [value for column in lists for value in column]
    raise ValueError("rows that carry different columns cannot be joined")


def signal_types(spec: ModelSpec) -> tuple[FeatureType, ...]:
    """How each of ``spec.signals`` is binned: classes are categories, scores and a regression's numbers are numbers."""
    types = [feature.type for feature in spec.features]
    if spec.prediction is not None:
        types.append(FeatureType.CATEGORY if spec.prediction.output is Output.CLASS else FeatureType.NUMBER)
    if spec.outcomes is not None:
        types.append(FeatureType.NUMBER if spec.task is Task.REGRESSION else FeatureType.CATEGORY)
    types += [FeatureType.BOOLEAN if loss in RATES else FeatureType.NUMBER for loss in spec.losses]
    if spec.estimates:
        types.append(FeatureType.NUMBER)
    types += [FeatureType.CATEGORY] * len(spec.segment_signals)
    return tuple(types)


def carried(spec: ModelSpec, source: Source) -> tuple[bool, ...]:
    """Which of ``spec.signals`` the source carries.

    Features come from the stream that ``features_from`` names, the prediction from the predictions, and what depends on
    the label from the outcomes. Shares of segments are counted where the features are. Nobody carries the estimated
    performance: the layout makes it of a row's prediction and features.
    """
    prediction = 0 if spec.prediction is None else 1
    features = source.value == spec.features_from.value
    segments = len(spec.segment_signals)
    others = spec.signals[len(spec.features) + prediction : len(spec.signals) - segments]
    return (
        *(features,) * len(spec.features),
        *(source is Source.PREDICTIONS,) * prediction,
        *(source is Source.OUTCOMES and signal != ESTIMATED_PERFORMANCE for signal in others),
        *(features if spec.features else source is Source.PREDICTIONS,) * segments,
    )
