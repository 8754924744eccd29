"""What is watched of the data's quality: rates of rows that are bad, and from which rise on that matters."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Final, Self

from pydantic import Field, field_validator, model_validator

from schemas.base import Duration, Outbound


class Check(StrEnum):
    """A fault whose rate is watched: ``quality:<check>:<feature>``, or ``quality:<check>`` of whole rows."""

    MISSING = "missing"
    """The value is missing."""
    INVALID = "invalid"
    """It is not of the feature's type: text for a number, a list for a category."""
    UNSEEN = "unseen"
    """A category that the reference never had."""
    OUT_OF_RANGE = "out_of_range"
    """A number below the smallest or above the largest of the reference."""
    OUTLIERS = "outliers"
    """A number further from the reference's quartiles than three times their distance: watched where the reference has
    such numbers too, since elsewhere they are out of its range."""
    UNIT = "unit"
    """A number out of range that would be usual in another unit: 1,000 or 100 times as large or as small, or degrees
    Fahrenheit for Celsius and the other way round."""
    PRECISION = "precision"
    """A number that is rounder than those of the reference, or a fraction where they were whole."""
    FROZEN = "frozen"
    """The same number for the 32nd time in a row, or more."""
    DUPLICATES = "duplicates"
    """A row that is the same, its time included, as one of the 128 rows before it."""
    LATE = "late"
    """A row whose event time lies further behind the newest before it than ``late_after``."""


class RateTiers(Outbound):
    """Increases of a rate (0.02: of two rows in a hundred) from which it counts as minor, moderate, significant."""

    minor: float = Field(gt=0.0, le=1.0)
    moderate: float = Field(gt=0.0, le=1.0)
    significant: float = Field(gt=0.0, le=1.0)

    @model_validator(mode="after")
    def _tiers_are_ordered(self) -> Self:
        if not self.minor <= self.moderate <= self.significant:
            raise ValueError("tiers of a rate must be ordered: minor <= moderate <= significant")
        return self


class QualitySpec(Outbound):
    """Checks of the data; each rate is compared with the reference's, and only a rise is a fault."""

    checks: tuple[Check, ...] = tuple(Check)
    """Those wanted; a feature has the ones that can happen to its type."""
    tiers: dict[Check, RateTiers] = Field(default_factory=dict)
    """By check; those not named have their defaults (`CHECK_TIERS`)."""
    late_after: Duration = timedelta(hours=1)
    """How far behind the newest row of its source partition a row may come."""

    @field_validator("checks")
    @classmethod
    def _checks_are_named_once(cls, value: tuple[Check, ...]) -> tuple[Check, ...]:
        if repeated := sorted({each for each in value if value.count(each) > 1}):
            raise ValueError(f"checks named twice: {', '.join(repeated)}")
        return value

    def tiers_of(self, check: Check) -> RateTiers:
        """Return the tiers of a check: those given, or the defaults."""
        return self.tiers.get(check, CHECK_TIERS[check])


class Answered(StrEnum):
    """How a request for a prediction ended."""

    OK = "ok"
    ERROR = "error"
    """With an error: there need be no answer."""
    TIMEOUT = "timeout"
    """Not in time: there need be no answer."""


class ServiceCheck(StrEnum):
    """A fault of the service whose rate is watched: the signal ``service:<check>``."""

    LATENCY = "latency"
    """An answer that took longer than ``slow_ms``."""
    ERRORS = "errors"
    """A request that ended with an error."""
    TIMEOUTS = "timeouts"
    """A request that was not answered in time."""


class ServiceSpec(Outbound):
    """How the service answers: rates are compared with those of the reference, where it has such rows."""

    slow_ms: float = Field(default=1_000.0, gt=0.0)
    """From so many milliseconds on an answer is slow."""
    expected: dict[ServiceCheck, float] = Field(default_factory=dict)
    """Rates to expect where the reference tells none; those not named: 0.01."""
    tiers: dict[ServiceCheck, RateTiers] = Field(default_factory=dict)
    """Increases of a rate; those not named: 0.02, 0.05, 0.1."""

    @field_validator("expected")
    @classmethod
    def _rates_are_shares(cls, value: dict[ServiceCheck, float]) -> dict[ServiceCheck, float]:
        for check, rate in value.items():
            if not 0.0 <= rate < 1.0:
                raise ValueError(f"the expected rate of {check} lies between 0 and 1, as in 0.01: {rate:g} does not")
        return value


class NumberNorm(Outbound):
    """What is usual of a number, as the reference tells: by which checks that no bin tells are made."""

    usual: tuple[float, float]
    """5 % and 95 % quantiles."""
    fences: tuple[float, float] | None = None
    """Beyond these are outliers; null where the reference has none."""
    grain: float | None = None
    """Multiples of it were rare: they are rounder than the rest."""
    whole: bool = False
    """All were whole numbers."""
    varies: bool = True
    """No single value was frequent, so that one which lasts is frozen."""


class Counted(Outbound):
    """What is counted of rows for checks that no bin tells: as of the reference, so of all rows to come.

    Checks may be left out later, but not added, nor what they count be changed.
    """

    checks: tuple[Check, ...] = ()
    late_after: Duration = timedelta(hours=1)
    slow_ms: float | None = None
    """None: nothing is counted of the service."""

    @classmethod
    def of(cls, quality: QualitySpec | None, service: ServiceSpec | None) -> Self | None:
        """Say what a spec wants counted; None where that is nothing."""
        wanted = () if quality is None else tuple(check for check in quality.checks if check not in OF_BINS)
        if not wanted and service is None:
            return None
        late_after = quality.late_after if quality is not None else timedelta(hours=1)
        return cls(checks=wanted, late_after=late_after, slow_ms=None if service is None else service.slow_ms)

    def lacks(self, quality: QualitySpec | None, service: ServiceSpec | None) -> list[str]:
        """Name what a spec wants and was not counted, or not like this."""
        wanted = Counted.of(quality, service) or Counted()
        lacking = [f"quality.checks: {check}" for check in wanted.checks if check not in self.checks]
        if Check.LATE in wanted.checks and wanted.late_after != self.late_after:
            lacking.append("another quality.late_after")
        if wanted.slow_ms is not None and wanted.slow_ms != self.slow_ms:
            lacking.append("service" if self.slow_ms is None else "another service.slow_ms")
        return lacking


OF_BINS: Final = frozenset({Check.MISSING, Check.INVALID, Check.UNSEEN, Check.OUT_OF_RANGE})
"""Checks that are read off bins, which are there in any case."""

USUAL_TIERS: Final = RateTiers(minor=0.02, moderate=0.05, significant=0.1)
"""Of what happens now and then."""
STRICT_TIERS: Final = RateTiers(minor=0.005, moderate=0.02, significant=0.05)
"""Of what should never happen."""

EXPECTED_RATE: Final = 0.01
"""Of faults of a service of which nothing else is known."""
WHOLESALE_TIERS: Final = RateTiers(minor=0.2, moderate=0.4, significant=0.6)
"""Of what happens to rows by chance, and to many at once where something is broken."""

CHECK_TIERS: Final = {
    Check.MISSING: USUAL_TIERS,
    Check.INVALID: STRICT_TIERS,
    Check.UNSEEN: STRICT_TIERS,
    Check.OUT_OF_RANGE: USUAL_TIERS,
    Check.OUTLIERS: USUAL_TIERS,
    Check.UNIT: STRICT_TIERS,
    Check.PRECISION: WHOLESALE_TIERS,
    Check.FROZEN: WHOLESALE_TIERS,
    Check.DUPLICATES: USUAL_TIERS,
    Check.LATE: USUAL_TIERS,
}
