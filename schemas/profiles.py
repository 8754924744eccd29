"""What profiling agents publish to the ``profiles`` topic, by model: running totals, baseline rows, strangers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, TypeAdapter

from schemas.base import Outbound
from schemas.model_spec import OffsetRange, Stage
from schemas.schema_changes import ShapeTally


class ProfilePart(Outbound):
    """The counts of one stage and phase, or segment: an int64 vector in the spec's layout, sparse and deflated."""

    stage: Stage
    phase: int
    """Hour of the day or of the week; 0 where the spec has no seasonality, and for segments."""
    segment: int | None = None
    """Number of a segment, whose rows are counted in the phases too: those of the first field by frequency in the
    reference, then ``other`` if it has others, then those of the next. Null: all rows of the phase."""
    counts: str
    """As ``detector.profile`` encodes it (base64)."""


class SampledRows(Outbound):
    """Rows drawn by a hash from those of a pane: what surrogates learn from, where totals only count.

    They are no part of the total: one that is superseded takes its sample with it.
    """

    offsets: tuple[int, ...]
    """Of the record each row came from, ascending."""
    times: tuple[float | None, ...]
    """Event times, seconds since 1970; null where there is none."""
    stages: tuple[Stage, ...]
    columns: dict[str, tuple[float | str | None, ...]]
    """Values by signal name, as many as rows; null is missing, an infinity is written as the string ``inf``. Rows whose
    label is known carry features, prediction and label together."""


class ProfileTotal(Outbound):
    """The running total (N, C) of one source partition for one model version: all rows below ``next_offset``.

    A total is a prefix sum of the log: it replaces every earlier one, and the difference of two is exact.
    """

    kind: Literal["total"] = "total"
    model: str
    version: str
    spec_hash: str
    topic: str
    partition: int
    incarnation: int = 0
    """Raised when the source topic was made anew and counting started from its beginning."""
    generation: int = 0
    """Of the consumer group, at the writer."""
    started_at: int
    """The offset from which this total counts."""
    next_offset: int
    """N: the first offset that is not counted."""
    rows: int
    """Rows counted, all parts together."""
    time: AwareDatetime | None = None
    """The latest event time counted."""
    appended_at: AwareDatetime | None = None
    """The timestamp of the last record counted: what alert latency is measured from."""
    parts: tuple[ProfilePart, ...]
    invalid: dict[str, int] = Field(default_factory=dict)
    """Values that were not of their feature's type, by feature; a report, not part of the statistics."""
    uncounted: tuple[OffsetRange, ...] = ()
    """Offsets that were gone (retention) before they could be counted."""
    carry: str | None = None
    """What checks that look back keep of the last rows counted, such as the value that each feature had (base64):
    whoever continues the total needs it. Null where the spec has no such checks."""
    shapes: ShapeTally | None = None
    """What sampled records have otherwise than the spec says; null while none was sampled."""
    sample: SampledRows | None = None
    """Of the rows since the last published total; the reader drops those below its fence."""

    @property
    def id(self) -> str:
        """Its coordinates: the same total always has the same id."""
        return f"{self.model}/{self.version}/{self.topic}/{self.partition}/{self.incarnation}/{self.next_offset}"


class BaselineRows(Outbound):
    """Raw rows of a version whose reference is still being collected from the stream."""

    kind: Literal["baseline"] = "baseline"
    model: str
    version: str
    spec_hash: str
    topic: str
    partition: int
    from_offset: int
    next_offset: int
    time: AwareDatetime | None = None
    offsets: tuple[int, ...]
    """Of the record each row came from, ascending."""
    times: tuple[float, ...]
    """Event times, seconds since 1970."""
    columns: dict[str, tuple[float | str | None, ...]]
    """Values by signal name; null is missing, an infinity is written as the string ``inf``."""

    @property
    def id(self) -> str:
        """Its coordinates."""
        return f"{self.model}/{self.version}/{self.topic}/{self.partition}/{self.from_offset}-{self.next_offset}"


class UnregisteredRows(Outbound):
    """Rows of a model version that nobody registered: counted since the worker got the partition, not profiled."""

    kind: Literal["unregistered"] = "unregistered"
    model: str
    version: str
    topic: str
    partition: int
    rows: int
    next_offset: int
    time: AwareDatetime | None = None

    @property
    def id(self) -> str:
        """Its coordinates."""
        return f"{self.model}/{self.version}/{self.topic}/{self.partition}/unregistered/{self.next_offset}"


ProfileEvent = Annotated[ProfileTotal | BaselineRows | UnregisteredRows, Field(discriminator="kind")]
PROFILE_EVENT: TypeAdapter[ProfileTotal | BaselineRows | UnregisteredRows] = TypeAdapter(ProfileEvent)
