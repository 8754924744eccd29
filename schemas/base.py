"""How strict an event is: refused where we produce it, tolerated where we consume it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")


class Inbound(BaseModel):
    """An event that others produce: unknown fields are tolerated, so that producers may run ahead of us."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Outbound(BaseModel):
    """An event, or a part of one, that driftline produces: unknown fields are refused, so that mistakes surface."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, ser_json_inf_nan="null")


def _parse_duration(value: Any) -> Any:
    """Read ``30d``, ``10s``, ``1.5h``; leave anything else to pydantic (numbers are seconds, ISO 8601 works too)."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    return value


def _format_duration(value: timedelta) -> str:
    """Write a duration in the largest unit that divides it: ``timedelta(hours=36)`` is ``36h``."""
    seconds = value.total_seconds()
    for unit in ("w", "d", "h", "m", "s"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{int(seconds // _UNITS[unit])}{unit}"
    return f"{round(seconds * 1000)}ms"


def _refuse_negative(value: timedelta) -> timedelta:
    if value < timedelta(0):
        raise ValueError("a duration cannot be negative")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(_parse_duration),
    AfterValidator(_refuse_negative),
    PlainSerializer(_format_duration, return_type=str),
]
"""A length of time, written ``250ms``, ``10s``, ``5m``, ``1h``, ``30d`` or ``2w``."""

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f/@]+$")]
"""A model id, version or feature name: printable, without ``/`` and ``@``, which separate the parts of keys."""

FeatureName = Annotated[str, Field(min_length=1, max_length=500)]
"""The name of a feature: whatever the serving system calls it."""
