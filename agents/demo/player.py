"""The demo's serving system: every flight is answered, and told of again when it has arrived, at a faster year's pace.

Events are what the README asks of a serving system, no more: JSON with the model, its version, the time, the features
and the answer; and hours later, when the flight arrives, an outcome with the same id. Cancelled and diverted flights
never get one. Nothing tells the worker that time is compressed; it goes by the event times.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np
from aiokafka import AIOKafkaProducer
from numpy.typing import NDArray

from agents.demo.flights import CATEGORIES, FEATURES, LATE, ON_TIME, Flights
from agents.demo.model import MODEL, THRESHOLD, VERSION
from agents.settings import Settings

TICK_S: Final = 0.05
_DAY_S: Final = 86_400.0
_BLOCK: Final = 4_000
"""Events encoded at once."""
KEY: Final = MODEL.encode()
"""Of every record: the rows of the model keep their order."""


@dataclass(slots=True)
class Played:
    """How far the player has come."""

    predictions: int = 0
    outcomes: int = 0
    now: float = 0.0
    """Event time, seconds since 1970."""
    started_at: float = 0.0
    """Monotonic."""
    stopped_at: float | None = None

    @property
    def seconds(self) -> float:
        """How long it has been playing."""
        return (self.stopped_at or time.monotonic()) - self.started_at

    @property
    def events_per_s(self) -> float:
        """Predictions and outcomes, on average."""
        return (self.predictions + self.outcomes) / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """What happens to n flights, m of which arrive, in the order of time."""

    times: NDArray[np.float64]
    """(n + m,) seconds since 1970."""
    flights: NDArray[np.int64]
    """(n + m,) which flight it happens to."""
    is_arrival: NDArray[np.bool_]
    """(n + m,) whether it arrives, and a label becomes known; else it is about to leave, and is answered."""

    @classmethod
    def of(cls, flights: Flights) -> Schedule:
        """Put departures and arrivals in one order."""
        arrived = np.flatnonzero(flights.arrived)
        times = np.concatenate([flights.times, flights.arrivals[arrived]])
        who = np.concatenate([np.arange(len(flights)), arrived])
        order = np.argsort(times, kind="stable")
        return cls(times[order], who[order], order >= len(flights))


class Player:
    """Sends flights at a pace.

    Parameters
    ----------
    settings
        Where the broker is.
    flights, scores
        What is sent: (n,) flights in the order of time, and (n,) answers.
    speed
        Days of event time that pass in a second.
    is_behind
        Asked now and then whether the worker cannot follow; then the player waits, so that a slow machine sees the
        same demo, only longer.
    """

    def __init__(
        self,
        settings: Settings,
        flights: Flights,
        scores: NDArray[np.float64],
        *,
        speed: float,
        is_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._flights, self._scores, self._schedule = flights, scores, Schedule.of(flights)
        self._speed = speed * _DAY_S
        self._is_behind = is_behind

    async def play(self, played: Played, stop: asyncio.Event) -> None:
        """Send until all flights have arrived, or ``stop`` is set; return when the broker has acknowledged all."""
        predictions, outcomes = map(self._settings.topic, ("predictions", "outcomes"))
        if not played.started_at:
            played.started_at = time.monotonic()
        clock, first = time.monotonic(), float(self._schedule.times[0])
        async with AIOKafkaProducer(
            **self._settings.client_options(), linger_ms=5, max_batch_size=262_144, acks=1
        ) as producer:
            for at, is_arrival, value in self._events():
                ahead = at - first - (time.monotonic() - clock) * self._speed
                if ahead > 0:
                    await asyncio.sleep(max(ahead / self._speed, TICK_S))
                while self._is_behind() and not stop.is_set():
                    await asyncio.sleep(TICK_S)
                    clock += TICK_S  # the time spent waiting is not caught up
                if stop.is_set():
                    break
                await producer.send(outcomes if is_arrival else predictions, value, key=KEY)
                if is_arrival:
                    played.outcomes += 1
                else:
                    played.predictions += 1
                played.now = at
        played.stopped_at = time.monotonic()

    def _events(self) -> Iterator[tuple[float, bool, bytes]]:
        """What happens, in the order of time: when, whether it is an arrival, and the event."""
        schedule = self._schedule
        for start in range(0, len(schedule.times), _BLOCK):
            block = slice(start, start + _BLOCK)
            times, who, is_arrival = schedule.times[block], schedule.flights[block], schedule.is_arrival[block]
            leaving = who[~is_arrival]
            predictions = iter(encode_predictions(self._flights[leaving], self._scores[leaving]))
            outcomes = iter(encode_outcomes(self._flights[who[is_arrival]]))
            for at, arrives in zip(times.tolist(), is_arrival.tolist(), strict=True):
                yield at, arrives, next(outcomes if arrives else predictions)


def encode_predictions(flights: Flights, scores: NDArray[np.float64]) -> list[bytes]:
    """Prediction events of some flights, as JSON."""
    columns = [_values(flights, name) for name in FEATURES]
    encoder = msgspec.json.Encoder()
    rows = zip(flights.prediction_ids, flights.times, flights.origin, scores, zip(*columns, strict=True), strict=True)
    return [
        encoder.encode(
            {
                "model": MODEL,
                "version": VERSION,
                "prediction_id": prediction_id,
                "time": datetime.fromtimestamp(float(at), UTC),
                "features": dict(zip(FEATURES, features, strict=True)),
                "prediction": LATE if score >= THRESHOLD else ON_TIME,
                "score": round(float(score), 6),
                "segments": {"origin": str(origin)},
            }
        )
        for prediction_id, at, origin, score, features in rows
    ]


def encode_outcomes(flights: Flights) -> list[bytes]:
    """Outcome events of some flights that have arrived, as JSON."""
    encoder = msgspec.json.Encoder()
    rows = zip(flights.prediction_ids, flights.arrivals, flights.late, strict=True)
    return [
        encoder.encode(
            {
                "model": MODEL,
                "prediction_id": prediction_id,
                "time": datetime.fromtimestamp(float(at), UTC),
                "label": LATE if late else ON_TIME,
            }
        )
        for prediction_id, at, late in rows
    ]


def _values(flights: Flights, name: str) -> list[Any]:
    """Values of a feature as JSON has them: null is missing."""
    values = flights.column(name).tolist()
    if name in CATEGORIES:
        return values
    return [None if math.isnan(value) else value for value in values]
