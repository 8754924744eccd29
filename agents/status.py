"""What the ``model-status`` topic says: sent when something changed, and not more often than people read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from agents.producer import Outgoing
from schemas import codec
from schemas.outbound import DriftEvent, ModelState, ModelStatus
from schemas.topics import TOPICS

if TYPE_CHECKING:
    from agents.metrics import Metrics

SOURCE: Final = "/driftline/verdicts"
STATUS_INTERVAL_S: Final = 1.0
"""A version and stage reports at most so often."""
ENVELOPE_BYTES: Final = 4_096
"""What a record's key, headers and batch add to its value, generously."""

QUANTILES: Final = {"0.5": "lag_p50_s", "0.9": "lag_p90_s", "0.99": "lag_p99_s"}
"""Of the label lag that are shown, with their fields of a status."""

Subject = tuple[str, str, str]
"""Model, version, stage."""


class StatusBoard:
    """Decides which statuses are sent, and shows the same in the metrics.

    Parameters
    ----------
    topic
        Name of ``model-status`` on the broker.
    metrics
        Where tiers and steps are shown.
    """

    def __init__(self, topic: str, metrics: Metrics) -> None:
        self._topic = topic
        self._metrics = metrics
        self._sent: dict[Subject, tuple[float, bytes]] = {}
        self._waiting: dict[Subject, ModelStatus] = {}
        self._steps: dict[Subject, int] = {}
        self._shown: dict[Subject, frozenset[str]] = {}
        self._labelled: set[Subject] = set()

    def offer(self, statuses: Iterable[ModelStatus]) -> None:
        """Take note of where versions stand now."""
        for status in statuses:
            subject = (status.model, status.version, status.stage.value)
            self._waiting[subject] = status
            self._show(subject, status)

    def take_over(self, statuses: Iterable[ModelStatus]) -> None:
        """Take note of where versions stood when their partition came here: steps judged before are not ours."""
        for status in statuses:
            self._steps[status.model, status.version, status.stage.value] = status.steps
            self.offer([status])

    def due(self, now: float, *, at_once: bool = False) -> list[Outgoing]:
        """Return what is to be sent at ``now`` (seconds, monotonic); ``at_once`` knows no interval."""
        records = []
        for subject, status in list(self._waiting.items()):
            at, digest = self._sent.get(subject, (-STATUS_INTERVAL_S, b""))
            if now - at < STATUS_INTERVAL_S and not at_once:
                continue
            del self._waiting[subject]
            value = fitted(status, TOPICS["model-status"].max_message_bytes)
            fresh = hashlib.blake2b(value, digest_size=16).digest()
            if fresh != digest:
                self._sent[subject] = (now, fresh)
                headers = codec.headers(status, source=SOURCE)
                records.append(Outgoing(self._topic, "/".join(subject).encode(), value, headers=headers))
        return records

    def clear(self) -> None:
        """Forget everything: the partitions are gone, another worker shows them now."""
        for subject, signals in self._shown.items():
            for signal in signals:
                self._metrics.tier.remove(*subject, signal)
        for subject in self._labelled:
            self._metrics.label_coverage.remove(*subject)
            for quantile in QUANTILES:
                self._metrics.label_lag_seconds.remove(*subject, quantile)
        self._labelled = set()
        self._sent, self._waiting, self._steps, self._shown = {}, {}, {}, {}

    def _show(self, subject: Subject, status: ModelStatus) -> None:
        if status.state is not ModelState.WATCHING:
            return
        for signal in status.signals:
            self._metrics.tier.labels(*subject, signal.name).set(signal.tier.rank)
        self._shown[subject] = frozenset(signal.name for signal in status.signals)
        self._metrics.steps.labels(*subject).inc(max(0, status.steps - self._steps.get(subject, 0)))
        self._steps[subject] = status.steps
        if status.labels is not None and status.labels.coverage is not None:
            self._labelled.add(subject)
            self._metrics.label_coverage.labels(*subject).set(status.labels.coverage)
            for quantile, field in QUANTILES.items():
                self._metrics.label_lag_seconds.labels(*subject, quantile).set(getattr(status.labels, field) or 0.0)


def fitted(event: DriftEvent | ModelStatus, limit: int) -> bytes:
    """Encode an event; the last of its signals are left out where it would be too large for its topic."""
    value = codec.encode(event)
    while len(value) > limit - ENVELOPE_BYTES and event.signals:
        event = event.model_copy(update={"signals": event.signals[: len(event.signals) // 2]})
        value = codec.encode(event)
    return value
