"""What would have followed? A policy tried on what a backtest found: the worker's own core, by event times alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from agents.backtest import Backtest
from detector.responses.inputs import Held, Input, Sent, moment, progress_of, time_of
from detector.responses.partition import Entry, PartitionResponses
from schemas.model_spec import ModelSpec
from schemas.outbound import DriftEvent
from schemas.responses import Tick

PROGRESS_S: Final = 3_600.0
"""Progress is told once in so much event time: how late a schedule, a digest or a cooldown may be."""


class Rehearsal:
    """Decides what follows from drift events and from how far the rows have come.

    Nobody answers its requests: where the spec awaits answers, they are repeated and expire.
    """

    def __init__(self) -> None:
        self._responses = PartitionResponses()
        self._offset = 0
        self._at = 0.0
        self._told_at = 0.0
        self.decisions: list[Sent] = []
        """In the order in which they were taken."""

    def take(self, event: DriftEvent, spec: ModelSpec) -> None:
        """Take a drift event."""
        self._take(event, time_of(event), spec)

    def look(self, backtest: Backtest) -> None:
        """Let time pass to where the rows have come: after each fold."""
        if backtest.time is None or backtest.time - self._told_at < PROGRESS_S:
            return
        self._told_at = backtest.time
        for status in backtest.status():
            progress = progress_of(status)
            if progress is not None and progress.time is not None:
                self._take(progress, progress.time.timestamp(), backtest.spec)

    def wait(self, span: timedelta, spec: ModelSpec) -> None:
        """Let time pass in which nothing comes, an hour at a time."""
        for _ in range(int(span.total_seconds() // PROGRESS_S)):
            at = self._at + PROGRESS_S
            self._take(Tick(time=moment(at)), at, spec)

    def _take(self, item: Input, time: float | None, spec: ModelSpec) -> None:
        if time is None:
            return
        self._at = max(self._at, time)
        decided = self._responses.take(Entry(self._offset, self._at, item), lambda *_: spec)
        self._offset += 1
        self.decisions += [decision for decision in decided if not isinstance(decision, Held)]
