"""When a retrain request is due, for which reason, and what it has to wait for.

Reasons, in this order: an incident whose tier asks for it, for as long as the spec says; challengers that surely gain;
enough rows with new labels; a version's age; the calendar.

What holds a request back (`HELD_BY`): maintenance, a blackout, another request on its way, the cooldown of the last
one, the budget of a day, too few rows with new labels. All wait until that is over but the calendar's: these wait for
maintenance and blackouts only, and a run that anything else is in the way of is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from detector.responses.calendar import next_run, window_end
from detector.responses.cases import Case, Casebook
from detector.responses.inputs import Decision, Held, Specs, moment
from detector.responses.requests import Why, for_incident, for_version, lasted
from detector.responses.tracking import RequestTracker
from detector.responses.versions import Version, Versions
from schemas.model_spec import ModelSpec
from schemas.outbound import DriftEvent, Response, Tier
from schemas.responses import ResponseEvent, ResponseStatus, RetrainAck, RetrainRequest, Trigger

PauseEnd = Callable[[ModelSpec], float | None]
"""When the maintenance of a model with that spec is over; None while there is none."""

_WAITED_FOR: Final = frozenset({"maintenance", "blackout"})


@dataclass(frozen=True, slots=True)
class _Ask:
    """A reason to retrain."""

    key: str
    spec: ModelSpec
    version: Version | None
    case: Case | None
    request: Callable[[], RetrainRequest]


def wants(event: DriftEvent, spec: ModelSpec) -> bool:
    """Whether an incident, as it stands, asks for retraining."""
    policy, patterns = spec.responses, spec.retraining.triggered.signals
    if Response.RETRAIN not in policy.follow(event.tier, event.family):
        return False
    return not patterns or any(
        Response.RETRAIN in policy.follow(verdict.tier) and any(fnmatchcase(verdict.name, each) for each in patterns)
        for verdict in event.signals
        if verdict.tier is not Tier.NONE
    )


class Retraining:
    """Decides when a model is to be retrained, and follows each request to its end."""

    def __init__(self, model: str) -> None:
        self._model = model
        self.versions = Versions()
        self.tracker = RequestTracker()
        self._scheduled: tuple[str, float] | None = None
        """The version that has a schedule, and its next run by the model's time."""
        self._held: dict[str, str] = {}
        """What holds back each of the asks that there are."""

    def answer(self, ack: RetrainAck, now: float, cases: Casebook) -> list[ResponseEvent]:
        """Take a pipeline's answer."""
        return self._settle(self.tracker.answer(ack, now), cases)

    def due(self, now: float, cases: Casebook, specs: Specs, pause_end: PauseEnd) -> list[Decision]:
        """Decide what is due at the model's time ``now``."""
        followed = self.tracker.due(now)
        decisions: list[Decision] = [*followed]
        self._settle([each for each in followed if isinstance(each, ResponseEvent)], cases)
        held: dict[str, str] = {}
        for ask in self._asks(now, cases, specs):
            why = self._holds(ask, now, pause_end)
            if why is None:
                decisions.append(self._send(ask, now))
                continue
            held[ask.key] = why.reason
            if self._held.get(ask.key) != why.reason:
                decisions.append(why)
            if ask.key == _SCHEDULE and why.reason not in _WAITED_FOR:
                self._plan(ask.spec, now)
        self._held = held
        return decisions

    def _settle(self, events: list[ResponseEvent], cases: Casebook) -> list[ResponseEvent]:
        for event in events:
            if event.status is ResponseStatus.FAILED:
                cases.may_ask_again(event.incident_id)
        return events

    # ------------------------------------------------------------------------------------------------ reasons

    def _asks(self, now: float, cases: Casebook, specs: Specs) -> Iterator[_Ask]:
        for case in cases:
            spec = specs(self._model, case.event.version)
            if spec is None or not spec.retraining.enabled or case.asked or case.wanted_since is None:
                continue
            if now - case.wanted_since >= spec.retraining.triggered.lasting.total_seconds():
                yield self._incident(case, spec, now)
        version = self.versions.current
        spec = None if version is None else specs(self._model, version.progress.version)
        if version is not None and spec is not None and spec.retraining.enabled:
            yield from self._continuous(version, spec, now)
            yield from self._aged(version, spec, now)
            yield from self._on_schedule(version, spec, now)

    def _incident(self, case: Case, spec: ModelSpec, now: float) -> _Ask:
        version = self.versions.find(case.event.version)
        return _Ask(case.id, spec, version, case, lambda: for_incident(case, spec, now, version))

    def _for_version(self, version: Version, why: Why, spec: ModelSpec, now: float) -> _Ask:
        return _Ask(why.trigger, spec, version, None, lambda: for_version(version, why, spec, now))

    def _continuous(self, version: Version, spec: ModelSpec, now: float) -> Iterator[_Ask]:
        wanted = spec.retraining.continuous
        if wanted is None:
            return
        name = f"{spec.model} {spec.version}"
        gain, margin = version.progress.challenger_gain, wanted.challenger_margin
        if margin is not None and gain is not None and gain >= margin:
            reason = f"models trained on recent labels surely do better than {name}, by {gain:.3g} of its loss."
            yield self._for_version(version, Why(Trigger.CHALLENGER, _stamp(version.since), reason), spec, now)
        fresh, enough = version.fresh_labels, wanted.labelled_rows
        if enough is not None and fresh is not None and fresh >= enough:
            reason = f"{name} can learn from {fresh:,} rows with new labels."
            yield self._for_version(
                version, Why(Trigger.LABELS, f"{_stamp(version.since)}/{version.labels_then}", reason), spec, now
            )

    def _aged(self, version: Version, spec: ModelSpec, now: float) -> Iterator[_Ask]:
        oldest = spec.retraining.max_age
        if oldest is not None and now - version.since >= oldest.total_seconds():
            reason = f"{spec.model} {spec.version} is older than {lasted(oldest)}."
            yield self._for_version(version, Why(Trigger.AGE, _stamp(version.since), reason), spec, now)

    def _on_schedule(self, version: Version, spec: ModelSpec, now: float) -> Iterator[_Ask]:
        schedule = spec.retraining.scheduled
        if schedule is None:
            self._scheduled = None
            return
        if self._scheduled is None or self._scheduled[0] != spec.version:
            self._plan(spec, now)
        if self._scheduled is not None and now >= self._scheduled[1]:
            reason = f"{spec.model} {spec.version} is trained anew by its schedule ({schedule.cron})."
            yield self._for_version(version, Why(Trigger.SCHEDULE, _stamp(self._scheduled[1]), reason), spec, now)

    def _plan(self, spec: ModelSpec, now: float) -> None:
        """Look for the next run after ``now``."""
        schedule = spec.retraining.scheduled
        if schedule is not None:
            self._scheduled = (spec.version, next_run(schedule, spec.timezone, self._model, now))

    # ------------------------------------------------------------------------------------------ what is waited for

    def _holds(self, ask: _Ask, now: float, pause_end: PauseEnd) -> Held | None:
        """What holds an ask back, if anything does."""
        spec, tracker = ask.spec.retraining, self.tracker

        def held(reason: str, until: float | None = None) -> Held:
            case_id = None if ask.case is None else ask.case.id
            return Held(self._model, ask.spec.version, reason, None if until is None else moment(until), case_id)

        if (until := pause_end(ask.spec)) is not None:
            return held("maintenance", until)
        if (until := window_end(spec.blackout, ask.spec.timezone, now)) is not None:
            return held("blackout", until)
        if tracker.running is not None:
            return held("running")
        if tracker.cooldown_until is not None and now < tracker.cooldown_until:
            return held("cooldown", tracker.cooldown_until)
        if tracker.in_a_day(now) >= spec.most_per_day:
            return held("budget")
        if spec.min_fresh_labels and (ask.version is None or (ask.version.fresh_labels or 0) < spec.min_fresh_labels):
            return held("labels")
        return None

    def _send(self, ask: _Ask, now: float) -> RetrainRequest:
        request = ask.request()
        self.tracker.send(request, ask.spec.retraining, now)
        if ask.case is not None:
            ask.case.asked = True
            ask.case.requests += 1
        if ask.version is not None:
            ask.version.start_afresh(now)
        if ask.key == _SCHEDULE:
            self._plan(ask.spec, now)
        return request

    # ----------------------------------------------------------------------------------------------------- state

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes: plain values."""
        return {
            "versions": self.versions.state(),
            "tracker": self.tracker.state(),
            "scheduled": None if self._scheduled is None else list(self._scheduled),
            "held": dict(self._held),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self.versions.restore(state["versions"])
        self.tracker.restore(state["tracker"])
        self._scheduled = None if state["scheduled"] is None else (state["scheduled"][0], state["scheduled"][1])
        self._held = dict(state["held"])


def _stamp(seconds: float) -> str:
    return moment(seconds).isoformat()


_SCHEDULE: Final = Trigger.SCHEDULE.value
