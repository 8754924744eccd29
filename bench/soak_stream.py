"""What a long run is fed: predictions of many models, labels that come late, drift that comes and goes.

A number is a prediction; its label comes so many numbers later as predictions are to be pending. Models drift in turns,
each at times of its own, so that at any moment incidents open in some and close in others. Event time passes faster
than the clock: a step closes with each publication, and what has waited long enough leaves the store of the join.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from aiokafka import AIOKafkaProducer

from agents.settings import Settings
from bench.events import VERSION, EventSource, Shape, labelled_specs, model_name
from schemas.model_spec import ModelSpec
from schemas.performance import OutcomeSpec

SPEED: Final = 15.0
"""Event time passes so many times as fast as the clock."""
SHIFT: Final = 2.0
"""Standard deviations by which a feature moves."""
STABLE_S: Final = 60.0
"""Before the first drift: a model's own burstiness is measured first."""
TURN_S: Final = 45.0
"""How long a drift lasts, and how long the calm after it."""
WAIT: Final = 1.25
"""Predictions wait for so many times the lag of their labels."""
AHEAD: Final = 10_000
"""Predictions that the worker has not counted yet, at most."""
_TICK_S: Final = 0.05
_TOGETHER: Final = 2_000


@dataclass(frozen=True)
class Load:
    """What flows.

    Attributes
    ----------
    shape
        Of the models and their events.
    rate
        Predictions a second, of all models together, and as many labels; fewer where the worker does not keep up.
    pending
        Predictions that wait for their label at any time.
    minutes
        How long.
    """

    shape: Shape
    rate: float
    pending: int
    minutes: float

    @property
    def lag_s(self) -> float:
        """Of a label behind its prediction, in event time."""
        return SPEED * self.pending / self.rate

    def specs(self) -> list[ModelSpec]:
        """The models, whose predictions wait a little longer than their labels take."""
        outcomes = OutcomeSpec(wait=timedelta(seconds=WAIT * self.lag_s))
        return [spec.model_copy(update={"outcomes": outcomes}) for spec in labelled_specs(self.shape)]


class Stream:
    """Sends a load for as long as it lasts.

    Parameters
    ----------
    settings, load
        Where to, and what.
    counted
        How many predictions the worker has counted so far: it is never far behind, since the embedded broker answers a
        fetch with all that it has, and a large backlog would come in one piece.
    """

    def __init__(self, settings: Settings, load: Load, counted: Callable[[], int]) -> None:
        self._counted = counted
        self._settings = settings
        self._load = load
        models = range(load.shape.models)
        self._calm = [EventSource(load.shape, model) for model in models]
        self._moved = [EventSource(load.shape, model, SHIFT) for model in models]
        self._since = time.time() - SPEED * (load.pending / load.rate + 60.0 * load.minutes) - 60.0
        self.sent = 0
        """Predictions so far."""

    async def run(self) -> None:
        """Fill up what is pending, then send at the rate asked for, until the time is over."""
        producer = AIOKafkaProducer(bootstrap_servers=self._settings.bootstrap_servers, linger_ms=20)
        await producer.start()
        try:
            while self.sent < self._load.pending:
                await self._send(producer, min(self._load.pending, self.sent + _TOGETHER))
            began = time.monotonic()
            while (elapsed := time.monotonic() - began) < 60.0 * self._load.minutes:
                await self._send(producer, self._load.pending + int(elapsed * self._load.rate))
                await asyncio.sleep(_TICK_S)
        finally:
            await producer.stop()

    async def _send(self, producer: AIOKafkaProducer, stop: int) -> None:
        """Send predictions up to a number, and the labels that are due with them; wait for the last of them."""
        last, stop = None, max(self.sent, min(stop, self._counted() + AHEAD))
        if stop == self.sent:
            await asyncio.sleep(_TICK_S)
        for number in range(self.sent, stop):
            last = await self._produce(producer, "predictions", number, self._prediction(number))
            if number >= self._load.pending:
                of = number - self._load.pending
                last = await self._produce(producer, "outcomes", of, self._label(of, number))
        self.sent = stop
        if last is not None:
            await last

    async def _produce(
        self, producer: AIOKafkaProducer, topic: str, number: int, value: bytes
    ) -> asyncio.Future[object]:
        partition = self._model(number) % self._settings.partitions
        sent: asyncio.Future[object] = await producer.send(self._settings.topic(topic), value, partition=partition)
        return sent

    def _prediction(self, number: int) -> bytes:
        model = self._model(number)
        source = (self._moved if self._is_moved(number) else self._calm)[model]
        head, _, rest = next(source.at(self._time(number))).partition(b'"prediction_id":"')
        return head + b'"prediction_id":"' + _id(number) + rest[rest.index(b'"') :]

    def _label(self, number: int, now: int) -> bytes:
        written = datetime.fromtimestamp(self._time(now), UTC).isoformat(timespec="microseconds")
        head = f'{{"model":"{model_name(self._model(number))}","version":"{VERSION}","time":"{written}"'.encode()
        label = b"1" if number * 2_654_435_761 >> 7 & 1 else b"0"
        return head + b',"prediction_id":"' + _id(number) + b'","label":"' + label + b'"}'

    def _model(self, number: int) -> int:
        return number % self._load.shape.models

    def _time(self, number: int) -> float:
        return self._since + number * SPEED / self._load.rate

    def _is_moved(self, number: int) -> bool:
        """Whether the model of a number drifts then; each does so at times of its own."""
        elapsed = (number - self._load.pending) / self._load.rate
        since = elapsed - STABLE_S - self._model(number) / self._load.shape.models * 2 * TURN_S
        return since > 0 and int(since / TURN_S) % 2 == 0


def _id(number: int) -> bytes:
    return b"%08x-51c4-4d0e-8a37-%012x" % (number, number * 2_654_435_761 % 2**48)
