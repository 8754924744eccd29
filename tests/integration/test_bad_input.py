"""Bad input never stops the worker: it is counted and explained, and the good records around it are counted too."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from agents.settings import Settings
from agents.worker import WorkerHandle, running_worker
from detector.layout import Layout
from detector.profile import Profile
from schemas.outbound import DeadLetterReason, ModelState
from schemas.profiles import ProfileTotal
from tests.support.data import MONDAY
from tests.support.produce import produce
from tests.support.profiling import last_totals, published, register
from tests.support.worker import (
    EVERY_ROWS,
    committed,
    dead_letters,
    drift_events,
    prediction,
    predictions,
    statuses,
    until,
    until_judged,
    watched,
)

SPEC: Final = watched()
GOOD: Final = 40
"""Good records before, and as many behind, each bad one."""
MIB: Final = 1_048_576


def row(**fields: Any) -> bytes:
    """A good prediction with some fields replaced; None leaves a field out."""
    content = json.loads(prediction(0)) | fields
    return json.dumps({name: value for name, value in content.items() if value is not None}).encode()


def features(**values: Any) -> bytes:
    """A prediction with these features; numbers that JSON cannot write are written as Python does."""
    return row(features=values)


LETTERS: Final[dict[str, tuple[bytes | None, DeadLetterReason]]] = {
    "a tombstone": (None, DeadLetterReason.EMPTY),
    "an empty value": (b"", DeadLetterReason.EMPTY),
    "half of an event": (prediction(0)[:60], DeadLetterReason.INVALID_JSON),
    "an event and a half": (prediction(0) + prediction(0)[:60], DeadLetterReason.INVALID_JSON),
    "two events": (prediction(0) + b"," + prediction(0), DeadLetterReason.INVALID_JSON),
    "bytes that are no text": (bytes(range(256)), DeadLetterReason.INVALID_JSON),
    "text that is no UTF-8": (prediction(0).replace(b"m", b"\xff", 1), DeadLetterReason.INVALID_JSON),
    "brackets, 100,000 deep": (b"[" * 100_000 + b"]" * 100_000, DeadLetterReason.INVALID_JSON),
    "objects, 100,000 deep": (b'{"model":' * 100_000 + b"1" + b"}" * 100_000, DeadLetterReason.INVALID_JSON),
    "a number": (b"17", DeadLetterReason.INVALID_EVENT),
    "null": (b"null", DeadLetterReason.INVALID_EVENT),
    "a list of events": (b"[" + prediction(0) + b"]", DeadLetterReason.INVALID_EVENT),
    "no model": (row(model=None), DeadLetterReason.INVALID_EVENT),
    "a model that is a number": (row(model=5), DeadLetterReason.INVALID_EVENT),
    "an empty model": (row(model=""), DeadLetterReason.INVALID_EVENT),
    "a model with a slash": (row(model="a/b"), DeadLetterReason.INVALID_EVENT),
    "no version": (row(version=None), DeadLetterReason.INVALID_EVENT),
    "a version that is a list": (row(version=["1"]), DeadLetterReason.INVALID_EVENT),
    "features that are a list": (row(features=[1, 2]), DeadLetterReason.INVALID_EVENT),
    "features that are a number": (row(features=1), DeadLetterReason.INVALID_EVENT),
    "a time that is a word": (row(time="yesterday"), DeadLetterReason.INVALID_TIME),
    "a time that is a list": (row(time=[]), DeadLetterReason.INVALID_TIME),
    "a time without a zone": (row(time="2024-01-01T00:00:00"), DeadLetterReason.INVALID_TIME),
    "the year 1": (row(time="0001-01-01T00:00:00Z"), DeadLetterReason.INVALID_TIME),
    "the year 1900": (row(time="1900-01-01T00:00:00Z"), DeadLetterReason.INVALID_TIME),
    "the year 9999": (row(time="9999-12-31T23:59:59Z"), DeadLetterReason.INVALID_TIME),
    "next century": (row(time="2199-01-01T00:00:00Z"), DeadLetterReason.INVALID_TIME),
    "a stage that nobody knows": (row(stage="staging"), DeadLetterReason.UNKNOWN_STAGE),
    "a stage that is a number": (row(stage=1), DeadLetterReason.UNKNOWN_STAGE),
    "10 MB of a word": (row(note="x" * 10 * MIB), DeadLetterReason.TOO_LARGE),
    "10 MB of nothing": (b" " * 10 * MIB, DeadLetterReason.TOO_LARGE),
}
"""Records that cannot be counted."""

INVALID, MISSING, VALID = "invalid", "missing", "valid"
VALUES: Final[dict[str, tuple[bytes, str]]] = {
    "a word for a number": (features(x="many", plan="pro"), INVALID),
    "a list for a number": (features(x=[1, 2], plan="pro"), INVALID),
    "an object for a number": (features(x={"y": 1}, plan="pro"), INVALID),
    "nesting, 500 deep, for a number": (
        prediction(0).replace(b'"x": ', b'"x": ' + b"[" * 500 + b"]" * 500 + b', "z": '),
        INVALID,
    ),
    "Infinity": (features(x=float("inf"), plan="pro"), INVALID),
    "-Infinity": (features(x=float("-inf"), plan="pro"), INVALID),
    "a number beyond all floats": (features(x=0, plan="pro").replace(b'"x": 0', b'"x": 1e999'), INVALID),
    "an integer of 400 digits": (features(x=10**400, plan="pro"), INVALID),
    "NaN": (features(x=float("nan"), plan="pro"), MISSING),
    "null": (features(x=None, plan="pro"), MISSING),
    "a feature that is not there": (features(plan="pro"), MISSING),
    "no features at all": (features(), MISSING),
    "the largest float": (features(x=1.7976931348623157e308, plan="pro"), VALID),
    "the smallest float": (features(x=5e-324, plan="pro"), VALID),
    "an integer of 30 digits": (features(x=10**30, plan="pro"), VALID),
    "features that nobody asked for": (features(x=1, plan="pro", y=2, z={"deep": [1]}, w="w" * 10_000), VALID),
}
"""Rows that are counted, and as what the value of ``x`` counts."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"save_interval_s": 0.2, "publish_interval_s": 0.2, "web_port": 0})


