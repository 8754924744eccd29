"""Panes add up to a step, and a step is judged when it holds enough rows and its turn has come.

A step closes with ``min_rows`` rows, or after ``max_wait`` of event time with fewer. A busy model is judged at most
once in ``min_interval`` of event time *on average*: steps not used are saved up as credit (at most ``CREDIT``), so that
a model's first minutes and a burst after a quiet hour are judged at once. The number of steps in a period, on which the
false-alarm budget rests, stays bounded by ``steps_in``. No clock is read: event times are the only time there is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.model_spec import StepSpec
from schemas.outbound import Pane

Counts = NDArray[np.int64]

CREDIT: Final = 60.0
"""Steps that can be saved up."""
SHORTEST_INTERVAL_S: Final = 1.0
"""Floor of the interval that the budget counts with, for specs that ask for no interval at all."""
STUCK_CLOCK_ROWS: Final = 65_536
"""A step closes with this many rows whatever the event times say: a producer's clock may stand still."""


def steps_in(period: timedelta, spec: StepSpec) -> float:
    """How many steps a period can hold at the most: what the budget is divided by."""
    interval = max(spec.min_interval.total_seconds(), SHORTEST_INTERVAL_S)
    return period.total_seconds() / interval + CREDIT


@dataclass(frozen=True, slots=True)
class PaneCounts:
    """The rows of one stage that came between two running totals of one source partition."""

    pane: Pane
    parts: dict[int, Counts]
    """Phase to vector in the spec's layout."""
    time: float | None
    """The latest event time in the total, in seconds since 1970."""
    sampled: tuple[NDArray[np.float64], NDArray[np.bool_]] | None = None
    """Some of the rows in full, a table (`detector.reference_rows`), and which signals they carry, (S,)."""
    segments: dict[int, Counts] = field(default_factory=dict)
    """The same rows by segment: number to vector (`detector.segments.counting`)."""


@dataclass(slots=True)
class OpenStep:
    """The step that is being filled."""

    parts: dict[int, Counts] = field(default_factory=dict)
    panes: list[Pane] = field(default_factory=list)
    rows: int = 0
    segments: dict[int, Counts] = field(default_factory=dict)

    def add(self, counts: PaneCounts) -> None:
        """Add a pane's counts; panes of one partition are joined, so that the step stays small."""
        for mine, theirs in ((self.parts, counts.parts), (self.segments, counts.segments)):
            for key, vector in theirs.items():
                mine[key] = mine[key] + vector if key in mine else vector
        self.rows += counts.pane.rows
        self._join(counts.pane)

    @property
    def whole(self) -> Counts:
        """One vector, all phases together."""
        return np.asarray(sum(self.parts.values()))

    def state(self) -> dict[str, Any]:
        """What must be saved."""
        panes = [pane.model_dump() for pane in self.panes]
        saved = {"parts": sorted(self.parts.items()), "panes": panes, "rows": self.rows}
        return saved | ({"segments": sorted(self.segments.items())} if self.segments else {})

    @classmethod
    def restored(cls, state: dict[str, Any]) -> OpenStep:
        """Take up where ``state`` left off."""
        panes = [Pane(**pane) for pane in state["panes"]]
        return cls(dict(state["parts"]), panes, state["rows"], dict(state.get("segments", ())))

    def _join(self, pane: Pane) -> None:
        for position, earlier in enumerate(self.panes):
            if (earlier.topic, earlier.partition) == (pane.topic, pane.partition):
                rows = earlier.rows + pane.rows
                self.panes[position] = earlier.model_copy(update={"to_offset": pane.to_offset, "rows": rows})
                return
        self.panes.append(pane)


class StepClock:
    """Decides when the open step closes, by rows and event times alone."""

    def __init__(self, spec: StepSpec) -> None:
        self._spec = spec
        self._interval = spec.min_interval.total_seconds()
        self._longest = spec.max_wait.total_seconds()
        self.now: float | None = None
        """The latest event time seen: never goes back."""
        self._credit = CREDIT
        self._opened_at: float | None = None

    def advance(self, time: float | None) -> None:
        """Take note of the latest event time; credit grows with it."""
        if time is None or (self.now is not None and time <= self.now):
            return
        if self.now is not None and self._interval > 0:
            self._credit = min(CREDIT, self._credit + (time - self.now) / self._interval)
        self.now = time
        if self._opened_at is None:
            self._opened_at = time

    def closes(self, rows: int) -> bool:
        """Whether a step of so many rows is to be judged now."""
        if rows >= STUCK_CLOCK_ROWS:
            return True
        if self.now is None or self._opened_at is None:
            return rows >= self._spec.min_rows
        waited = self.now - self._opened_at
        enough = rows >= self._spec.min_rows or (rows > 0 and waited >= self._longest)
        return enough and (self._interval <= 0 or self._credit >= 1.0)

    def restart(self) -> None:
        """Begin the next step."""
        self._opened_at = self.now
        if self.now is not None:
            self._credit = max(0.0, self._credit - 1.0)

    def state(self) -> dict[str, Any]:
        """What must be saved."""
        return {"now": self.now, "credit": self._credit, "opened_at": self._opened_at}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up where ``state`` left off."""
        self.now, self._credit, self._opened_at = state["now"], state["credit"], state["opened_at"]
