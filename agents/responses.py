"""What follows drift events, decided from the log ``response-inputs`` by whoever owns its partition.

For each run of the log::

    read -> fold into the partition's responses -> send what that decides, wait -> save what has changed, wait -> commit

A crash in between repeats decisions under the same ids and loses none: what was not saved is read again, and what was
saved passes over what it has taken. All that is decided lies in ``detector.responses``; here it only travels.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog
from faust.types import TP

from agents.failpoints import Place, failpoint
from agents.log_reader import LogReader
from agents.producer import Outgoing
from agents.response_inputs import ResponseInputs, read_entry, still_ours
from agents.response_states import ResponseShard, ResponseStates
from agents.runs import Run
from agents.statelog import ENVELOPE_BYTES
from agents.watchdog import Standing
from detector.responses.inputs import Decision, Held, Sent
from detector.responses.partition import Entry
from schemas import codec
from schemas.model_spec import ModelSpec
from schemas.outbound import DriftEvent
from schemas.responses import Alert, Digest, ResponseEvent, RetrainRequest, VersionProgress
from schemas.topics import topic_of

if TYPE_CHECKING:
    from agents.app import DriftlineApp
    from agents.metrics import Metrics
    from agents.registry import Registry

SOURCE: Final = "/driftline/responses"
SOURCES: Final = ("drift-events", "retrain-acks", "maintenance", "model-status", "response-inputs")
"""The topics that come to its agents in runs."""

log = structlog.get_logger(__name__)


class Responder:
    """The agent on ``response-inputs``, and those that forward to it.

    Parameters
    ----------
    app
        The app to live in; `SOURCES` are among its run topics.
    registry
        Tells the policy of each version.
    metrics
        Where decisions are counted.
    """

    def __init__(self, app: DriftlineApp, registry: Registry, metrics: Metrics) -> None:
        self._app = app
        self._registry = registry
        self._metrics = metrics
        self._settings = app.settings
        self._inputs = ResponseInputs(app)
        self._states = ResponseStates(app.settings, app.producer, metrics)
        self._shards: dict[TP, ResponseShard] = {}
        self._unknown: int | None = None
        """The registry's revision when a version was looked for in vain."""

    def attach(self) -> None:
        """Add the agents to the app."""
        self._inputs.attach()
        topic = self._app.input_topic(self._settings.topic("response-inputs"))
        self._app.agent(topic, name="responses")(self._respond)

    @property
    def inputs(self) -> Collection[str]:
        """Names on the broker of the topics that are read."""
        return tuple(map(self._settings.topic, SOURCES))

    def standing(self, tp: TP) -> Standing | None:
        """How far a partition has been taken, for the watchdog."""
        if tp.topic != self._settings.topic("response-inputs"):
            return self._inputs.standing(tp)
        shard = self._shards.get(tp)
        if shard is None or shard.generation != self._app.consumer_generation_id:
            return None
        return Standing(shard.position, shard.position)

    async def _respond(self, runs: Any) -> None:
        async for event in runs.events():
            await self.respond(event.value, event.message.generation_id)

    async def respond(self, run: Run, generation: int) -> None:
        """Decide what follows from a run; nothing is written for a partition that is no longer ours.

        Raises
        ------
        DeliveryError
            Something was not acknowledged: the worker must end.
        """
        tp = TP(run.topic, run.partition)
        await self._registry.ready()
        if not await still_ours(self._app, tp, generation):
            return
        shard = await self._shard(tp, generation)
        decisions: list[Decision] = []
        for record in run.records:
            if (entry := read_entry(record)) is not None and await self._is_known(entry):
                decisions += shard.responses.take(entry, self._spec)
        for step in (self._send, self._save, self._commit):
            if not await still_ours(self._app, tp, generation):
                self._shards.pop(tp, None)
                return
            await step(shard, run, decisions)
        shard.position = run.next_offset

    async def _shard(self, tp: TP, generation: int) -> ResponseShard:
        """What is known of a partition, read back once in a generation: others have written in between."""
        known = self._shards.get(tp)
        if known is None or known.generation != generation:
            self._shards = {other: shard for other, shard in self._shards.items() if shard.generation == generation}
            known = await self._states.restore(tp, generation)
            if known.damaged:
                await self._take_again(known)
            self._shards[tp] = known
        return known

    async def _take_again(self, shard: ResponseShard) -> None:
        """Rebuild what damaged states held from what is left of the log; what that decides was sent long ago."""
        committed = (await self._app.consumer.committed(shard.tp)).get(shard.tp) or 0
        async with LogReader(self._settings, shard.tp.topic, [shard.tp.partition]) as reader:
            async for records in reader.read_to_end():
                for record in records:
                    if record.offset < committed and (entry := read_entry(record)) is not None:
                        shard.responses.take(entry, self._spec)
                await asyncio.sleep(0)
        log.error("damaged states of responses were rebuilt from the log", keys=shard.damaged)

    def _spec(self, model: str, version: str) -> ModelSpec | None:
        registered = self._registry.lookup(model, version)
        return None if registered is None else registered.spec

    async def _is_known(self, entry: Entry) -> bool:
        """Whether somebody registered the version; the registry may be a moment behind its topic."""
        item = entry.item
        if not isinstance(item, DriftEvent | VersionProgress) or self._spec(item.model, item.version) is not None:
            return True
        if self._unknown != self._registry.revision:
            await self._registry.refresh()
            self._unknown = self._registry.revision
        if self._spec(item.model, item.version) is not None:
            return True
        if isinstance(item, DriftEvent):
            log.warning("a drift event of an unregistered version asks for nothing",
                        model=item.model, version=item.version, event_id=item.id)  # fmt: skip
        return False

    # ------------------------------------------------------------------------------- sending, saving, committing

    async def _send(self, _shard: ResponseShard, _run: Run, decisions: Sequence[Decision]) -> None:
        sent = [decision for decision in decisions if not isinstance(decision, Held)]
        if sent:
            await self._app.producer.deliver([self._outgoing(decision) for decision in sent])
            failpoint(Place.RESPONSES_SENT)
        for decision in decisions:
            self._count(decision)

    async def _save(self, shard: ResponseShard, _run: Run, _decisions: Sequence[Decision]) -> None:
        if shard.responses.changed:
            await self._states.write(shard, lambda: self._app.owns(shard.tp, shard.generation))
            failpoint(Place.RESPONSES_SAVED)

    async def _commit(self, shard: ResponseShard, run: Run, _decisions: Sequence[Decision]) -> None:
        if not await self._app.consumer.commit_offsets({shard.tp: run.next_offset}, shard.generation):
            self._metrics.commit_failures.inc()

    def _outgoing(self, event: Sent) -> Outgoing:
        topic = topic_of(type(event).__name__)
        value = codec.encode(event)
        if isinstance(event, RetrainRequest) and len(value) > topic.max_message_bytes - ENVELOPE_BYTES:
            short = event.lineage.model_copy(update={"steps": ()})
            value = codec.encode(event.model_copy(update={"lineage": short, "evidence": event.evidence[:1]}))
        key = (event.owner or "") if isinstance(event, Digest) else event.model
        return Outgoing(
            self._settings.topic(topic.name), key.encode(), value, headers=codec.headers(event, source=SOURCE)
        )

    def _count(self, decision: Decision) -> None:
        match decision:
            case Held():
                self._metrics.retrain_suppressed.labels(model=decision.model, reason=decision.reason).inc()
                log.info("a request for retraining waits", model=decision.model, version=decision.version,
                         reason=decision.reason, until=decision.until and decision.until.isoformat(),
                         incident=decision.incident_id)  # fmt: skip
            case RetrainRequest():
                self._metrics.retrain_requests.labels(model=decision.model).inc()
                log.info("retraining asked for", model=decision.model, version=decision.version,
                         trigger=decision.trigger.value, urgency=decision.urgency.value, attempt=decision.attempt,
                         incident=decision.incident_id)  # fmt: skip
            case ResponseEvent():
                self._metrics.responses.labels(decision.model, decision.action.value, decision.status.value).inc()
                log.info("response", action=decision.action.value, status=decision.status.value,
                         model=decision.model, version=decision.version, incident=decision.incident_id)  # fmt: skip
            case Alert():
                self._metrics.alerts.labels(decision.model, decision.change.value).inc()
            case Digest():
                self._metrics.digests.inc()