async def send(settings: Settings, *bad: bytes | None, good: int = GOOD) -> int:
    """Send the bad records with good ones around them; return how many records that were."""
    around = predictions(range(good)), predictions(range(good, 2 * good))
    records = [*around[0], *((b"k", value) for value in bad), *around[1]]
    await produce(settings, settings.topic("predictions"), records)
    return len(records)


async def until_counted(settings: Settings, records: int) -> None:
    async def counted() -> bool:
        return (await committed(settings, "predictions")).get(0, 0) >= records

    await until(counted)


def still_alive(worker: WorkerHandle) -> bool:
    return worker.not_ready() == [] and worker.app.crash_reason is None


async def counts_of_x(settings: Settings, version: str = "1") -> dict[str, int]:
    """How many rows the totals have, and how many of their values of ``x`` are valid, missing, invalid."""
    layout = Layout(SPEC)
    (total,) = last_totals(await published(settings, ProfileTotal), version=version).values()
    vectors = Profile.decode_parts(total.parts, layout.width).parts.values()
    bins = sum(layout.signal_counts(vector)[0] for vector in vectors)
    *valid, missing, invalid = (int(count) for count in bins)
    return {"rows": total.rows, VALID: sum(valid), MISSING: missing, INVALID: invalid}


async def test_records_that_cannot_be_counted_become_dead_letters_with_origin_and_reason(settings: Settings):
    async with running_worker(settings) as worker:
        await register(settings, SPEC)
        records = await send(settings, *(value for value, _ in LETTERS.values()))
        await until_counted(settings, records)
        assert still_alive(worker)
        assert (await counts_of_x(settings))["rows"] == 2 * GOOD
        delivered = {
            reason: reason_count(worker, reason) for reason in DeadLetterReason if reason_count(worker, reason)
        }
    letters = {letter.origin.offset - GOOD: letter for letter in await dead_letters(settings)}
    reasons = {name: letters[index].reason for index, name in enumerate(LETTERS) if index in letters}
    assert reasons == {name: reason for name, (_, reason) in LETTERS.items()}
    for index, (value, reason) in enumerate(LETTERS.values()):
        letter = letters[index]
        assert letter.id == f"{settings.topic('predictions')}/0/{GOOD + index}"
        assert letter.length == len(value or b"")
        assert letter.sha256 == hashlib.sha256(value or b"").hexdigest()
        assert len(letter.detail) > 10
        assert delivered[reason] == sum(each is reason for _, each in LETTERS.values())


