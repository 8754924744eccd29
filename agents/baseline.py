"""Forwarding the first rows of a model version whose reference is collected from the stream.

Each source partition forwards at most as many rows as the reference needs, since it cannot know how many the others
have. A record is forwarded whole or not at all: the baseline ends between two records, and counting starts there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np
import structlog

from agents.statelog import ENVELOPE_BYTES
from detector.baseline import columns_of
from detector.rows import Rows
from schemas import codec
from schemas.model_spec import ModelSpec
from schemas.profiles import BaselineRows
from schemas.topics import TOPICS

CHUNK_BYTES: Final = 900_000
"""Aimed at for one event, so that a fetch of any consumer holds some."""
LARGEST_BYTES: Final = TOPICS["profiles"].max_message_bytes - ENVELOPE_BYTES

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Collecting:
    """What one source partition has forwarded of one model version.

    Attributes
    ----------
    spec, spec_hash
        The spec that asks for the reference.
    first_offset
        Of the first record forwarded; None before there was one.
    next_offset
        Rows below it were forwarded.
    rows
        How many were forwarded.
    chunk_bytes, largest_bytes
        Aimed at for one event, and allowed for a record that has more rows than fit.
    """

    spec: ModelSpec
    spec_hash: str
    topic: str
    partition: int
    first_offset: int | None = None
    next_offset: int = 0
    rows: int = 0
    chunk_bytes: int = CHUNK_BYTES
    largest_bytes: int = LARGEST_BYTES
    _pending: list[Rows] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether this partition alone has forwarded enough for the reference."""
        return self.rows >= self.spec.reference.rows

    @property
    def pending(self) -> int:
        """Rows that `take` would return."""
        return sum(len(rows) for rows in self._pending)

    def add(self, rows: Rows, next_offset: int) -> int:
        """Keep the rows of a run that are new and still wanted; return how many."""
        if self.is_full or next_offset <= self.next_offset:
            return 0
        rows = rows.slice(int(np.searchsorted(rows.offsets, self.next_offset)), len(rows))
        wanted = self.spec.reference.rows - self.rows
        if len(rows) > wanted:
            next_offset = int(rows.offsets[wanted - 1]) + 1
            rows = rows.slice(0, int(np.searchsorted(rows.offsets, next_offset)))
        self.next_offset = next_offset
        if len(rows) == 0:
            return 0
        if self.first_offset is None:
            self.first_offset = int(rows.offsets[0])
        self._pending.append(rows)
        self.rows += len(rows)
        return len(rows)

    def resume(self, forwarded: BaselineRows) -> None:
        """Continue behind an event that was published before."""
        if forwarded.from_offset >= self.next_offset:
            self.rows += len(forwarded.offsets)
        if self.first_offset is None or forwarded.from_offset < self.first_offset:
            self.first_offset = forwarded.from_offset
        self.next_offset = max(forwarded.next_offset, self.next_offset)

    def take(self) -> list[BaselineRows]:
        """Return what is to be published, and forget it."""
        if not self._pending:
            return []
        rows, self._pending = Rows.concat(self._pending), []
        return list(self._chunks(rows, self.next_offset))

    def _chunks(self, rows: Rows, next_offset: int) -> Iterator[BaselineRows]:
        """Halve the rows, between two records, until each event is small enough."""
        event = self._event(rows, next_offset)
        size = len(codec.encode(event))
        middle = _between_records(rows)
        if size <= self.chunk_bytes or (middle is None and size <= self.largest_bytes):
            yield event
        elif middle is None:
            log.error("a record is too large to be forwarded: its rows are missing from the baseline",
                      record=f"{self.topic}/{self.partition}/{rows.offsets[0]}", bytes=size)  # fmt: skip
        else:
            yield from self._chunks(rows.slice(0, middle), int(rows.offsets[middle]))
            yield from self._chunks(rows.slice(middle, len(rows)), next_offset)

    def _event(self, rows: Rows, next_offset: int) -> BaselineRows:
        return BaselineRows(
            model=self.spec.model,
            version=self.spec.version,
            spec_hash=self.spec_hash,
            topic=self.topic,
            partition=self.partition,
            from_offset=int(rows.offsets[0]),
            next_offset=next_offset,
            time=datetime.fromtimestamp(float(rows.times.max()), UTC),
            offsets=tuple(rows.offsets.tolist()),
            times=tuple(rows.times.tolist()),
            columns=columns_of(self.spec, rows),
        )


def _between_records(rows: Rows) -> int | None:
    """Index near the middle at which a record begins; None where all rows are of one record."""
    middle = rows.offsets[len(rows) // 2]
    for index in (int(np.searchsorted(rows.offsets, middle)), int(np.searchsorted(rows.offsets, middle, side="right"))):
        if 0 < index < len(rows):
            return index
    return None
