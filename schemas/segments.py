"""Fields by which a model's rows are broken down, as part of its spec."""

from __future__ import annotations

from collections import Counter
from typing import Final, Self

from pydantic import Field, model_validator

from schemas.base import FeatureName, Outbound

SEGMENT: Final = "segment:"
"""Before the name of a field in the name of the signal that watches the shares of its segments."""
PAIR: Final = "+"
"""Between the names of two fields, where their pairs are segments."""


def segment_signal(field: str) -> str:
    """Name the signal that watches how rows are spread over the segments of a field, or of a pair ``a+b``."""
    return f"{SEGMENT}{field}"


class SegmentSpec(Outbound):
    """By what the rows of a model are broken down.

    A field's values come from the feature of that name, if there is one, and else from the ``segments`` of an event.
    The most frequent in the reference are segments, and all others together are one more, if it has others. So which
    there are never changes within a version.
    """

    fields: tuple[FeatureName, ...] = Field(min_length=1, max_length=8)
    """Such as ``[country, device]``: categories, not numbers."""
    pairs: tuple[tuple[FeatureName, FeatureName], ...] = Field(default=(), max_length=8)
    """Pairs of fields whose combinations are segments too, such as ``[[country, device]]``."""
    top: int = Field(default=10, ge=1, le=50)
    """Segments of a field, those with most rows in the reference; the others are ``other``."""
    signals: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Signals that are judged in each segment, such as ``feature:amount``; None: all that a row carries."""

    @model_validator(mode="after")
    def _fields_are_named_once(self) -> Self:
        names = [*self.fields, *(PAIR.join(sorted(pair)) for pair in self.pairs)]
        if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
            raise ValueError(f"segments named twice: {', '.join(repeated)}")
        for pair in self.pairs:
            if pair[0] == pair[1]:
                raise ValueError(f"a pair of {pair[0]} with itself is no pair")
            if odd := [name for name in pair if name not in self.fields]:
                raise ValueError(f"pairs are made of fields, and {', '.join(odd)} is none: name it under `fields` too")
        return self

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the fields, then of the pairs as ``a+b``: each has segments of its own."""
        return (*self.fields, *(PAIR.join(pair) for pair in self.pairs))
