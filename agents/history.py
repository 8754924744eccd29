"""The history of a model, read from the topics: its versions, references, incidents, retrain requests and answers.

The order is that of the records' timestamps, which is when driftline learned or said something. Event times are told
beside it: in a replay of last year they are another matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from aiokafka.structs import ConsumerRecord
from pydantic import ValidationError

from agents.log_reader import LogReader
from agents.registry import Registration, Registry
from agents.settings import Settings
from agents.topics import admin
from schemas import codec
from schemas.outbound import DriftEvent
from schemas.responses import AckStatus, ResponseEvent, ResponseStatus, RetrainAck, RetrainRequest
from schemas.tiers import Response


class Kind(StrEnum):
    """What happened; a drift event has that of its change."""

    REGISTERED = "registered"
    REFERENCE = "reference"
    """A reference that was collected from the stream is complete."""
    REFUSED = "refused"
    """Another spec of a registered version."""
    WITHDRAWN = "withdrawn"
    REQUESTED = "retraining requested"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a history.

    Attributes
    ----------
    at
        When it was written to its topic.
    time
        Event time, where it has one.
    kind
        A `Kind`, or the change that a drift event tells.
    what
        One sentence for people.
    facts
        Ids and numbers for pipelines.
    """

    at: datetime
    time: datetime | None
    kind: str
    version: str
    what: str
    facts: dict[str, Any]


async def history(settings: Settings, model: str) -> list[Entry]:
    """Read everything that the topics still hold of a model; repeats are told once.

    Raises
    ------
    BrokerError
        The broker does not answer.
    """
    async with admin(settings) as client:
        there = set(await client.list_topics())
    entries: list[Entry] = []
    for topic, read in READERS.items():
        if settings.topic(topic) not in there:
            continue
        reading = read(settings, model)
        async with LogReader(settings, settings.topic(topic)) as log:
            async for records in log.read_to_end():
                for record in records:
                    entries += reading(record)
    return sorted(entries, key=lambda entry: entry.at)  # stable: of one moment, the topics are told in their order


Reading = Callable[[ConsumerRecord], Iterator[Entry]]


def _versions(settings: Settings, model: str) -> Reading:
    """Follow the registry's own rules, record by record."""
    registry = Registry(settings)

    def read(record: ConsumerRecord) -> Iterator[Entry]:
        before = {each.spec.version: each for each in registry.versions(model)}
        registry.admit(record)
        after = {each.spec.version: each for each in registry.versions(model)}
        for version in sorted(before.keys() | after.keys()):
            for kind, what, facts in _changes(before.get(version), after.get(version)):
                yield Entry(_written(record), None, kind, version, what, facts)

    return read


def _changes(before: Registration | None, after: Registration | None) -> Iterator[tuple[Kind, str, dict[str, Any]]]:
    if after is None:
        if before is not None:
            yield Kind.WITHDRAWN, "it is no longer judged", {"spec_hash": before.spec_hash}
        return
    facts = {"spec_hash": after.spec_hash}
    if before is None:
        spec = after.spec
        yield (
            Kind.REGISTERED,
            f"{spec.task} with {len(spec.signals)} signals, {_reference(after)}",
            facts | _frozen(after),
        )
    elif before.spec_hash != after.spec_hash:
        yield Kind.REFERENCE, f"complete: {_reference(after)}", facts | _frozen(after)
    for refused in after.refused[len(before.refused) if before is not None else 0 :]:
        yield Kind.REFUSED, f"another spec ({refused[:12]}): a version never changes", {"spec_hash": refused}


def _reference(registration: Registration) -> str:
    frozen = registration.spec.reference.frozen
    if frozen is None:
        return f"its reference to be collected: {registration.spec.reference.rows:,} rows"
    period = f" of {frozen.since:%Y-%m-%d} to {frozen.until:%Y-%m-%d}" if frozen.since and frozen.until else ""
    return f"reference of {frozen.rows:,} rows{period}"


def _frozen(registration: Registration) -> dict[str, Any]:
    frozen = registration.spec.reference.frozen
    return {} if frozen is None else {"reference_hash": frozen.hash, "reference_rows": frozen.rows}


