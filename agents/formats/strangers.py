"""Example rows of models that nobody registered, from which automatic registration guesses a spec."""

from __future__ import annotations

from typing import Any, Final

from agents.formats import lenient
from schemas.model_spec import PREDICTION

MOST_ROWS: Final = 64
"""Kept of one model version and run."""
LONGEST_EXAMPLE: Final = 65_536
"""Bytes; a longer event is no example."""

_MOST_FEATURES: Final = 5_000
_LONGEST_NAME: Final = 500


def example_rows(value: bytes) -> list[dict[str, Any]]:
    """Read rows of an event that need not be right; none where it cannot be read.

    Returns
    -------
    list of dict
        Values by feature, and under ``prediction`` and ``score`` what was answered.
    """
    if len(value) > LONGEST_EXAMPLE:
        return []
    try:
        event, _ = lenient.unwrap(lenient.parse(value))
    except lenient.RefusedError:
        return []
    features = event.get("features") if isinstance(event, dict) else None
    values = dict(features) if isinstance(features, dict) else {}
    values |= {name: event[name] for name in (PREDICTION, "score") if event.get(name) is not None}
    values = {name: value for name, value in list(values.items())[:_MOST_FEATURES] if 0 < len(name) <= _LONGEST_NAME}
    if event.get("rows") is None:
        return [values]
    columns = {name: column for name, column in values.items() if isinstance(column, list)}
    count = min(MOST_ROWS, max(map(len, columns.values()), default=0))
    return [{name: column[row] for name, column in columns.items() if row < len(column)} for row in range(count)]
