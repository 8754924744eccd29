"""Phases of the season: the hour of the day, or of the week, in the model's timezone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from schemas.model_spec import Seasonality

PHASES: Final = {Seasonality.NONE: 1, Seasonality.DAILY: 24, Seasonality.WEEKLY: 168}
"""How many phases a season has."""

_SLOT_S: Final = 900
"""Offsets from UTC are whole quarters of an hour everywhere since 1972."""
_MOST_SLOTS: Final = 65_536


class Season:
    """Finds the phase of event times.

    Parameters
    ----------
    seasonality
        Which phases there are.
    timezone
        An IANA name: phases follow its clocks, which are put forward and back.
    """

    def __init__(self, seasonality: Seasonality, timezone: str) -> None:
        self.phases = PHASES[seasonality]
        self._weekly = seasonality is Seasonality.WEEKLY
        self._zone = ZoneInfo(timezone)
        self._phase_by_slot: dict[int, int] = {}

    def phase_of(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """Phase of each time (seconds since 1970), shape (n,): the hour, counted from Monday in a week, 0 without one.

        Each quarter of an hour is looked up once, so that a run of records costs next to nothing.
        """
        if self.phases == 1:
            return np.zeros(len(times), dtype=np.int64)
        if not np.isfinite(times).all():
            raise ValueError("phases of a season need the time of every row")
        slots = np.floor_divide(times, _SLOT_S).astype(np.int64)
        if len(slots) and (slots == slots[0]).all():
            return np.full(len(slots), self._phase(int(slots[0])), dtype=np.int64)
        distinct, place = np.unique(slots, return_inverse=True)
        return np.array([self._phase(slot) for slot in distinct.tolist()], dtype=np.int64)[place]

    def _phase(self, slot: int) -> int:
        phase = self._phase_by_slot.get(slot)
        if phase is None:
            local = datetime.fromtimestamp(slot * _SLOT_S, UTC).astimezone(self._zone)
            phase = 24 * local.weekday() + local.hour if self._weekly else local.hour
            if len(self._phase_by_slot) >= _MOST_SLOTS:
                self._phase_by_slot.clear()
            self._phase_by_slot[slot] = phase
        return phase
