"""What is wrong, how bad it is, and what follows. Apart from the events, since a spec's policy names them too."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Tier(StrEnum):
    """How bad: decided from score and evidence together. Ordered by ``rank``."""

    NONE = "none"
    MINOR = "minor"
    MODERATE = "moderate"
    SIGNIFICANT = "significant"

    @property
    def rank(self) -> int:
        """0 for none to 3 for significant."""
        return tuple(Tier).index(self)


class Family(StrEnum):
    """What an incident is about; a model version and stage has at most one open incident of each."""

    DRIFT = "drift"
    QUALITY = "quality"
    SERVICE = "service"
    BUSINESS = "business"


FAULTS: Final[tuple[Family, ...]] = (Family.QUALITY, Family.SERVICE)
"""Families of incidents that are no drifts."""


class Response(StrEnum):
    """What follows a tier."""

    NONE = "none"
    INVESTIGATE = "investigate"
    ENHANCED_MONITORING = "enhanced_monitoring"
    RETRAIN = "retrain"

    @property
    def rank(self) -> int:
        """0 for none to 3 for retrain."""
        return tuple(Response).index(self)
