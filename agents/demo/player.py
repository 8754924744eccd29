"""The demo's serving system: every flight is answered and sent as a prediction event, at the pace of a faster year.

An event is what the README asks of a serving system, no more: JSON with the model, its version, the time, the features
and the answer. Nothing tells the worker that time is compressed; it goes by the event times.
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

from agents.demo.flights import CATEGORIES, FEATURES, Flights
from agents.demo.model import MODEL, VERSION
from agents.settings import Settings

TICK_S: Final = 0.05
_DAY_S: Final = 86_400.0
_BLOCK: Final = 2_000
"""Flights encoded at once."""
KEY: Final = MODEL.encode()
"""Of every record: the rows of the model keep their order."""


@dataclass(slots=True)
class Played:
    """How far the player has come."""

    events: int = 0
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
        """On average."""
        return self.events / self.seconds if self.seconds > 0 else 0.0


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
    later
        Added to each event time, in seconds: for playing the same year again.
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
        later: float = 0.0,
        is_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._flights, self._scores = flights, scores
        self._speed, self._later = speed * _DAY_S, later
        self._is_behind = is_behind

    async def play(self, played: Played, stop: asyncio.Event) -> None:
        """Send until all flights have left, or ``stop`` is set; return when the broker has acknowledged all."""
        topic, times = self._settings.topic("predictions"), self._flights.times
        if not played.started_at:
            played.started_at = time.monotonic()
        clock, first = time.monotonic(), float(times[0])
        sent = 0
        async with AIOKafkaProducer(
            **self._settings.client_options(), linger_ms=5, max_batch_size=262_144, acks=1
        ) as producer:
            for value in self._events():
                ahead = times[sent] - first - (time.monotonic() - clock) * self._speed
                if ahead > 0:
                    await asyncio.sleep(max(ahead / self._speed, TICK_S))
                while self._is_behind() and not stop.is_set():
                    await asyncio.sleep(TICK_S)
                    clock += TICK_S  # the time spent waiting is not caught up
                if stop.is_set():
                    break
                await producer.send(topic, value, key=KEY)
                played.events += 1
                played.now = float(times[sent]) + self._later
                sent += 1
        played.stopped_at = time.monotonic()

    def _events(self) -> Iterator[bytes]:
        for start in range(0, len(self._flights), _BLOCK):
            rows = slice(start, start + _BLOCK)
            yield from encode_events(self._flights[rows], self._scores[rows], later=self._later)


def encode_events(flights: Flights, scores: NDArray[np.float64], later: float = 0.0) -> list[bytes]:
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
                "time": datetime.fromtimestamp(float(at) + later, UTC),
                "features": dict(zip(FEATURES, features, strict=True)),
                "prediction": "late" if score >= 0.5 else "on time",
                "score": round(float(score), 6),
                "segments": {"origin": str(origin)},
            }
        )
        for prediction_id, at, origin, score, features in rows
    ]


def _values(flights: Flights, name: str) -> list[Any]:
    """Values of a feature as JSON has them: null is missing."""
    values = flights.column(name).tolist()
    if name in CATEGORIES:
        return values
    return [None if math.isnan(value) else value for value in values]
