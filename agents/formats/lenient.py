"""Events that do not fit a typed decoder: read field by field, and refused with a sentence that says how to mend them.

Here values may be of the wrong type (they become invalid values), and literals may appear that JSON does not have but
Python's ``json.dumps`` writes: ``NaN``, ``Infinity``.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import msgspec

from detector.rows import Source
from schemas.model_spec import Stage
from schemas.outbound import DeadLetterReason

_NAME: Final = re.compile(r"[^\x00-\x1f/@]{1,200}")
_STAGES: Final = frozenset(stage.value for stage in Stage)
_LONGEST_INTEGER: Final = 4_300
"""Digits that Python converts; a longer number is out of every range."""


class RefusedError(Exception):
    """An event cannot be counted."""

    def __init__(self, reason: DeadLetterReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(slots=True)
class Event:
    """An event of one row, or of many, with the fields that the typed decoders' events have."""

    model: str
    version: str
    rows: int | None
    time: Any
    stage: str
    features: dict[str, Any]
    prediction: Any
    score: Any
    probabilities: Any
    prediction_id: Any = None
    label: Any = None
    prediction_time: Any = None
    latency_ms: Any = None
    status: Any = None
    segments: dict[str, Any] | None = None


_decode: Final = msgspec.json.Decoder().decode


def parse(value: bytes) -> Any:
    """Read JSON.

    Raises
    ------
    RefusedError
        If it is none.
    """
    try:
        return _decode(value)
    except (msgspec.MsgspecError, ValueError):
        pass  # it may still be what Python writes
    except RecursionError:
        _refuse_json("it is nested too deeply")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        _refuse_json(f"byte {error.start} is not UTF-8")
    try:
        parsed = json.loads(text, parse_int=_integer)
        if "\\u" in text:
            json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        _refuse_json("it has half of a surrogate pair, which is no character")
    except json.JSONDecodeError as error:
        _refuse_json(f"{error.msg} at character {error.pos}")
    except RecursionError:
        _refuse_json("it is nested too deeply")
    return parsed


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def unwrap(parsed: Any) -> tuple[Any, Any]:
    """Take the event out of a structured CloudEvent.

    Returns
    -------
    event, time
        What it is when it is none, and the CloudEvent's own time.
    """
    if not isinstance(parsed, dict) or parsed.get("specversion") is None:
        return parsed, None
    if "data_base64" in parsed:
        try:
            return parse(base64.b64decode(parsed["data_base64"], validate=True)), parsed.get("time")
        except (binascii.Error, TypeError, ValueError):
            refuse("`data_base64` of the CloudEvent is not base64")
    if "data" in parsed:
        return parsed["data"], parsed.get("time")
    return parsed, None


def identity(parsed: Any) -> tuple[str, str, int]:
    """Return model, version and the number of rows that an event says it has.

    Raises
    ------
    RefusedError
        If one of them is missing or is none.
    """
    if not isinstance(parsed, dict):
        refuse(f"the event is {_kind(parsed)}: write one object for each message")
    for field in ("model", "version"):
        name = parsed.get(field)
        if name is None:
            refuse(f"`{field}` is missing: every event names its model and version")
        if not isinstance(name, str):
            refuse(f"`{field}` is {_kind(name)}: write it as a string, as in {json.dumps(_short(name))}")
        if not _NAME.fullmatch(name):
            refuse(f"`{field}` {_short(name)!r} is no name: 1 to 200 characters, no / or @, no control characters")
    rows = parsed.get("rows")
    if rows is not None and (not isinstance(rows, int) or isinstance(rows, bool) or rows < 1):
        refuse(f"`rows` is {_short(rows)}: it is how many rows the event has in columns, 1 or more")
    return parsed["model"], parsed["version"], rows or 1


def read(parsed: dict[str, Any], source: Source) -> Event:
    """Read an event whose `identity` is known to be right.

    Raises
    ------
    RefusedError
        If it cannot be counted.
    """
    stage = parsed.get("stage")
    if stage is not None and (not isinstance(stage, str) or stage not in _STAGES):
        known = ", ".join(sorted(_STAGES))
        raise RefusedError(DeadLetterReason.UNKNOWN_STAGE, f"`stage` is {_short(stage)!r}: it is one of {known}")
    features = parsed.get("features")
    if features is None and source is not Source.FEATURES:
        features = {}
    if not isinstance(features, dict):
        refuse(f"`features` is {_kind(features)}: write an object of names and values")
    return Event(
        model=parsed["model"],
        version=parsed["version"],
        rows=parsed.get("rows"),
        time=parsed.get("time"),
        stage=stage or Stage.PRODUCTION.value,
        features=features,
        prediction=parsed.get("prediction"),
        score=parsed.get("score"),
        probabilities=parsed.get("probabilities"),
        prediction_id=parsed.get("prediction_id"),
        label=parsed.get("label"),
        prediction_time=parsed.get("prediction_time"),
        latency_ms=parsed.get("latency_ms"),
        status=parsed.get("status"),
        segments=segments if isinstance(segments := parsed.get("segments"), dict) else None,
    )


def feature_keys(value: bytes, model: str) -> list[str]:
    """Names of the features in the order in which they are written; none if the event is not that model's."""
    try:
        event = _decode(value)
        return list(event["features"]) if event["model"] == model else []
    except (msgspec.MsgspecError, ValueError, RecursionError, TypeError, KeyError):
        return []


def refuse(detail: str) -> NoReturn:
    """Refuse an event that is JSON but none of ours."""
    raise RefusedError(DeadLetterReason.INVALID_EVENT, detail)


def _refuse_json(detail: str) -> NoReturn:
    raise RefusedError(DeadLetterReason.INVALID_JSON, f"the value is not JSON: {detail}")


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "something else")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


_KINDS: Final = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}
