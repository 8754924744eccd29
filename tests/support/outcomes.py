"""A model whose labels come late, its events, and an oracle of what the labels must come to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from agents.settings import Settings
from detector.layout import Layout
from detector.profile import Profile, Vector
from schemas.model_spec import ModelSpec
from schemas.performance import OutcomeSpec
from schemas.profiles import ProfileTotal
from tests.support.data import MONDAY, frozen_of, numbers, spec_of
from tests.support.profiling import published

WIDTH = 100
LAG_S = 3_600.0

Record = tuple[bytes | None, bytes | None]


def labelled(model: str = "m", version: str = "1", **outcomes: Any) -> ModelSpec:
    """A binary model with one feature and a score, whose labels are read."""
    spec = spec_of(
        *numbers("x"), model=model, version=version, prediction={"output": "score"}, outcomes=OutcomeSpec(**outcomes)
    )
    rows = 500
    return frozen_of(
        spec,
        {
            "feature:x": [i % WIDTH for i in range(rows)],
            "prediction": [i % WIDTH / WIDTH for i in range(rows)],
            "label": [str(i % 2) for i in range(rows)],
            "performance:error": ["true" if i % 5 == 0 else "false" for i in range(rows)],
        },
    )


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def score(number: int) -> float:
    return number * 37 % WIDTH / WIDTH


def label(number: int) -> str:
    return str(number * 13 % 7 % 2)


def prediction(number: int, **fields: Any) -> Record:
    """The prediction of that number, under the id ``p<number>``."""
    content = {
        "model": "m",
        "version": "1",
        "prediction_id": f"p{number}",
        "time": moment(MONDAY + number),
        "features": {"x": number * 37 % WIDTH},
        "score": score(number),
    }
    return None, json.dumps(content | fields).encode()


def outcome(number: int, **fields: Any) -> Record:
    """Its label, an hour later."""
    content = {
        "model": "m",
        "prediction_id": f"p{number}",
        "time": moment(MONDAY + number + LAG_S),
        "label": label(number),
    }
    return None, json.dumps(content | fields).encode()


def complete(number: int, **fields: Any) -> Record:
    """Its label together with the prediction."""
    brought = json.loads(prediction(number)[1] or b"")
    del brought["prediction_id"]
    brought["prediction_time"] = brought.pop("time")
    return None, json.dumps(
        brought | {"time": moment(MONDAY + number + LAG_S), "label": label(number)} | fields
    ).encode()


def expected(spec: ModelSpec, counted: Iterable[int]) -> dict[str, Any]:
    """The oracle: what the labels with these numbers come to."""
    known = list(counted)
    wrong = [(score(number) >= 0.5) != (label(number) == "1") for number in known]
    return {
        "labels": {name: sum(label(number) == name for number in known) for name in ("0", "1")},
        "errors": {"false": wrong.count(False), "true": wrong.count(True)},
        "lags": len(known),
    }


def found(spec: ModelSpec, vector: Vector) -> dict[str, Any]:
    """The same, read off the counts of a profile."""
    layout = Layout(spec)
    bins = dict(zip(spec.signals, zip(layout.binners, layout.signal_counts(vector), strict=True), strict=True))
    frozen = spec.reference.frozen
    assert frozen is not None

    def by_category(signal: str) -> dict[str, int]:
        categories = frozen.bins[signal].categories  # type: ignore[union-attr]
        return dict(sorted(zip(categories, bins[signal][1].tolist(), strict=False)))

    arrivals = layout.arrivals(vector)
    assert arrivals is not None
    return {
        "labels": by_category("label"),
        "errors": by_category("performance:error"),
        "lags": int(arrivals.counts.sum()),
    }


async def counted_labels(settings: Settings, spec: ModelSpec, *topics: str) -> Vector:
    """What the furthest totals of the partitions of these topics hold, added up."""
    layout = Layout(spec)
    furthest: dict[tuple[str, int], ProfileTotal] = {}
    for total in await published(settings, ProfileTotal):
        key = (total.topic, total.partition)
        ahead = key not in furthest or (total.incarnation, total.next_offset) >= (
            furthest[key].incarnation,
            furthest[key].next_offset,
        )
        if (total.model, total.version) == (spec.model, spec.version) and ahead:
            furthest[key] = total
    whole = np.zeros(layout.width, dtype=np.int64)
    names = {settings.topic(name) for name in topics}
    for (topic, _), total in furthest.items():
        if topic in names:
            for vector in Profile.decode_parts(total.parts, layout.width).parts.values():
                whole += vector
    return whole
