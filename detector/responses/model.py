"""All that follows for one model: every input goes through `ModelResponses.take`, in the order of the log.

1. The input moves the model's time, its cases, its versions or its running request.
2. Open cases are answered with what their tier asks for, unless maintenance is on.
3. Retraining: what is due is sent, repeated, ended or held back.

The same inputs in the same order give the same decisions. An input that is not new changes nothing but the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detector.responses import protocol
from detector.responses.calendar import Notices, window_end
from detector.responses.cases import Case, Casebook
from detector.responses.clock import ModelClock
from detector.responses.inputs import Decision, Input, Specs, time_of
from detector.responses.retraining import Retraining, wants
from schemas.model_spec import ModelSpec
from schemas.outbound import DriftEvent
from schemas.policy import PolicySpec
from schemas.responses import MaintenanceNotice, RetrainAck, Tick, VersionProgress


class ModelResponses:
    """Decides what follows for one model.

    Parameters
    ----------
    model
        Its id.

    Attributes
    ----------
    moved
        Whether the last input has changed what is saved; a tick that decides nothing has not.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.clock = ModelClock()
        self.cases = Casebook()
        self._notices = Notices()
        self._retraining = Retraining(model)
        self.moved = False

    def take(self, item: Input, at: float, specs: Specs) -> list[Decision]:
        """Take an input.

        Parameters
        ----------
        item
            What was read. An event of a version whose spec nobody knows is passed over.
        at
            Time of its record, in seconds since 1970.
        specs
            Specs of the versions of this model.
        """
        decisions: list[Decision] = []
        self.clock.read(at)
        match item:
            case DriftEvent():
                decisions += self._take_event(item, at, specs)
            case VersionProgress():
                self.clock.hear(None if item.time is None else item.time.timestamp(), at)
                self._retraining.versions.take(item)
            case MaintenanceNotice():
                self._notices.take(item)
            case RetrainAck():
                if self.clock.now is not None:
                    decisions += self._retraining.answer(item, self.clock.now, self.cases)
            case Tick():
                pass
        decisions += self._due(specs)
        self.moved = bool(decisions) or not isinstance(item, Tick)
        return decisions

    def _take_event(self, event: DriftEvent, at: float, specs: Specs) -> list[Decision]:
        spec = specs(event.model, event.version)
        if spec is None:
            return []
        self.clock.hear(time_of(event), at)
        case, ended = self.cases.take(event)
        if case is not None and not wants(case.event, spec):
            case.wanted_since = None
        elif case is not None and case.wanted_since is None:
            case.wanted_since = case.time
        return [decided for each in ended for decided in self._end(each, specs)]

    def _end(self, case: Case, specs: Specs) -> list[Decision]:
        now = self.clock.now
        return [] if now is None else [*protocol.end(case, _policy(specs(self.model, case.event.version)), now)]

    def _due(self, specs: Specs) -> list[Decision]:
        now = self.clock.now
        if now is None:
            return []

        def pause_end(spec: ModelSpec) -> float | None:
            planned = window_end(spec.responses.maintenance, spec.timezone, now)
            return max((end for end in (planned, self._notices.end(now)) if end is not None), default=None)

        decisions: list[Decision] = []
        for case in self.cases:
            spec = specs(self.model, case.event.version)
            if spec is not None and pause_end(spec) is None:
                decisions += protocol.follow(case, spec.responses, now)
        return [*decisions, *self._retraining.due(now, self.cases, specs, pause_end)]

    def state(self) -> dict[str, Any]:
        """Everything a successor needs, for ``detector.state``."""
        return {
            "clock": self.clock.state(),
            "cases": self.cases.state(),
            "notices": self._notices.state(),
            "retraining": self._retraining.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up where ``state`` left off."""
        self.clock.restore(state["clock"])
        self.cases.restore(state["cases"])
        self._notices.restore(state["notices"])
        self._retraining.restore(state["retraining"])


def _policy(spec: ModelSpec | None) -> PolicySpec:
    return spec.responses if spec is not None else PolicySpec()
