"""What follows a drift: who is told, which tier asks for what, when a model is retrained, and when all that waits.

All times are a model's own: the event times of its rows, moved on by ticks while none come.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Self

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from schemas.base import Duration, Outbound
from schemas.tiers import FAULTS, Family, Response, Tier

MOST_WINDOWS: Final = 50
MOST_LABELS: Final = 50
_ANY_DAY: Final = datetime(2024, 1, 1, tzinfo=UTC)


def _check_cron(value: str) -> str:
    """Refuse what is no cron expression, or never comes."""
    if len(value.split()) != 5:
        raise ValueError(f"{value!r} is no cron expression of five fields: minute hour day month weekday")
    try:
        next(CronSim(value, _ANY_DAY))
    except CronSimError as error:
        raise ValueError(f"{value!r} is no cron expression: {str(error).lower()}") from error
    except StopIteration:
        raise ValueError(f"{value!r} never comes") from None
    return value


Cron = Annotated[str, AfterValidator(_check_cron)]
"""Minute, hour, day of the month, month, day of the week, in the model's timezone: ``0 2 * * SUN``."""


class WindowSpec(Outbound):
    """A stretch of time, once (``since`` and ``until``) or again and again (``cron`` and ``lasts``)."""

    cron: Cron | None = None
    """When it begins."""
    lasts: Duration | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    reason: str = Field(default="", max_length=500)

    @model_validator(mode="after")
    def _is_once_or_again(self) -> Self:
        again = self.cron is not None and self.lasts is not None
        once = self.since is not None and self.until is not None
        named = sum(each is not None for each in (self.cron, self.lasts, self.since, self.until))
        if not (again or once) or named != 2:
            raise ValueError("a window has either since and until, or cron and lasts")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("a window's since must be before its until")
        if self.lasts is not None and not timedelta(0) < self.lasts <= timedelta(days=31):
            raise ValueError("a window that comes again lasts more than nothing and at most 31 days")
        return self


class AlertSpec(Outbound):
    """Who is woken and who reads it in the morning."""

    at_once: Tier = Tier.SIGNIFICANT
    """From this tier on an alert at once; what is below is told in the digest. none: everything at once."""
    digest: Cron = "0 8 * * *"
    """When the digest is sent, if there is anything in it."""
    group_within: Duration = timedelta(hours=1)
    """Incidents that show the same cause within this time have one parent, and one alert for each owner."""


class PolicySpec(Outbound):
    """What follows a tier, and when nothing does."""

    labels: dict[str, str] = Field(default_factory=dict, max_length=MOST_LABELS)
    """For routing; copied to every event: ``{team: payments, pager: primary}``."""
    runbook: str | None = Field(default=None, max_length=2_000)
    """A link for whoever is woken; copied to every event."""
    actions: dict[Tier, tuple[Response, ...]] = Field(default_factory=dict)
    """By tier, in place of the usual ones: minor investigate; moderate enhanced monitoring too; significant retrain
    too."""
    reopen_within: Duration = timedelta(hours=1)
    """A drift that is back within this time of its end is the same incident, reopened."""
    maintenance: tuple[WindowSpec, ...] = Field(default=(), max_length=MOST_WINDOWS)
    """Planned work: drift is judged and told on ``drift-events`` all the same, and nothing follows until it is over."""
    alerts: AlertSpec = AlertSpec()

    def follow(self, tier: Tier, family: Family = Family.DRIFT) -> tuple[Response, ...]:
        """What a tier asks for. No fault of data or service asks for retraining: a model would learn the fault."""
        asked = self.actions.get(tier, USUAL_ACTIONS[tier])
        return asked if family not in FAULTS else tuple(each for each in asked if each is not Response.RETRAIN)

    def strongest(self, tier: Tier, family: Family = Family.DRIFT) -> Response:
        """The furthest-reaching of what a tier asks for."""
        return max(self.follow(tier, family), key=lambda response: response.rank, default=Response.NONE)


class TriggeredSpec(Outbound):
    """Retraining because of an incident whose tier asks for it."""

    signals: tuple[str, ...] = Field(default=(), max_length=1_000)
    """Only where one of these has such a tier; ``*`` stands for anything, as in ``performance:*``. Empty: any does."""
    lasting: Duration = timedelta(0)
    """Only when it has lasted so long."""


class ScheduledSpec(Outbound):
    """Retraining by the calendar."""

    cron: Cron
    jitter: Duration = timedelta(0)
    """Put off by a part of this that is the same for a model every time, so that many models do not start at once."""


class ContinuousSpec(Outbound):
    """Retraining because there is something to learn."""

    labelled_rows: int | None = Field(default=None, ge=1)
    """After so many rows with labels since the last request."""
    challenger_margin: float | None = Field(default=None, ge=0.0)
    """When challengers surely gain on the model, by at least this much of its loss (needs ``surrogates``)."""

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.labelled_rows is None and self.challenger_margin is None:
            raise ValueError("continuous retraining needs labelled_rows or challenger_margin")
        return self


class AnswerSpec(Outbound):
    """How long a training pipeline may take to answer on ``retrain-acks``."""

    within: Duration | None = timedelta(hours=6)
    """A request that nobody has started by then is sent again under the same id. null: nobody answers, so none is
    awaited, and a request ends as it is sent."""
    repeats: int = Field(default=2, ge=0, le=20)
    """So often; then the request has expired."""
    finish_within: Duration = timedelta(days=2)
    """From its start; a training that takes longer has failed."""


class RetrainingSpec(Outbound):
    """When retraining is asked for: of all reasons that there are, one request at a time."""

    enabled: bool = True
    cooldown: Duration = timedelta(days=1)
    """At most one request for a model in this time, by event time."""
    triggered: TriggeredSpec = TriggeredSpec()
    scheduled: ScheduledSpec | None = None
    continuous: ContinuousSpec | None = None
    max_age: Duration | None = None
    """Ask when a version has been in production for so long."""
    min_fresh_labels: int = Field(default=0, ge=0)
    """Ask for nothing before there are so many rows with labels since the last request."""
    most_per_day: int = Field(default=4, ge=1, le=100)
    """Requests for a model in 24 hours."""
    blackout: tuple[WindowSpec, ...] = Field(default=(), max_length=MOST_WINDOWS)
    """When no training may be asked for; what is due then is asked for afterwards."""
    answers: AnswerSpec = AnswerSpec()


USUAL_ACTIONS: Final[Mapping[Tier, tuple[Response, ...]]] = {
    Tier.NONE: (),
    Tier.MINOR: (Response.INVESTIGATE,),
    Tier.MODERATE: (Response.INVESTIGATE, Response.ENHANCED_MONITORING),
    Tier.SIGNIFICANT: (Response.INVESTIGATE, Response.ENHANCED_MONITORING, Response.RETRAIN),
}

LATER_RETRAINING: Final = tuple(name for name in RetrainingSpec.model_fields if name not in ("enabled", "cooldown"))
"""Fields that came after the first specs were registered: at their defaults they are no part of a spec's hash."""
