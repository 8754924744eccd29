"""What time it is for a model: event time, moved on by the log while no rows come.

The records of the log have times of their own (`at`). How far event times are ahead of them, at most, is the model's
lead, and its time is the log's plus that. Live, the lead is minus the delay of its rows, and the model's time is nearly
the clock's. Where last year's rows are played again in minutes, every row raises the lead, and a cooldown of a day is a
day of their data. In silence the time goes on as fast as the ticks do. It depends on the records alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ModelClock:
    """The time of one model, in seconds since 1970; it never goes back."""

    def __init__(self) -> None:
        self.now: float | None = None
        """None before the first event time."""
        self._lead: float | None = None
        self._at: float | None = None

    def read(self, at: float) -> float | None:
        """Return the model's time at the log's time ``at``, in seconds since 1970."""
        self._at = at if self._at is None else max(self._at, at)
        if self._lead is not None:
            now = self._at + self._lead
            self.now = now if self.now is None else max(self.now, now)
        return self.now

    def hear(self, time: float | None, at: float) -> bool:
        """Take note of an event time that a record of ``at`` told; return whether it was news."""
        self.read(at)
        if time is None or self._at is None or (self.now is not None and time <= self.now):
            return False
        self._lead, self.now = time - self._at, time
        return True

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes. The log's time is read from the next record."""
        return {"lead": self._lead}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self._lead, self._at, self.now = state["lead"], None, None
