"""The log that responses are decided from: everything that counts for them, in one order, on ``response-inputs``.

==================  ================================================================================================
record              comes from
==================  ================================================================================================
drift               ``drift-events``, as it is
ack                 ``retrain-acks``, as it is
notice              ``maintenance``, as it is; one for every model goes to all partitions
progress            an extract of ``model-status``: at most one for each version and stage in `TICK_S`, and for each
                    hour that its event time goes on
tick                whoever owns the partition, every `TICK_S`: the only clock there is
==================  ================================================================================================

What is forwarded says where it came from, so that a repeat is known as one (`detector.responses.partition`). The offset
of a source is committed when what was forwarded is acknowledged.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.structs import ConsumerRecord
from faust.types import TP
from pydantic import ValidationError

from agents.errors import DeliveryError
from agents.failpoints import Place, failpoint_or_hang
from agents.producer import Outgoing
from agents.runs import Run
from agents.statelog import partition_for
from agents.watchdog import Standing
from detector.responses.inputs import progress_of
from detector.responses.partition import Entry
from schemas import codec
from schemas.outbound import DriftEvent
from schemas.responses import EVERY_MODEL, MaintenanceNotice, RetrainAck, StatusExtract, Tick, VersionProgress

if TYPE_CHECKING:
    from agents.app import DriftlineApp

TICK_S: Final = 15.0
"""Seconds between ticks: how late a cooldown, a schedule or a digest may be."""
MOVED_S: Final = 3_600.0
"""Progress by so much event time is told at once: where last year is played again, time flies."""
_KIND: Final = "input"
_ORIGIN: Final = "origin"

_Stage = tuple[str, str, str]
"""Model, version, stage."""

log = structlog.get_logger(__name__)


class Kind(StrEnum):
    """What a record of the log is."""

    DRIFT = "drift"
    ACK = "ack"
    NOTICE = "notice"
    PROGRESS = "progress"
    TICK = "tick"


def read_entry(record: ConsumerRecord) -> Entry | None:
    """Read a record of the log; one that somebody else put there is reported and passed over."""
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    kind, origin = headers.get(_KIND, ""), headers.get(_ORIGIN, "")
    item = None if kind not in KINDS else read(KINDS[Kind(kind)], record)
    if item is None:
        return None
    at = item.time.timestamp() if isinstance(item, Tick) else record.timestamp / 1_000.0
    source, _, offset = origin.rpartition("/")
    if not offset.isdecimal():
        return Entry(record.offset, at, item)
    return Entry(record.offset, at, item, f"{kind}/{source}", int(offset))


def read(kind: type[codec.AnyEvent], record: ConsumerRecord) -> codec.AnyEvent | None:
    """Decode a record; one that is not what its topic is for is reported and passed over."""
    try:
        return codec.decode(kind, record.value or b"")
    except ValidationError as error:
        log.warning("a record is not what its topic is for", topic=record.topic, partition=record.partition,
                    offset=record.offset, why=str(error.errors(include_url=False)[0]["msg"]))  # fmt: skip
        return None


class ResponseInputs:
    """Forwards to the log, and lets time pass in it.

    Parameters
    ----------
    app
        The app to live in; the sources and the log are among its run topics.
    """

    def __init__(self, app: DriftlineApp) -> None:
        self._app = app
        self._settings = app.settings
        self._log = app.settings.topic("response-inputs")
        self._partitions = 0
        self._progress: dict[_Stage, VersionProgress] = {}
        """What was heard last of each version and stage and not forwarded."""
        self._told: dict[_Stage, datetime | None] = {}
        """Event time that was forwarded last."""
        self._heard: dict[TP, tuple[int, int]] = {}
        """Of ``model-status``: the offset to be committed once all progress is forwarded, and the generation."""
        self._standings: dict[TP, tuple[int, Standing]] = {}
        """How far each source has come, and in which generation."""
        self._ticked: dict[TP, float] = {}
        self._flushed = 0
        """The interval in which progress was told last."""
        self._telling = asyncio.Lock()
        """An offset is committed only when all that was heard before it is acknowledged."""

    def attach(self) -> None:
        """Add the agents and the clock to the app."""
        for name, kind in _FORWARDED.items():
            agent = self._app.agent(self._app.input_topic(self._settings.topic(name)), name=f"responses {name}")
            agent(self._forwarder(kind))
        status = self._app.input_topic(self._settings.topic("model-status"))
        self._app.agent(status, name="responses model-status")(self._follow_statuses)
        self._app.task(self._tick_for_ever)

    def standing(self, tp: TP) -> Standing | None:
        """How far a source has been forwarded, for the watchdog."""
        generation, standing = self._standings.get(tp, (-1, None))
        return standing if generation == self._app.consumer_generation_id else None

    # ------------------------------------------------------------------------------------------------- forwarding

    def _forwarder(self, kind: Kind) -> Any:
        async def forward(runs: Any) -> None:
            async for event in runs.events():
                await self.forward(kind, event.value, event.message.generation_id)

        return forward

    async def forward(self, kind: Kind, run: Run, generation: int) -> None:
        """Forward a run as it is, wait for the acknowledgement, commit.

        Raises
        ------
        DeliveryError
            A record was not acknowledged: the worker must end.
        """
        tp = TP(run.topic, run.partition)
        await failpoint_or_hang(Place.BEFORE_ANSWER)
        if not await still_ours(self._app, tp, generation):
            return
        records = [outgoing for record in run.records for outgoing in await self._outgoing(kind, record)]
        await self._app.producer.deliver(records)
        self._standings[tp] = (generation, Standing(run.next_offset, run.next_offset))
        if await still_ours(self._app, tp, generation):
            await self._app.consumer.commit_offsets({tp: run.next_offset}, generation)

    async def _outgoing(self, kind: Kind, record: ConsumerRecord) -> list[Outgoing]:
        item = read(KINDS[kind], record)
        if item is None or isinstance(item, Tick):
            return []
        headers = [(_KIND, kind.encode()), (_ORIGIN, f"{record.partition}/{record.offset}".encode())]
        value, count = record.value, await self._count()
        everywhere = range(count) if item.model == EVERY_MODEL else [partition_for(item.model, count)]
        return [Outgoing(self._log, item.model.encode(), value, number, headers=headers) for number in everywhere]

    async def _count(self) -> int:
        if not self._partitions:
            self._partitions = await self._app.producer.partitions(self._log)
        return self._partitions

    # --------------------------------------------------------------------------------------------------- progress

    async def _follow_statuses(self, runs: Any) -> None:
        async for event in runs.events():
            await self.take_statuses(event.value, event.message.generation_id)

    async def take_statuses(self, run: Run, generation: int) -> None:
        """Note how far versions have come; tell at once what is new or far ahead."""
        tp = TP(run.topic, run.partition)
        if not await still_ours(self._app, tp, generation):
            return
        for record in {record.key: record for record in run.records}.values():
            status = None if record.value is None else read(StatusExtract, record)
            if status is not None and (progress := progress_of(status)) is not None:
                self._progress[progress.model, progress.version, progress.stage.value] = progress
        self._heard[tp] = (run.next_offset, generation)
        _, before = self._standings.get(tp, (-1, Standing(0, 0)))
        self._standings[tp] = (generation, Standing(run.next_offset, before.owed))
        await self._tell([place for place, progress in self._progress.items() if self._is_news(place, progress)])

    def _is_news(self, place: _Stage, progress: VersionProgress) -> bool:
        before = self._told.get(place)
        if before is None or progress.time is None:
            return place not in self._told
        return (progress.time - before).total_seconds() >= MOVED_S

    async def _tell(self, places: Iterable[_Stage]) -> None:
        """Forward progress; what was heard is committed when nothing is left to be told."""
        async with self._telling:
            telling = {place: self._progress.pop(place) for place in places if place in self._progress}
            try:
                await self._tell_now(telling)
            except DeliveryError:
                self._progress = telling | self._progress
                raise

    async def _tell_now(self, telling: Mapping[_Stage, VersionProgress]) -> None:
        if telling:
            count, headers = await self._count(), [(_KIND, Kind.PROGRESS.encode())]
            await self._app.producer.deliver(
                Outgoing(self._log, each.model.encode(), codec.encode(each), partition_for(each.model, count),
                         headers=headers)
                for each in telling.values()
            )  # fmt: skip
            self._told.update({place: progress.time for place, progress in telling.items()})
        if not self._progress:
            heard, self._heard = self._heard, {}
            for tp, (offset, generation) in heard.items():
                self._standings[tp] = (generation, Standing(offset, offset))
                if await still_ours(self._app, tp, generation):
                    await self._app.consumer.commit_offsets({tp: offset}, generation)

    # ------------------------------------------------------------------------------------------------------ ticks

    async def _tick_for_ever(self) -> None:
        while not self._app.should_stop:
            await asyncio.sleep(TICK_S / 10)
            if not self._app.rebalancing:
                try:
                    await self.tick(time.time())
                except DeliveryError as error:  # a broker that is away is waited for: time passes in the next tick
                    if not self._app.should_stop:
                        log.warning("time does not pass for responses", why=str(error))

    async def tick(self, now: float) -> None:
        """Let time pass in the partitions that are ours, and tell what progress there is, once in `TICK_S`.

        Parameters
        ----------
        now
            Seconds since 1970.
        """
        nominal = math.floor(now / TICK_S) * TICK_S
        ours = {tp for tp in self._app.consumer.owned() if tp.topic == self._log}
        due = [tp for tp in ours if self._ticked.get(tp, -math.inf) < nominal]
        self._ticked = {tp: self._ticked[tp] for tp in ours if tp in self._ticked} | dict.fromkeys(due, nominal)
        value = codec.encode(Tick(time=datetime.fromtimestamp(nominal, UTC)))
        await self._app.producer.deliver(
            Outgoing(self._log, None, value, tp.partition, headers=[(_KIND, Kind.TICK.encode())]) for tp in due
        )
        if math.floor(now / TICK_S) != self._flushed:
            self._flushed = math.floor(now / TICK_S)
            await self._tell(list(self._progress))


async def still_ours(app: DriftlineApp, tp: TP, generation: int) -> bool:
    """Whether a partition of that generation is ours; during a rebalance that is only known when it is over.

    A run of the new generation can come before the rebalance is over, and nobody brings it once more.
    """
    while app.rebalancing:  # noqa: ASYNC110 - Faust sets no event
        await asyncio.sleep(0.02)
    return app.owns(tp, generation)


_FORWARDED: Final = {"drift-events": Kind.DRIFT, "retrain-acks": Kind.ACK, "maintenance": Kind.NOTICE}

KINDS: Final[dict[Kind, type[Any]]] = {
    Kind.DRIFT: DriftEvent,
    Kind.ACK: RetrainAck,
    Kind.NOTICE: MaintenanceNotice,
    Kind.PROGRESS: VersionProgress,
    Kind.TICK: Tick,
}
