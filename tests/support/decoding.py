"""Records as a broker hands them over, and decoding them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiokafka.structs import ConsumerRecord

from agents.formats import DecodedRun, RunDecoder
from agents.registry import Registration
from agents.runs import Run
from detector.rows import Rows, Source
from schemas.model_spec import ModelSpec

TOPIC = "driftline.predictions"
APPENDED_MS = 1_714_564_800_000
"""2024-05-01T12:00:00Z."""
APPENDED = APPENDED_MS / 1_000


@dataclass(frozen=True)
class Limits:
    """The setting that decoding reads."""

    max_record_bytes: int = 1_048_576


def record(
    value: Any, offset: int = 0, *, headers: Sequence[tuple[str, bytes]] = (), timestamp: int = APPENDED_MS
) -> ConsumerRecord[bytes, bytes]:
    """Make a record of an event, or of bytes as they are."""
    content = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    return ConsumerRecord(TOPIC, 3, offset, timestamp, 0, b"key", content, None, 3, len(content or b""), tuple(headers))


def run_of(*values: Any) -> Run:
    """Make a run of events, bytes or records; offsets count from 100."""
    records = [value if isinstance(value, ConsumerRecord) else record(value, 100 + n) for n, value in enumerate(values)]
    return Run(TOPIC, 3, records)


def decoder_for(*specs: ModelSpec, limits: Limits | None = None) -> RunDecoder:
    """Make a decoder that knows these model versions."""
    registered = {(spec.model, spec.version): Registration(spec, None, 0, spec.hash) for spec in specs}
    return RunDecoder(lambda model, version: registered.get((model, version)), limits or Limits())


def decode(spec: ModelSpec, *values: Any, source: Source = Source.PREDICTIONS) -> DecodedRun:
    """Decode events of one model version."""
    return decoder_for(spec).decode(run_of(*values), source)


def rows_in(spec: ModelSpec, *values: Any, source: Source = Source.PREDICTIONS) -> Rows:
    """Decode events that are all good."""
    decoded = decode(spec, *values, source=source)
    assert not decoded.letters, decoded.letters[0].detail
    ((_, rows),) = decoded.rows
    return rows


def same_rows(one: Rows, other: Rows) -> bool:
    """Whether rows are the same to the bit."""
    arrays = [(one.offsets, other.offsets), (one.times, other.times), (one.stages, other.stages)]
    columns = list(zip(one.columns, other.columns, strict=True))
    arrays += [(a, b) for a, b in columns if isinstance(a, np.ndarray) and isinstance(b, np.ndarray)]
    rest = [(a, b) for a, b in columns if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray)]
    return (
        one.source is other.source
        and all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in arrays)
        and all(a == b for a, b in rest)
    )


def reasons(decoded: DecodedRun) -> dict[int, str]:
    """Why records became dead letters, by offset."""
    return {letter.origin.offset: letter.reason.value for letter in decoded.letters}


def details(letters: Iterable[Any]) -> list[str]:
    """What dead letters say to people."""
    return [letter.detail for letter in letters]
