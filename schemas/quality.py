"""What is watched of the data's quality: rates of rows that are bad, and from which rise on that matters."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self

from pydantic import Field, field_validator, model_validator

from schemas.base import Outbound


class Check(StrEnum):
    """A fault whose rate is watched: the signal ``quality:<check>:<feature>``."""

    MISSING = "missing"
    """The value is missing."""
    INVALID = "invalid"
    """It is not of the feature's type: text for a number, a list for a category."""
    UNSEEN = "unseen"
    """A category that the reference never had."""
    OUT_OF_RANGE = "out_of_range"
    """A number below the smallest or above the largest of the reference."""


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

    @field_validator("checks")
    @classmethod
    def _checks_are_named_once(cls, value: tuple[Check, ...]) -> tuple[Check, ...]:
        if repeated := sorted({each for each in value if value.count(each) > 1}):
            raise ValueError(f"checks named twice: {', '.join(repeated)}")
        return value

    def tiers_of(self, check: Check) -> RateTiers:
        """Return the tiers of a check: those given, or the defaults."""
        return self.tiers.get(check, CHECK_TIERS[check])


USUAL_TIERS: Final = RateTiers(minor=0.02, moderate=0.05, significant=0.1)
"""Of what happens now and then."""
STRICT_TIERS: Final = RateTiers(minor=0.005, moderate=0.02, significant=0.05)
"""Of what should never happen."""

CHECK_TIERS: Final = {
    Check.MISSING: USUAL_TIERS,
    Check.INVALID: STRICT_TIERS,
    Check.UNSEEN: STRICT_TIERS,
    Check.OUT_OF_RANGE: USUAL_TIERS,
}
