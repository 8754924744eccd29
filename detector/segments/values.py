"""The segments that rows are in, as columns of ``Rows``: of the fields as they came, and of pairs of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from detector.rows import INVALID, Column, Rows
from schemas.model_spec import ModelSpec

BETWEEN: Final = " + "
"""Between the two values of a pair."""


def event_fields(spec: ModelSpec) -> tuple[str, ...]:
    """Fields whose values are among the ``segments`` of an event: those that are no features."""
    features = {feature.name for feature in spec.features}
    return () if spec.segments is None else tuple(name for name in spec.segments.fields if name not in features)


def segment_columns(
    spec: ModelSpec, features: Sequence[Column | None], fields: Mapping[str, Column | None]
) -> list[Column | None]:
    """Make the columns of ``spec.segment_signals``.

    Parameters
    ----------
    features
        (n,) columns in the order of the spec's features; None or none at all where they are not known.
    fields
        (n,) values of ``event_fields``, as categories; None where they are not known.

    Returns
    -------
    list
        (n,) for each field, then for each pair: missing where one of the two is, invalid where one is. None where a
        field is not known.
    """
    if spec.segments is None:
        return []
    known = dict(fields) | {each.name: column for each, column in zip(spec.features, features, strict=False)}
    columns = {name: known.get(name) for name in spec.segments.fields}
    pairs = [_pair(columns[one], columns[other]) for one, other in spec.segments.pairs]
    return [*columns.values(), *pairs]


def segments_as_context(rows: Rows, count: int) -> Rows:
    """Rows whose last ``count`` columns, the segments, are known but counted in another stream."""
    own, segments = rows.columns[:-count], rows.columns[-count:]
    return replace(rows, columns=(*own, *[None] * count), context=(*[None] * len(own), *segments))


def field_columns(spec: ModelSpec, rows: Rows) -> tuple[Column, ...]:
    """Values of the spec's fields, without their pairs: what must wait with a prediction for its label.

    A field that the rows do not know is missing in all of them.
    """
    if spec.segments is None:
        return ()
    first = len(spec.signals) - len(spec.segment_signals)
    known = [rows.known(first + place) for place in range(len(spec.segments.fields))]
    return tuple([None] * len(rows) if column is None else column for column in known)


def _pair(one: Column | None, other: Column | None) -> Column | None:
    if one is None or other is None:
        return None
    return [
        None if a is None or b is None else INVALID if INVALID in (a, b) else f"{a}{BETWEEN}{b}"
        for a, b in zip(one, other, strict=True)
    ]
