"""Cron expressions, windows of time, and notices of maintenance, all for a time that is given."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

from schemas.policy import ScheduledSpec, WindowSpec
from schemas.responses import MaintenanceNotice

KEPT_NOTICES: Final = 100
"""Of a model; the oldest are forgotten."""


def next_time(cron: str, zone: str, after: float) -> float:
    """First time that a cron expression gives after ``after`` (seconds since 1970); infinite where there is none."""
    try:
        return next(CronSim(cron, _local(after, zone))).timestamp()
    except StopIteration:
        return math.inf


def next_run(schedule: ScheduledSpec, zone: str, model: str, after: float) -> float:
    """First scheduled time after ``after``, put off by the model's own part of the jitter."""
    late = schedule.jitter.total_seconds() * share_of(model)
    return next_time(schedule.cron, zone, after - late) + late


def share_of(model: str) -> float:
    """A number from 0 to 1 (exclusive) that is always the same for a model."""
    return int.from_bytes(hashlib.sha256(model.encode()).digest()[:6], "big") / 2.0**48


def window_end(windows: Sequence[WindowSpec], zone: str, now: float) -> float | None:
    """When the window that ``now`` lies in is over, the latest of several; None outside of all."""
    ends = (end for window in windows if (end := _end(window, zone, now)) is not None)
    return max(ends, default=None)


def _end(window: WindowSpec, zone: str, now: float) -> float | None:
    if window.since is not None and window.until is not None:
        return window.until.timestamp() if window.since.timestamp() <= now < window.until.timestamp() else None
    if window.cron is None or window.lasts is None:
        return None
    behind = _local(now, zone) + timedelta(seconds=1)
    began = next(CronSim(window.cron, behind, reverse=True), None)
    end = -math.inf if began is None else began.timestamp() + window.lasts.total_seconds()
    return end if now < end else None


def _local(seconds: float, zone: str) -> datetime:
    return datetime.fromtimestamp(math.floor(seconds), ZoneInfo(zone))


class Notices:
    """Notices of maintenance, by id: the last of an id counts."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, notice: MaintenanceNotice) -> None:
        """Remember a notice."""
        self._known[notice.id] = (notice.since.timestamp(), notice.until.timestamp())
        self._known.move_to_end(notice.id)
        while len(self._known) > KEPT_NOTICES:
            self._known.popitem(last=False)

    def end(self, now: float) -> float | None:
        """When the maintenance that ``now`` lies in is over; None outside of any."""
        return max((until for since, until in self._known.values() if since <= now < until), default=None)

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {"known": [[name, *times] for name, times in self._known.items()]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self._known = OrderedDict((name, (since, until)) for name, since, until in state["known"])
