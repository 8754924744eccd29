"""A changed schema: what producers send is no longer what the spec says, or has more to it. One event names it all."""

from __future__ import annotations

from enum import StrEnum

from pydantic import AwareDatetime, Field

from schemas.base import Outbound
from schemas.model_spec import OffsetRange


class JsonKind(StrEnum):
    """What a value is in JSON."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    NULL = "null"
    OTHER = "other"
    """A list or an object."""


class FieldChangeKind(StrEnum):
    """What has become of a feature."""

    GONE = "gone"
    """Events do not have it any more."""
    NEW = "new"
    """Events have a feature that the spec does not know, and did not have it before."""
    RENAMED = "renamed"
    """It is gone, and one that came at the same time has values like its own."""
    RETYPED = "retyped"
    """Its values are of another type, and so invalid."""
    BACK = "back"
    """It is again what the spec says."""


class FieldChange(Outbound):
    """What has become of one feature."""

    feature: str
    kind: FieldChangeKind
    expected: str | None = None
    """Its type in the spec; null for a new one."""
    found: JsonKind | None = None
    """What its values are now; null for one that is gone."""
    renamed_to: str | None = None
    distance: float | None = None
    """Of a renamed one: PSI between the values under the new name and the reference, small-sample bias removed."""


class SchemaChange(Outbound):
    """The features of a model version's events have changed."""

    id: str
    model: str
    version: str
    owner: str | None = None
    summary: str
    """One sentence for people."""
    time: AwareDatetime | None
    """Event time of the newest row when the change was seen."""
    changes: tuple[FieldChange, ...]
    records: int
    """Sampled records that showed it: one in 16 is looked at in full."""
    seen_in: tuple[OffsetRange, ...]
    """Where these records lie."""
    spec_hash: str


class FieldTally(Outbound):
    """What sampled records have of a feature otherwise than the spec says, or of one that it does not know."""

    absent: int = 0
    """Records without it."""
    kinds: dict[JsonKind, int] = Field(default_factory=dict)
    """Records by what its values are; of a feature of the spec those only that do not fit its type."""
    values: tuple[float | bool | str | None, ...] = ()
    """Of a feature that the spec does not know: the first ones, so that a renamed one is recognised."""


class ShapeTally(Outbound):
    """Sampled records of a source partition, and in what they differ from the spec: a prefix sum, as the counts are."""

    records: int = 0
    fields: dict[str, FieldTally] = Field(default_factory=dict)
