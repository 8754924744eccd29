"""Where fuzzing starts from: good inputs of every kind, and the words that matter in them."""

from __future__ import annotations

import json
from typing import Any, Final

from agents.spec_file import render_spec
from tests.fuzz.targets import NEXT_RECORD, SPECS

_FEATURES: Final = {"a": 1.5, "b": -2, "c": "x", "d": True}


def _event(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "version": "1", "features": _FEATURES, "score": 0.5} | fields).encode()


def _batch(**fields: Any) -> bytes:
    columns = {name: [value, None] for name, value in _FEATURES.items()}
    return _event(rows=2, features=columns, score=[0.1, 0.9], **fields)


_EVENTS: Final = (
    _event(),
    _event(time="2024-05-01T12:00:00Z", stage="shadow", prediction_id="p1"),
    _event(segments={"country": "DE"}, latency_ms=12.5, status="timeout"),
    _event(version="2", prediction="yes", probabilities={"no": 0.25, "yes": 0.75}),
    _event(version="3", prediction=1e300),
    _event(features=_FEATURES | {"a": "1", "c": [1], "d": 2}),
    _event(label=1, prediction_id="p1", prediction_time=1_714_564_000),
    b'{"model": "m", "version": "1", "prediction_id": 7, "label": "yes"}',
    _batch(prediction_id=["p1", "p2"], time=["2024-05-01T12:00:00Z", None]),
    _batch(label=[0, None], prediction_id=["p1", "p2"]),
    b'{"specversion": "1.0", "time": "2024-05-01T12:00:00Z", "data": ' + _event() + b"}",
    b'{"model": "m", "version": "1", "features": {"a": NaN, "b": Infinity}, "score": -Infinity}',
    NEXT_RECORD.join([_event(), b"{", _batch(), _event(model="other"), b""]),
)
_EXPRESSIONS: Final = (
    "a <= 5 * `b c`",
    's != "closed" or a == 0',
    "not p and 0 < a <= 1e3",
    "a between -1 and abs(`b c`) % 2",
    "s in ('x', \"y\",) or len(s) is missing",
    "min(a, 1, -.5) not in (1, -2)",
    "p is not missing and s is missing",
)
SEEDS: Final[dict[str, tuple[bytes, ...]]] = {
    "events": _EVENTS,
    "expressions": tuple(text.encode() for text in _EXPRESSIONS),
    "specs": tuple(render_spec(spec).encode() for spec in SPECS),
}
WORDS: Final[dict[str, tuple[str, ...]]] = {
    "events": (
        "model", "version", "features", "score", "prediction", "probabilities", "label", "rows", "time", "stage",
        "prediction_id", "prediction_time", "segments", "country", "latency_ms",
        "status", "specversion", "data", "data_base64", "null", "NaN", "Infinity", "1e999",
        "\\ud800", "[", "]", "{", "}", NEXT_RECORD.decode(),
    ),
    "expressions": (
        "and", "or", "not", "in", "is", "missing", "between", "true", "false", "abs(", "min(", "len(", "`", "(", ")",
        "==", "!=", "<=", "%", "1e",
    ),
    "specs": (
        "features:", "rules:", "expression:", "detectors:", "outcomes:", "- {name: a, type: number}", "&a", "*a", "<<:",
        "!!python/object", "null", "{}", "[]", "minimum", "categories",
    ),
}  # fmt: skip
