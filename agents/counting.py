"""The running total of one model version in one source partition, and when it is published.

By the clock: whenever it has changed. By rows: exactly every K rows, cut between two records, so that steps end at the
same offsets whoever counts, however often it was stopped, and however the records were fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from detector.rows import Rows
from detector.totals import RunningTotal
from schemas.model_spec import OffsetRange
from schemas.profiles import ProfileTotal

MOST_GAPS = 100
"""So many ranges of uncounted offsets are kept in a total: the newest."""

AppendedAt = Callable[[int], float]
"""Timestamp (seconds since 1970) of the last record below an offset."""


@dataclass(slots=True)
class Counting:
    """A running total and what of it is published.

    Attributes
    ----------
    total
        Continued from what was saved, or new.
    generation
        The consumer group's, written into every event.
    every_rows
        K; None: publish by the clock.
    changed
        Whether there is something to publish.
    """

    total: RunningTotal
    generation: int
    every_rows: int | None = None
    changed: bool = False
    _rows: int = field(init=False)
    _cut_rows: int = field(init=False)
    _cut_offset: int = field(init=False)
    _cuts: list[ProfileTotal] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._rows = self._cut_rows = self.total.rows
        self._cut_offset = self.total.next_offset

    def add(self, rows: Rows, next_offset: int, appended_at: AppendedAt) -> int:
        """Count the rows of a run that are not counted yet; return how many.

        Parameters
        ----------
        rows
            Of this model version, in log order.
        next_offset
            The offset behind the run's last record.
        appended_at
            Timestamps of the run's records.
        """
        if self.every_rows is None:
            counted = self._count(rows, next_offset, appended_at)
            self.changed = self.changed or counted > 0
            return counted
        counted = 0
        rows = rows.slice(int(np.searchsorted(rows.offsets, self.total.next_offset)), len(rows))
        while len(rows) >= (missing := self.every_rows - (self._rows - self._cut_rows)):
            cut = int(rows.offsets[missing - 1]) + 1
            stop = int(np.searchsorted(rows.offsets, cut))
            counted += self._count(rows.slice(0, stop), cut, appended_at)
            rows = rows.slice(stop, len(rows))
            self._cut()
        return counted + self._count(rows, next_offset, appended_at)

    def _count(self, rows: Rows, next_offset: int, appended_at: AppendedAt) -> int:
        counted = self.total.add(rows, next_offset, appended_at(next_offset))
        self._rows += counted
        return counted

    def _cut(self) -> None:
        self._cuts.append(self.total.to_event(self.generation))
        self._cut_rows, self._cut_offset, self.changed = self._rows, self.total.next_offset, True

    def leave_out(self, gap: OffsetRange) -> None:
        """Name offsets that were gone before they could be counted."""
        known = self.total.uncounted
        if known and known[-1].to_offset == gap.from_offset:
            known, gap = known[:-1], gap.model_copy(update={"from_offset": known[-1].from_offset})
        self.total.uncounted = (*known, gap)[-MOST_GAPS:]
        self.changed = self.changed or self.every_rows is None

    def take(self) -> list[ProfileTotal]:
        """Return what is to be published, in order, and forget it."""
        if not self.changed:
            return []
        self.changed = False
        if self.every_rows is None:
            return [self.total.to_event(self.generation)]
        cuts, self._cuts = self._cuts, []
        return cuts

    def committable(self, position: int) -> int:
        """Return the offset up to which everything is in what `take` has returned."""
        return position if self.every_rows is None or self._rows == self._cut_rows else self._cut_offset
