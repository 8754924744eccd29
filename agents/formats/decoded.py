"""What decoding a run of records gives, whatever the format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from detector.rows import Rows
from schemas.outbound import DeadLetter

if TYPE_CHECKING:
    from agents.joins.forwarding import Forward
    from agents.registry import Registration

ModelVersion = tuple[str, str]
"""Model and version."""


@dataclass(slots=True)
class DecodedRun:
    """What a run of records holds."""

    rows: list[tuple[Registration, Rows]] = field(default_factory=list)
    """Of each registered model version, in the order of the log."""
    letters: list[DeadLetter] = field(default_factory=list)
    """For each record that cannot be counted, in the order of the log."""
    unregistered: dict[ModelVersion, int] = field(default_factory=dict)
    """Rows of model versions that nobody registered."""
    examples: dict[ModelVersion, list[dict[str, Any]]] = field(default_factory=dict)
    """A few of these rows, from which a spec can be guessed: values by feature, with ``prediction`` and ``score``."""
    invalid: dict[ModelVersion, dict[str, int]] = field(default_factory=dict)
    """Values that are not of their feature's type, by feature; those of what is predicted under ``prediction``."""
    forwards: list[Forward] = field(default_factory=list)
    """Predictions whose label is still to come, and labels whose prediction is elsewhere."""
