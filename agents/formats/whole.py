"""A record looked at in full: which features it has, whatever the spec says of them."""

from __future__ import annotations

from agents.formats import lenient
from agents.formats.lenient import RefusedError
from detector.schema.shapes import MOST_OF_RECORD, Shape

MOST_FIELDS = 10_000
"""Features of a record; one with more says nothing of the others."""


def shape_of(value: bytes, offset: int) -> Shape | None:
    """Read the features of a record that could be counted; None where it has none of them."""
    try:
        event, _ = lenient.unwrap(lenient.parse(value))
    except RefusedError:
        return None
    features = event.get("features") if isinstance(event, dict) else None
    if not isinstance(features, dict) or not features or len(features) > MOST_FIELDS:
        return None
    many = event.get("rows") is not None
    return Shape(offset, {
        name: each[:MOST_OF_RECORD] if many and isinstance(each, list) else [each] for name, each in features.items()
    })  # fmt: skip
