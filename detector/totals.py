"""The running total (N, C) of one source partition for one model version: C counts all rows below offset N.

A total is a prefix sum of the log. Whoever continues it from any saved (N, C) has the same total at the same offset:
rows below N are skipped, so records that are read again after a crash count once.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from detector.layout import Layout
from detector.profile import Profile
from detector.quality.counters import Carry
from detector.rows import Rows
from detector.sampling import RowSampler
from detector.schema.shapes import Shapes
from detector.state import pack, unpack
from schemas.model_spec import OffsetRange
from schemas.profiles import ProfileTotal


@dataclass(slots=True)
class RunningTotal:
    """What a profiling agent keeps for one model version and source partition.

    Attributes
    ----------
    layout
        Of the model version's spec.
    topic, partition, incarnation
        What is counted; the incarnation is raised when the topic was made anew.
    started_at
        The offset from which is counted.
    next_offset
        N, the first offset that is not counted. -1, the default: ``started_at``.
    profile
        C.
    time
        The latest event time counted, seconds since 1970.
    appended_at
        Timestamp of the last record counted, seconds since 1970.
    uncounted
        Offsets that were gone before they could be counted.
    """

    layout: Layout
    topic: str
    partition: int
    started_at: int = 0
    incarnation: int = 0
    next_offset: int = -1
    profile: Profile = field(default_factory=Profile)
    time: float | None = None
    appended_at: float | None = None
    uncounted: tuple[OffsetRange, ...] = ()
    carry: Carry | None = None
    """What counters keep of the last rows counted; None: none were."""
    shapes: Shapes | None = None
    """What sampled records have otherwise than the spec says; None: none were met."""
    _sampler: RowSampler | None = field(init=False, repr=False, compare=False, default=None)
    """Where the spec has surrogates: draws from the rows since the last event. It is no part of the total. Rows whose
    event was never published are read again after a restart, and drawn again; an event that compaction removes
    before it was read takes its sample with it."""

    def __post_init__(self) -> None:
        if self.next_offset < 0:
            self.next_offset = self.started_at
        if self.carry is None:
            self.carry = self.layout.begin()
        spec = self.layout.spec
        if self.shapes is None:
            self.shapes = Shapes(spec)
        if spec.surrogates is not None and spec.surrogate_signals:
            self._sampler = RowSampler(spec.signals, self.topic, self.partition, spec.surrogates.sample_rows)

    @property
    def model(self) -> str:
        """Id of the model."""
        return self.layout.spec.model

    @property
    def version(self) -> str:
        """Version of the model."""
        return self.layout.spec.version

    @property
    def spec_hash(self) -> str:
        """Hash of the spec in whose layout is counted."""
        return self.layout.spec_hash

    @property
    def rows(self) -> int:
        """Rows counted, all parts together."""
        return sum(map(self.layout.row_count, self.profile.parts.values()))

    @property
    def invalid(self) -> dict[str, int]:
        """Values that were not of their feature's type, by feature: read off the counts, so as exact as they are."""
        whole = np.zeros(self.layout.width, dtype=np.int64)
        for vector in self.profile.parts.values():
            whole += vector
        return self.layout.invalid_values(whole)

    def add(self, rows: Rows, next_offset: int, appended_at: float | None = None) -> int:
        """Count the rows of a run that are not counted yet, and move on to ``next_offset``.

        Parameters
        ----------
        rows
            Rows of this model version in the run, in log order; there may be none.
        next_offset
            The offset behind the run's last record.
        appended_at
            Timestamp of the run's last record, seconds since 1970.

        Returns
        -------
        int
            How many rows were counted; a run that lies below N changes nothing.

        Raises
        ------
        ValueError
            If a row lies at ``next_offset`` or behind it.
        """
        if len(rows) and int(rows.offsets[-1]) >= next_offset:
            raise ValueError(f"a row at offset {rows.offsets[-1]} does not lie below {next_offset}")
        if next_offset <= self.next_offset:
            return 0
        start = int(np.searchsorted(rows.offsets, self.next_offset))
        fresh = rows.slice(start, len(rows)) if start else rows
        if len(fresh):
            self.profile.add(self.layout.count(fresh, self.carry))
            if self._sampler is not None:
                self._sampler.add(fresh)
            latest = float(fresh.times.max())
            self.time = latest if self.time is None else max(self.time, latest)
            if self.shapes is not None:
                for shape in fresh.shapes:
                    if self.next_offset <= shape.offset < next_offset:
                        self.shapes.add(shape)
        if appended_at is not None:
            self.appended_at = appended_at
        self.next_offset = next_offset
        return len(fresh)

    def to_event(self, generation: int = 0, *, hand_over: bool = True) -> ProfileTotal:
        """Write the total as it is published, with the rows drawn since the last time, which are handed over.

        Parameters
        ----------
        generation
            The consumer group's.
        hand_over
            False: leave the rows drawn where they are; for whoever only wants to see the counts.
        """
        return ProfileTotal(
            model=self.model,
            version=self.version,
            spec_hash=self.spec_hash,
            topic=self.topic,
            partition=self.partition,
            incarnation=self.incarnation,
            generation=generation,
            started_at=self.started_at,
            next_offset=self.next_offset,
            rows=self.rows,
            time=_moment(self.time),
            appended_at=_moment(self.appended_at),
            parts=self.profile.encode_parts(),
            invalid=self.invalid,
            uncounted=self.uncounted,
            carry=_write_carry(self.carry),
            shapes=None if self.shapes is None else self.shapes.to_event(),
            sample=self._sampler.take() if hand_over and self._sampler is not None else None,
        )

    @classmethod
    def from_event(cls, event: ProfileTotal, layout: Layout) -> RunningTotal:
        """Continue a published total.

        Raises
        ------
        ValueError
            If it was counted for another spec, or is damaged.
        """
        if event.spec_hash != layout.spec_hash:
            raise ValueError(f"total {event.id} was counted for another spec of {event.model} {event.version}")
        return cls(
            layout,
            event.topic,
            event.partition,
            started_at=event.started_at,
            incarnation=event.incarnation,
            next_offset=event.next_offset,
            profile=Profile.decode_parts(event.parts, layout.width, segment_width=layout.segment_width),
            time=None if event.time is None else event.time.timestamp(),
            appended_at=None if event.appended_at is None else event.appended_at.timestamp(),
            uncounted=event.uncounted,
            carry=read_carry(event.carry, layout),
            shapes=Shapes.from_event(event.shapes, layout.spec),
        )


def _write_carry(carry: Carry | None) -> str | None:
    return base64.b64encode(pack(dict(carry))).decode("ascii") if carry else None


def read_carry(text: str | None, layout: Layout) -> Carry:
    """Read what counters kept; nothing of what is written is trusted."""
    carry = layout.begin()
    if text is None:
        return carry
    saved = unpack(base64.b64decode(text, validate=True))
    for name, zeros in carry.items():
        array = saved.get(name)
        if not isinstance(array, np.ndarray) or array.shape != zeros.shape or array.dtype != zeros.dtype:
            raise ValueError(f"a damaged total: what it carries of the rows before does not fit ({name})")
    return {name: saved[name] for name in carry}


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
