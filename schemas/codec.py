"""Events as bytes, and their CloudEvents attributes as Kafka headers (binary content mode).

Source: CloudEvents Kafka protocol binding 1.0.2: attributes travel in headers ``ce_<name>``, the event's data is the
value, and ``content-type`` is its media type.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, TypeVar

from pydantic import BaseModel

from schemas.model_spec import ModelSpec
from schemas.outbound import DeadLetter, DriftEvent, ModelStatus
from schemas.profiles import BaselineRows, ProfileTotal, UnregisteredRows
from schemas.responses import Alert, Digest, ResponseEvent, RetrainRequest
from schemas.schema_changes import SchemaChange

Event = (
    ModelSpec
    | ProfileTotal
    | BaselineRows
    | UnregisteredRows
    | DriftEvent
    | ResponseEvent
    | RetrainRequest
    | Alert
    | Digest
    | SchemaChange
    | ModelStatus
    | DeadLetter
)
"""Everything driftline emits."""

Headers = list[tuple[str, bytes]]
AnyEvent = TypeVar("AnyEvent", bound=BaseModel)

CE_TYPES: Final[dict[type[BaseModel], str]] = {
    ModelSpec: "io.driftline.model.spec",
    ProfileTotal: "io.driftline.profile.total",
    BaselineRows: "io.driftline.profile.baseline",
    UnregisteredRows: "io.driftline.profile.unregistered",
    DriftEvent: "io.driftline.drift",
    ResponseEvent: "io.driftline.response",
    SchemaChange: "io.driftline.schema.changed",
    RetrainRequest: "io.driftline.retrain.request",
    Alert: "io.driftline.alert",
    Digest: "io.driftline.digest",
    ModelStatus: "io.driftline.model.status",
    DeadLetter: "io.driftline.dead-letter",
}
"""CloudEvents type of each event; some are followed by what happened: ``io.driftline.drift.opened``,
``io.driftline.response.investigate.started``."""


def encode(event: BaseModel) -> bytes:
    """Write an event as JSON; nulls are written too, so that every path is always there."""
    return event.model_dump_json(by_alias=True).encode()


def decode(kind: type[AnyEvent], value: bytes) -> AnyEvent:
    """Read an event from JSON.

    Raises
    ------
    pydantic.ValidationError
        If the bytes are not JSON or not such an event.
    """
    return kind.model_validate_json(value)


def headers(event: Event, *, source: str) -> Headers:
    """CloudEvents attributes of an event in binary mode; ``source`` is a URI reference, as ``/driftline/worker``."""
    attributes: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", _ce_type(event).encode()),
        ("ce_source", source.encode()),
        ("ce_id", _ce_id(event).encode()),
        ("content-type", b"application/json"),
    ]
    time: datetime | None = getattr(event, "time", None)
    if time is not None:
        attributes.append(("ce_time", time.isoformat().encode()))
    if isinstance(event, DriftEvent | Alert | ResponseEvent):
        attributes.append(("ce_severitytext", event.severity.value.upper().encode()))
    return attributes


def _ce_type(event: Event) -> str:
    kind = CE_TYPES[type(event)]
    if isinstance(event, ResponseEvent):
        return f"{kind}.{event.action}.{event.status}"
    return f"{kind}.{event.change}" if isinstance(event, DriftEvent | Alert) else kind


def _ce_id(event: Event) -> str:
    return event.hash if isinstance(event, ModelSpec) else event.id
