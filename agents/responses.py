"""What follows a drift event: one retrain request for a significant incident, at most one for a model in its cooldown.

The rules, by event time alone, so that a replay decides alike:

1. An event asks for retraining while its incident is on and significant, unless the incident has a request already.
2. Within the cooldown of another request for the model the event is *suppressed*: logged and counted. A later event of
   the incident asks again, so what was suppressed is asked for once the cooldown is over and the incident still on.
3. The urgency is high where the model's answers are known to be worse (performance or concept drift), or where the
   evidence is ``FAR_BEYOND`` times what the tier needs; normal otherwise.

The memory of all this is the ``retrain-requests`` topic itself, read back whenever partitions are assigned. A request
is acknowledged before the offset of its event is committed; after a crash in between the same event finds the request
in the topic, or makes it again under the same id.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.structs import ConsumerRecord
from faust.types import TP
from pydantic import ValidationError

from agents.failpoints import Place, failpoint_or_hang
from agents.log_reader import LogReader
from agents.producer import Outgoing
from agents.runs import Run
from agents.watchdog import Standing
from schemas import codec
from schemas.model_spec import OffsetRange, RetrainingSpec
from schemas.outbound import (
    DriftEvent,
    DriftKind,
    IncidentStatus,
    RetrainRequest,
    Tier,
    TrainingRange,
    Urgency,
)
from schemas.topics import TOPICS

if TYPE_CHECKING:
    from agents.app import DriftlineApp
    from agents.metrics import Metrics
    from agents.registry import Registry

SOURCE: Final = "/driftline/responses"
FAR_BEYOND: Final = 10.0
"""Evidence at so many times its threshold makes a request urgent."""
KEPT_REQUESTS: Final = 1_000
"""Requests remembered for each model, the newest."""
KEPT_SIGNALS: Final = 100
"""Signals named in a request, the worst."""

_WORSE: Final = frozenset({DriftKind.PERFORMANCE, DriftKind.CONCEPT})

log = structlog.get_logger(__name__)


class RequestMemory:
    """Which incidents have their request, and until when each model cools down."""

    def __init__(self) -> None:
        self._requests: dict[str, OrderedDict[str, tuple[datetime, datetime]]] = {}

    def add(self, request: RetrainRequest) -> None:
        """Remember a request; the oldest of its model is forgotten when there are too many."""
        known = self._requests.setdefault(request.model, OrderedDict())
        known.setdefault(request.incident_id, (request.time, request.cooldown_until))
        while len(known) > KEPT_REQUESTS:
            known.popitem(last=False)

    def has(self, event: DriftEvent) -> bool:
        """Whether the incident has its request."""
        return event.incident_id in self._requests.get(event.model, ())

    def cools_until(self, model: str, time: datetime) -> datetime | None:
        """End of the cooldown that ``time`` lies in; None where the model may be asked for.

        A cooldown reaches as far back as forward, so that events that come late do not add a request either.
        """
        known = self._requests.get(model, OrderedDict())
        return max((until for at, until in known.values() if at - (until - at) < time < until), default=None)


def asks(event: DriftEvent) -> bool:
    """Whether the incident is on and significant."""
    return event.tier is Tier.SIGNIFICANT and event.status is IncidentStatus.FIRING


def retrain_request(event: DriftEvent, time: datetime, cooldown: timedelta) -> RetrainRequest:
    """Make the request of an incident, at event time ``time``; the same incident always gets the same id."""
    dedup_key = f"retrain/{event.incident_id}"
    signals = tuple(verdict.name for verdict in event.signals if verdict.tier is not Tier.NONE)
    return RetrainRequest(
        id=hashlib.sha256(dedup_key.encode()).hexdigest()[:32],
        dedup_key=dedup_key,
        model=event.model,
        version=event.version,
        stage=event.stage,
        owner=event.owner,
        reason=_reason(event, signals),
        urgency=urgency(event),
        tier=event.tier,
        incident_id=event.incident_id,
        event_id=event.id,
        time=time,
        cooldown_until=time + cooldown,
        signals=signals[:KEPT_SIGNALS],
        training_range=training_range(event),
        lineage=event.lineage,
    )


def urgency(event: DriftEvent) -> Urgency:
    """High where answers are known to be worse or the evidence is overwhelming (rule 3)."""
    drifted = [verdict for verdict in event.signals if verdict.tier is not Tier.NONE]
    worse = any(verdict.kind in _WORSE for verdict in drifted)
    overwhelming = any(
        verdict.tier is Tier.SIGNIFICANT and verdict.evidence >= FAR_BEYOND * verdict.threshold for verdict in drifted
    )
    return Urgency.HIGH if worse or overwhelming else Urgency.NORMAL


def training_range(event: DriftEvent) -> TrainingRange:
    """The rows since the estimated onset, up to the last row judged; all rows judged where the onset is unknown."""
    reached = {(end.topic, end.partition): end.to_offset for end in event.lineage.offsets}
    offsets = tuple(
        OffsetRange(
            topic=since.topic,
            partition=since.partition,
            from_offset=since.from_offset,
            to_offset=max(since.to_offset, reached.get((since.topic, since.partition), 0)),
        )
        for since in event.since_offsets
    )
    return TrainingRange(
        since=event.since or event.opened_at, until=event.time, offsets=offsets or event.lineage.offsets
    )


def _reason(event: DriftEvent, signals: tuple[str, ...]) -> str:
    worst = ", ".join(signals[:3]) + (f" and {len(signals) - 3} more" if len(signals) > 3 else "")
    since = f" since {event.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if event.since else ""
    return (
        f"{event.model} {event.version} in {event.stage} has drifted significantly{since}: "
        f"{len(signals)} of {event.signals_watched} signals ({worst})."
    )


class Responder:
    """The agent on ``drift-events``.

    Parameters
    ----------
    app
        The app to live in; ``drift-events`` is one of its run topics.
    registry
        Tells which models want retraining, and how often.
    metrics
        Where requests are counted.
    """

    def __init__(self, app: DriftlineApp, registry: Registry, metrics: Metrics) -> None:
        self._app = app
        self._registry = registry
        self._metrics = metrics
        self._settings = app.settings
        self._memory = RequestMemory()
        self._read_in: int | None = None
        self._standings: dict[TP, tuple[int, Standing]] = {}

    def attach(self) -> None:
        """Add the agent to the app."""
        topic = self._app.input_topic(self._settings.topic("drift-events"))
        self._app.agent(topic, name="responses")(self._respond)

    @property
    def inputs(self) -> Collection[str]:
        """Name on the broker of the topic that is answered."""
        return (self._settings.topic("drift-events"),)

    def standing(self, tp: TP) -> Standing | None:
        """How far a partition has been answered, for the watchdog."""
        generation, standing = self._standings.get(tp, (-1, None))
        return standing if generation == self._app.consumer_generation_id else None

    async def _respond(self, runs: Any) -> None:
        async for event in runs.events():
            await self.respond(event.value, event.message.generation_id)

    async def respond(self, run: Run, generation: int) -> None:
        """Answer the events of a run; nothing is written for a partition that is no longer ours.

        Raises
        ------
        DeliveryError
            A request was not acknowledged: the worker must end.
        """
        tp = TP(run.topic, run.partition)
        await failpoint_or_hang(Place.BEFORE_ANSWER)
        await self._registry.ready()
        await self._read_back(generation)
        requests = [request async for request in self._decide(run)]
        if not self._app.owns(tp, generation):
            return
        if requests:
            await self._app.producer.deliver([self._outgoing(request) for request in requests])
            for request in requests:
                self._metrics.retrain_requests.labels(model=request.model).inc()
                log.info("retraining asked for", model=request.model, version=request.version,
                         urgency=request.urgency.value, incident=request.incident_id)  # fmt: skip
        self._standings[tp] = (generation, Standing(run.next_offset, run.next_offset))
        if not await self._app.consumer.commit_offsets({tp: run.next_offset}, generation):
            self._metrics.commit_failures.inc()

    async def _read_back(self, generation: int) -> None:
        """Make the memory that of the topic, once in a generation: others have written in between."""
        if generation == self._read_in:
            return
        memory = RequestMemory()
        async with LogReader(self._settings, self._settings.topic("retrain-requests")) as reader:
            async for records in reader.read_to_end():
                for record in records:
                    if (request := _read(RetrainRequest, record)) is not None:
                        memory.add(request)
        self._memory, self._read_in = memory, generation

    async def _decide(self, run: Run) -> AsyncIterator[RetrainRequest]:
        for record in run.records:
            event = _read(DriftEvent, record)
            if event is None or not asks(event) or self._memory.has(event):
                continue
            time = event.time or event.opened_at
            policy = await self._policy(event)
            if policy is None or not policy.enabled or time is None:
                continue
            if (until := self._memory.cools_until(event.model, time)) is not None:
                self._metrics.retrain_suppressed.labels(model=event.model).inc()
                log.info("no request for retraining within the cooldown", model=event.model, version=event.version,
                         incident=event.incident_id, cooldown_until=until.isoformat())  # fmt: skip
                continue
            request = retrain_request(event, time, policy.cooldown)
            self._memory.add(request)
            yield request

    async def _policy(self, event: DriftEvent) -> RetrainingSpec | None:
        """What the version's spec says of retraining; None where nobody knows the version (any more)."""
        if self._registry.lookup(event.model, event.version) is None:
            await self._registry.refresh()
        if (registered := self._registry.lookup(event.model, event.version)) is None:
            log.warning("a drift event of an unregistered version asks for nothing",
                        model=event.model, version=event.version, event_id=event.id)  # fmt: skip
            return None
        return registered.spec.retraining

    def _outgoing(self, request: RetrainRequest) -> Outgoing:
        value = codec.encode(request)
        if len(value) > TOPICS["retrain-requests"].max_message_bytes - 4_096:
            short = request.lineage.model_copy(update={"steps": request.lineage.steps[-1:]})
            value = codec.encode(request.model_copy(update={"lineage": short}))
        topic, key = self._settings.topic("retrain-requests"), request.model.encode()
        return Outgoing(topic, key, value, headers=codec.headers(request, source=SOURCE))


def _read(kind: type[codec.AnyEvent], record: ConsumerRecord) -> codec.AnyEvent | None:
    """Decode a record; one that somebody else put there is reported and passed over."""
    try:
        return codec.decode(kind, record.value or b"")
    except ValidationError as error:
        log.warning("a record is not what its topic is for", topic=record.topic, partition=record.partition,
                    offset=record.offset, why=str(error.errors(include_url=False)[0]["msg"]))  # fmt: skip
        return None
