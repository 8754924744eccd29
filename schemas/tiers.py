"""How bad a drift is, and what follows it. Apart from the events, since a spec's policy names them too."""

from __future__ import annotations

from enum import StrEnum


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
