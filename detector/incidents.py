"""The life of a drift: one open incident at a time, with one id from its opening to its end.

=========  ==============================================================================
opened     a signal that may open an incident has a tier, and no incident is open
escalated  the incident's tier, the highest of such signals', is higher than before
eased      it is lower
updated    it is the same, and another signal has joined
resolved   no such signal has a tier any more
reopened   one has a tier again within ``reopen_within_s`` of that: the same incident goes on
=========  ==============================================================================

Signals that may not open an incident (the predictions of a model that keeps learning) join one and tell what they see,
but neither raise its tier nor keep it open. At most one change in a step. Ids are made of content: the same decision,
taken again after a crash, has the same id.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from detector.readings import SignalReading
from schemas.outbound import Change, Family, Tier


@dataclass(frozen=True, slots=True)
class Watched:
    """What an incident needs to know of a signal."""

    name: str
    importance: float = 1.0
    """Ranks the signals of an incident: score x importance."""
    opens: bool = True


@dataclass(frozen=True, slots=True)
class Member:
    """A signal of an incident, as it stands now."""

    index: int
    """Among the signals watched, and so of its reading."""
    name: str
    tier: Tier
    """None where it has gone quiet."""
    score: float
    evidence: float
    """Nats against the null of its tier (of minor, where it has gone quiet)."""
    importance: float


@dataclass(frozen=True, slots=True)
class Incident:
    """One drift."""

    id: str
    family: Family
    tier: Tier
    highest: Tier
    """The highest tier it has had."""
    opened_at: float
    """Event time, seconds since 1970."""
    opened_in: int
    """Number of the step."""
    members: tuple[Member, ...]
    """By tier, then score x importance."""


@dataclass(frozen=True, slots=True)
class IncidentChange:
    """Something happened to an incident: what a drift event tells."""

    id: str
    change: Change
    incident: Incident
    previous_tier: Tier
    joined: tuple[str, ...]
    """Names of the signals that are new to it, or back."""


class Incidents:
    """Opens, follows and resolves the incidents of one family, for one model version and stage.

    Parameters
    ----------
    scope
        What makes ids unique among models, versions, stages and references.
    watched
        In the order of the readings.
    reopen_within_s
        Seconds of event time in which a drift that is back is the same incident; 0: never.
    """

    def __init__(self, scope: str, family: Family, watched: Sequence[Watched], *, reopen_within_s: float = 0.0) -> None:
        self._scope, self._family, self._watched = scope, family, tuple(watched)
        self._reopen_within_s = reopen_within_s
        self.open: Incident | None = None
        self._resolved: Incident | None = None
        """The last one that is over."""
        self._resolved_at = math.nan

    def update(
        self, tiers: Sequence[Tier], readings: Sequence[SignalReading], *, step: int, moment: str, time: float
    ) -> IncidentChange | None:
        """Take one step's tiers; return what that changes.

        Parameters
        ----------
        tiers, readings
            Of each signal watched.
        step
            Number of the step.
        moment
            What the decision was taken on, such as the offsets at which the step was cut: ids are made of it.
        time
            Event time of the newest row, in seconds since 1970.
        """
        before = self.open
        opening = (each for each, signal in zip(tiers, self._watched, strict=True) if signal.opens)
        tier = max(opening, key=_rank, default=Tier.NONE)
        if before is None and tier is Tier.NONE:
            return None
        is_back = before is None and 0.0 <= time - self._resolved_at < self._reopen_within_s
        if before is None and is_back:
            before = self._resolved
        if before is None:
            identity = content_id(self._scope, self._family, moment)
            before = Incident(identity, self._family, Tier.NONE, Tier.NONE, time, step, ())
        firing = {member.index for member in before.members if member.tier is not Tier.NONE}
        joined = [index for index, each in enumerate(tiers) if each is not Tier.NONE and index not in firing]
        known = {member.index for member in before.members}
        members = [self._member(index, tiers[index], readings[index]) for index in sorted(known.union(joined))]
        after = replace(
            before,
            tier=tier,
            highest=max(before.highest, tier, key=_rank),
            members=tuple(sorted(members, key=_importance)),
        )
        self.open = None if tier is Tier.NONE else after
        change = Change.REOPENED if is_back else _change(before.tier, tier, bool(joined))
        if change is Change.RESOLVED:
            self._resolved, self._resolved_at = after, time
        if change is None:
            return None
        names = tuple(self._watched[index].name for index in joined)
        return IncidentChange(content_id(before.id, change, moment), change, after, before.tier, names)

    def _member(self, index: int, tier: Tier, reading: SignalReading) -> Member:
        signal, evidence = self._watched[index], reading.evidence[max(tier.rank - 1, 0)]
        return Member(index, signal.name, tier, reading.score, evidence, signal.importance)

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes: plain values."""
        return {
            "open": None if self.open is None else asdict(self.open),
            "resolved": None if self._resolved is None else asdict(self._resolved),
            "resolved_at": self._resolved_at,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self.open = _restored(state["open"])
        self._resolved = _restored(state.get("resolved"))  # states of 0.1.0 have none
        self._resolved_at = state.get("resolved_at", math.nan)


def _restored(saved: Mapping[str, Any] | None) -> Incident | None:
    if saved is None:
        return None
    members = tuple(Member(**{**each, "tier": Tier(each["tier"])}) for each in saved["members"])
    tiers = {name: Tier(saved[name]) for name in ("tier", "highest")}
    return Incident(**{**saved, **tiers, "family": Family(saved["family"]), "members": members})


def content_id(*parts: str) -> str:
    """Name something by what it is made of: 32 hexadecimal digits."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def _rank(tier: Tier) -> int:
    return tier.rank


def _importance(member: Member) -> tuple[float, float, str]:
    return -member.tier.rank, -member.score * member.importance, member.name


def _change(before: Tier, after: Tier, joined: bool) -> Change | None:
    if before is Tier.NONE:
        return Change.OPENED
    if after is Tier.NONE:
        return Change.RESOLVED
    if after is before:
        return Change.UPDATED if joined else None
    return Change.ESCALATED if after.rank > before.rank else Change.EASED
