"""Which incidents are one: those of one model, or of many that show the same broken feature, within a short time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from schemas.model_spec import Stage, feature_signal
from schemas.outbound import DriftEvent, Family, IncidentStatus, Tier

NAMED_CAUSES: Final = 5
_OF_THE_DATA: Final = (feature_signal(""), "quality:", "service:")
"""Signals that several models can share: a feature has one source, a prediction is each model's own."""


@dataclass(slots=True)
class Known:
    """What the desk knows of an incident. Times are event times, in seconds since 1970."""

    id: str
    model: str
    version: str
    stage: Stage
    family: Family
    opened_at: float
    time: float
    tier: Tier
    highest: Tier
    status: IncidentStatus
    cause: tuple[str, ...]
    event_id: str
    summary: str
    parent: str | None = None
    told: Tier = Tier.NONE
    """The highest tier of which there was an alert, while that one is open."""
    changes: int = 0
    """Events since the last digest that no alert told of."""
    in_maintenance: bool = False
    """Whether an alert had to wait, or came to nothing."""

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Self:
        """Read what `state` gave."""
        tiers = {name: Tier(state[name]) for name in ("tier", "highest", "told")}
        kinds = {
            "stage": Stage(state["stage"]),
            "family": Family(state["family"]),
            "status": IncidentStatus(state["status"]),
        }
        return cls(**{**state, **tiers, **kinds, "cause": tuple(state["cause"])})


def cause_of(event: DriftEvent) -> tuple[str, ...]:
    """Name the leading signals: of the data where there are any, else whatever there is."""
    firing = list(dict.fromkeys(verdict.signal for verdict in event.signals if verdict.tier is not Tier.NONE))
    of_the_data = [signal for signal in firing if signal.startswith(_OF_THE_DATA)]
    return tuple((of_the_data or firing)[:NAMED_CAUSES])


def parent_of(new: Known, others: Iterable[Known], within_s: float) -> str | None:
    """Find the incident that ``new`` belongs to: the first that opened of those with its model or cause."""
    shared = {signal for signal in new.cause if signal.startswith(_OF_THE_DATA)}
    near = [
        other
        for other in others
        if other.id != new.id
        and other.parent is None
        and abs(other.opened_at - new.opened_at) <= within_s
        and (other.model == new.model or not shared.isdisjoint(other.cause))
    ]
    first = min(near, key=lambda other: (other.opened_at, other.id), default=None)
    return None if first is None else first.id