def _incidents(_settings: Settings, model: str) -> Reading:
    seen: set[str] = set()

    def read(record: ConsumerRecord) -> Iterator[Entry]:
        event = _decoded(DriftEvent, record, model)
        if event is not None and event.id not in seen:
            seen.add(event.id)
            facts = {
                "id": event.id, "incident_id": event.incident_id, "stage": event.stage.value,
                "family": event.family.value, "tier": event.tier.value, "since": _iso(event.since),
                "spec_hash": event.lineage.spec_hash, "reference_hash": event.lineage.reference_hash,
            }  # fmt: skip
            yield Entry(_written(record), event.time, event.change.value, event.version, event.summary, facts)

    return read


def _requests(_settings: Settings, model: str) -> Reading:
    seen: set[tuple[str, int]] = set()

    def read(record: ConsumerRecord) -> Iterator[Entry]:
        request = _decoded(RetrainRequest, record, model)
        if request is not None and (request.id, request.attempt) not in seen:
            seen.add((request.id, request.attempt))
            records = sum(each.to_offset - each.from_offset for each in request.training_range.offsets)
            facts = {
                "id": request.id, "incident_id": request.incident_id, "event_id": request.event_id,
                "attempt": request.attempt, "trigger": request.trigger.value,
                "urgency": request.urgency.value, "since": _iso(request.training_range.since),
                "until": _iso(request.training_range.until), "records": records,
            }  # fmt: skip
            again = f", for the {request.attempt}. time" if request.attempt > 1 else ""
            what = f"on {records:,} records, urgency {request.urgency}{again}: {request.reason}"
            yield Entry(_written(record), request.time, Kind.REQUESTED, request.version, what, facts)

    return read


def _answers(_settings: Settings, model: str) -> Reading:
    """Follow what pipelines answer: each status of a request once."""
    seen: set[tuple[str, AckStatus]] = set()

    def read(record: ConsumerRecord) -> Iterator[Entry]:
        answer = _decoded(RetrainAck, record, model)
        if answer is not None and (answer.request_id, answer.status) not in seen:
            seen.add((answer.request_id, answer.status))
            facts = {"request_id": answer.request_id, "new_version": answer.version}
            what = ", ".join(filter(None, [f"request {answer.request_id[:8]}", answer.detail]))
            yield Entry(_written(record), None, f"training {answer.status}", answer.version or "", what, facts)

    return read


def _responses(_settings: Settings, model: str) -> Reading:
    """Follow what driftline does, and what nobody answered; investigations and answers are told by other topics."""
    seen: set[str] = set()

    def read(record: ConsumerRecord) -> Iterator[Entry]:
        event = _decoded(ResponseEvent, record, model)
        if event is not None and (event.action, event.status) in TOLD_RESPONSES and event.id not in seen:
            seen.add(event.id)
            facts = {
                "id": event.id, "incident_id": event.incident_id, "request_id": event.request_id,
                "stage": event.stage.value, "action": event.action.value, "status": event.status.value,
            }  # fmt: skip
            kind = f"{event.action.value.replace('_', ' ')} {event.status}"
            yield Entry(_written(record), event.time, kind, event.version, event.summary, facts)

    return read


def _decoded(kind: type[codec.AnyEvent], record: ConsumerRecord, model: str) -> codec.AnyEvent | None:
    """The record's event, if it is one and of the model; what others put there is passed over."""
    try:
        event = codec.decode(kind, record.value or b"")
    except ValidationError:
        return None
    return event if getattr(event, "model", None) == model else None


def _written(record: ConsumerRecord) -> datetime:
    return datetime.fromtimestamp(max(record.timestamp, 0) / 1_000, UTC)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


TOLD_RESPONSES: Final = {
    (Response.ENHANCED_MONITORING, ResponseStatus.STARTED),
    (Response.ENHANCED_MONITORING, ResponseStatus.ENDED),
    (Response.RETRAIN, ResponseStatus.UNANSWERED),
    (Response.RETRAIN, ResponseStatus.EXPIRED),
}

READERS: Final[dict[str, Callable[[Settings, str], Reading]]] = {
    "models": _versions,
    "drift-events": _incidents,
    "responses": _responses,
    "retrain-requests": _requests,
    "retrain-acks": _answers,
}
"""Topics of a history, in the order in which things of one moment are told. Another kind of event: a row here."""