def reason_count(worker: WorkerHandle, reason: DeadLetterReason) -> float:
    return worker.metrics.value("driftline_dead_letters_total", reason=reason.value, outcome="delivered")


async def test_a_wrong_value_is_counted_for_what_it_is_and_its_row_is_counted(settings: Settings):
    versions = {name: f"v{number}" for number, name in enumerate(VALUES)}
    async with running_worker(settings) as worker:
        await register(settings, SPEC, *(watched(version=version) for version in versions.values()))
        rows = [of_version(VALUES[name][0], version) for name, version in versions.items()]
        await until_counted(settings, await send(settings, *rows))
        assert still_alive(worker)
        reported = {
            name: worker.metrics.value("driftline_invalid_values_total", model="m", version=version, feature="x")
            for name, version in versions.items()
        }
    assert reported == {name: float(kind == INVALID) for name, (_, kind) in VALUES.items()}
    counted = {name: await counts_of_x(settings, version) for name, version in versions.items()}
    nothing = {"rows": 1, VALID: 0, MISSING: 0, INVALID: 0}
    assert counted == {name: nothing | {kind: 1} for name, (_, kind) in VALUES.items()}
    assert await counts_of_x(settings) == {"rows": 2 * GOOD, VALID: 2 * GOOD, MISSING: 0, INVALID: 0}
    assert await dead_letters(settings) == []


async def test_a_column_that_turns_into_words_is_found_and_the_status_says_how_many_there_were(settings: Settings):
    settings = settings.model_copy(update={"publish_every_rows": EVERY_ROWS})
    async with running_worker(settings) as worker:
        await register(settings, SPEC)
        await produce(settings, settings.topic("predictions"), predictions(range(1_200)))
        await until_judged(settings, 1_200)
        words = [
            (None, row(features={"x": "many", "plan": "pro"}, time=seconds(number))) for number in range(1_200, 1_800)
        ]
        await produce(settings, settings.topic("predictions"), words)
        await until_judged(settings, 1_800)
        assert still_alive(worker)

        async def found() -> bool:
            return any(event.signals[0].signal == "feature:x" for event in await drift_events(settings))

        await until(found)
    assert (await statuses(settings))["m/1/production"].invalid == {"x": 600}


async def test_rows_of_unknown_models_and_versions_are_counted_and_reported(settings: Settings):
    async with running_worker(settings) as worker:
        await register(settings, SPEC)
        await until_counted(settings, await send(settings, row(model="nobody"), row(version="2"), row(version="2")))

        async def reported() -> bool:
            known = await statuses(settings)
            return {"nobody/1/production", "m/2/production", "m/1/production"} <= known.keys()

        await until(reported)
        assert still_alive(worker)
        assert worker.metrics.value("driftline_unregistered_rows_total", model="m", version="2") == 2
    known = await statuses(settings)
    assert {name: (known[name].state, known[name].rows) for name in ("nobody/1/production", "m/2/production")} == {
        "nobody/1/production": (ModelState.UNREGISTERED, 1),
        "m/2/production": (ModelState.UNREGISTERED, 2),
    }
    assert (await counts_of_x(settings))["rows"] == 2 * GOOD
    assert await dead_letters(settings) == []


async def test_a_flood_of_bad_records_is_counted_and_only_some_letters_are_written(settings: Settings):
    flood = 2_000
    async with running_worker(settings) as worker:
        await register(settings, SPEC)
        await until_counted(settings, await send(settings, *[b"not json"] * flood))
        assert still_alive(worker)
        by_outcome = {
            outcome: worker.metrics.value("driftline_dead_letters_total", reason="invalid_json", outcome=outcome)
            for outcome in ("delivered", "suppressed", "dropped")
        }
    assert sum(by_outcome.values()) == flood
    assert by_outcome["dropped"] == 0
    assert 0 < by_outcome["delivered"] < flood
    assert len(await dead_letters(settings)) == by_outcome["delivered"]
    assert (await counts_of_x(settings))["rows"] == 2 * GOOD


def of_version(value: bytes, version: str) -> bytes:
    """The same event, of another version."""
    return value.replace(b'"version": "1"', f'"version": "{version}"'.encode())


def seconds(number: int) -> str:
    """So many seconds after Monday."""
    return datetime.fromtimestamp(MONDAY + number, UTC).isoformat()
