"""A retrain request on its way to its end: answered, sent again, ended. A model has one on its way at a time.

=============  =========================================  ====================================================
it is          then comes                                 and it is
=============  =========================================  ====================================================
sent           ``started``                                in training
sent           nothing within ``answers.within``          sent again, urgent, under the same id; after
                                                          ``answers.repeats`` of that: expired
sent, training ``succeeded``                              over: the incident asks for no other
sent, training ``failed``                                 over: the incident may ask again after the cooldown
training       nothing within ``answers.finish_within``   over, as if it had failed
=============  =========================================  ====================================================

Answers to other requests than that one, and answers that come twice, change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from detector.incidents import content_id
from detector.responses.inputs import SEVERITIES, moment
from schemas.outbound import Response, Severity, Urgency
from schemas.policy import RetrainingSpec
from schemas.responses import AckStatus, ResponseEvent, ResponseStatus, RetrainAck, RetrainRequest

DAY_S: Final = 86_400.0
MOST_TIMES: Final = 100
"""Times of requests that are remembered: as many as the largest daily budget."""


@dataclass(slots=True)
class Tracked:
    """The request that is on its way. Times are the model's, in seconds since 1970."""

    request: RetrainRequest
    due: float
    """When its time is up."""
    within_s: float
    repeats: int
    """So many are left."""
    finish_within_s: float
    training: bool = False


class RequestTracker:
    """The requests of one model: the one on its way, and when there were some."""

    def __init__(self) -> None:
        self.running: Tracked | None = None
        self.cooldown_until: float | None = None
        self._times: list[float] = []

    def in_a_day(self, now: float) -> int:
        """How many there were in the last 24 hours."""
        return sum(time > now - DAY_S for time in self._times)

    def send(self, request: RetrainRequest, spec: RetrainingSpec, now: float) -> None:
        """Take note of a request that is being sent."""
        self._times = [*self._times, now][-MOST_TIMES:]
        self.cooldown_until = request.cooldown_until.timestamp()
        answers = spec.answers
        if answers.within is not None:
            within_s, finish_within_s = answers.within.total_seconds(), answers.finish_within.total_seconds()
            self.running = Tracked(request, now + within_s, within_s, answers.repeats, finish_within_s)

    def answer(self, ack: RetrainAck, now: float) -> list[ResponseEvent]:
        """Take a pipeline's answer."""
        running = self.running
        if running is None or running.request.id != ack.request_id:
            return []
        match ack.status:
            case AckStatus.STARTED if running.training:
                return []
            case AckStatus.STARTED:
                running.training, running.due = True, now + running.finish_within_s
                return [_event(running.request, ResponseStatus.STARTED, now, ack)]
            case AckStatus.SUCCEEDED:
                self.running = None
                return [_event(running.request, ResponseStatus.SUCCEEDED, now, ack)]
            case AckStatus.FAILED:
                self.running = None
                return [_event(running.request, ResponseStatus.FAILED, now, ack)]

    def due(self, now: float) -> list[ResponseEvent | RetrainRequest]:
        """Send the request again, or end it, where its time is up."""
        running = self.running
        if running is None or now < running.due:
            return []
        if running.training:
            self.running = None
            return [_event(running.request, ResponseStatus.FAILED, now)]
        if running.repeats == 0:
            self.running = None
            return [_event(running.request, ResponseStatus.EXPIRED, now)]
        attempt = running.request.attempt + 1
        running.request = running.request.model_copy(update={"attempt": attempt, "urgency": Urgency.HIGH})
        running.due, running.repeats = now + running.within_s, running.repeats - 1
        return [_event(running.request, ResponseStatus.UNANSWERED, now), running.request]

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes: plain values."""
        running = self.running
        saved = (
            None
            if running is None
            else {
                "request": running.request.model_dump(mode="json"),
                "due": running.due,
                "within_s": running.within_s,
                "repeats": running.repeats,
                "finish_within_s": running.finish_within_s,
                "training": running.training,
            }
        )
        return {"running": saved, "cooldown_until": self.cooldown_until, "times": list(self._times)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        saved = state["running"]
        self.running = None
        if saved is not None:
            self.running = Tracked(**{**saved, "request": RetrainRequest.model_validate(saved["request"])})
        self.cooldown_until, self._times = state["cooldown_until"], list(state["times"])


def _event(request: RetrainRequest, status: ResponseStatus, now: float, ack: RetrainAck | None = None) -> ResponseEvent:
    version = ack.version if ack is not None and status is ResponseStatus.SUCCEEDED else None
    detail = "" if ack is None or not ack.detail else f": {ack.detail}"
    made = f" as version {version}" if version else ""
    named = f"{request.model} {request.version}"
    return ResponseEvent(
        id=content_id(request.id, status, str(request.attempt)),
        action=Response.RETRAIN,
        status=status,
        severity=_SEVERITIES.get(status, SEVERITIES[request.tier]),
        model=request.model,
        version=request.version,
        stage=request.stage,
        owner=request.owner,
        labels=request.labels,
        runbook=request.runbook,
        incident_id=request.incident_id,
        request_id=request.id,
        dedup_key=request.dedup_key,
        event_id=request.event_id,
        tier=request.tier,
        summary=_SENTENCES[status].format(
            named=named, made=made, detail=detail, attempt=request.attempt, lasted=_since(request, now)
        ),
        time=moment(now),
        signals=request.signals[:10],
        new_version=version,
    )


def _since(request: RetrainRequest, now: float) -> str:
    hours = (moment(now) - request.time) / timedelta(hours=1)
    return f"{hours:.0f} hours"


_SEVERITIES: Final = {
    ResponseStatus.STARTED: Severity.INFO,
    ResponseStatus.SUCCEEDED: Severity.INFO,
    ResponseStatus.FAILED: Severity.ERROR,
    ResponseStatus.UNANSWERED: Severity.WARNING,
    ResponseStatus.EXPIRED: Severity.CRITICAL,
}

_SENTENCES: Final = {
    ResponseStatus.STARTED: "The training that is to replace {named} has started{detail}",
    ResponseStatus.SUCCEEDED: "{named} was trained anew{made}{detail}",
    ResponseStatus.FAILED: "The training that is to replace {named} has failed {lasted} after it was asked for{detail}",
    ResponseStatus.UNANSWERED: "Nobody has taken up the training of {named} in {lasted}: it is asked for once more, "
    "attempt {attempt}",
    ResponseStatus.EXPIRED: "Nobody has taken up the training of {named} in {lasted} and {attempt} attempts: it is not "
    "asked for any more",
}
