"""One table of topics: name, key, events, partitions, retention, cleanup."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Cleanup(StrEnum):
    """What the broker does with old records."""

    DELETE = "delete"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic; its name on the broker is the configured prefix followed by ``name``."""

    name: str
    key: str
    """What the key is made of, for people."""
    events: tuple[str, ...]
    """Names of the schemas that travel here."""
    partitions: int | None
    """None: as many as the setting ``partitions`` says."""
    retention: timedelta | None
    """None: kept for good (compacted)."""
    cleanup: Cleanup
    max_message_bytes: int = 1_048_576
    same_partitions_as: str | None = None
    """Must have as many partitions as that topic."""


_MIB = 1_048_576
_DAY = timedelta(days=1)
_ANY_KEY = "anything; the model id keeps a model's rows in order"

_TABLE = (
    TopicSpec("features", _ANY_KEY, ("FeatureEvent", "FeatureBatch"), None, 7 * _DAY, Cleanup.DELETE, 16 * _MIB),
    TopicSpec(
        "predictions", _ANY_KEY, ("PredictionEvent", "PredictionBatch"), None, 7 * _DAY, Cleanup.DELETE, 16 * _MIB
    ),
    TopicSpec("outcomes", _ANY_KEY, ("OutcomeEvent", "OutcomeBatch"), None, 7 * _DAY, Cleanup.DELETE, 16 * _MIB),
    TopicSpec(
        "joins", "none; partitioned by a hash of model and prediction id", (), None, 31 * _DAY, Cleanup.DELETE, _MIB
    ),
    TopicSpec("models", "model/version/spec hash", ("ModelSpec",), 1, None, Cleanup.COMPACT, 16 * _MIB),
    TopicSpec(
        "profiles",
        "model/version/topic/partition/incarnation@generation; partitioned by model",
        ("ProfileTotal", "BaselineRows", "UnregisteredRows"),
        None,
        None,
        Cleanup.COMPACT,
        4 * _MIB,
    ),
    TopicSpec(
        "verdicts",
        "model@generation; partitioned by model",
        (),
        None,
        None,
        Cleanup.COMPACT,
        4 * _MIB,
        same_partitions_as="profiles",
    ),
    TopicSpec("drift-events", "model", ("DriftEvent",), 4, 90 * _DAY, Cleanup.DELETE, 4 * _MIB),
    TopicSpec("responses", "model", ("ResponseEvent",), 4, 90 * _DAY, Cleanup.DELETE),
    TopicSpec("schema-changes", "model", ("SchemaChange",), 1, 90 * _DAY, Cleanup.DELETE),
    TopicSpec("retrain-requests", "model", ("RetrainRequest",), 1, 365 * _DAY, Cleanup.DELETE),
    TopicSpec("retrain-acks", "model", ("RetrainAck",), 1, 365 * _DAY, Cleanup.DELETE),
    TopicSpec("maintenance", "model, or *", ("MaintenanceNotice",), 1, 90 * _DAY, Cleanup.DELETE),
    TopicSpec("alerts", "model", ("Alert",), 1, 90 * _DAY, Cleanup.DELETE),
    TopicSpec("digests", "owner", ("Digest",), 1, 365 * _DAY, Cleanup.DELETE),
    TopicSpec("response-inputs", "model", (), 1, 90 * _DAY, Cleanup.DELETE, 4 * _MIB),
    TopicSpec(
        "response-states",
        "model@generation",
        (),
        1,
        None,
        Cleanup.COMPACT,
        4 * _MIB,
        same_partitions_as="response-inputs",
    ),
    TopicSpec("model-status", "model/version/stage", ("ModelStatus",), 1, None, Cleanup.COMPACT),
    TopicSpec("dead-letters", "topic/partition/offset of the origin", ("DeadLetter",), 1, 14 * _DAY, Cleanup.DELETE),
)

TOPICS: dict[str, TopicSpec] = {topic.name: topic for topic in _TABLE}


def topic_of(event: str) -> TopicSpec:
    """The topic that events of that name travel on.

    Raises
    ------
    KeyError
        If there is no such event.
    """
    return _TOPIC_OF[event]


_TOPIC_OF = {event: topic for topic in _TABLE for event in topic.events}
