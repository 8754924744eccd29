"""A whole worker whose model has a rule and constraints: broken rules, refused rows and a renamed feature are named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from agents.settings import Settings
from agents.worker import running_worker
from schemas.model_spec import FeatureSpec, ModelSpec
from schemas.outbound import DeadLetterReason, Family
from schemas.rules import RuleSpec
from schemas.schema_changes import FieldChangeKind, SchemaChange
from tests.support.produce import produce
from tests.support.profiling import PLANS, read_all, register
from tests.support.worker import (
    EVERY_ROWS,
    STABLE_ROWS,
    dead_letters,
    drift_events,
    prediction,
    statuses,
    until,
    until_judged,
    watched,
)

pytestmark = pytest.mark.integration

RULE = RuleSpec(name="in-stock", expression="x >= 0 or plan is missing", severity="significant")
"""Written when the reference was made: no row of it breaks it."""
Edit = Callable[[int, dict[str, Any]], dict[str, Any]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"publish_every_rows": EVERY_ROWS, "save_interval_s": 0.2, "web_port": 0})


def spec() -> ModelSpec:
    made = watched()
    strict = made.features[1].model_dump() | {"categories": PLANS, "on_invalid": "row"}
    return made.model_copy(update={"rules": (RULE,), "features": (made.features[0], FeatureSpec(**strict))})


def edited(numbers: Iterable[int], edit: Edit) -> list[tuple[bytes | None, bytes | None]]:
    """Records of these rows with their features edited."""
    records: list[tuple[bytes | None, bytes | None]] = []
    for number in numbers:
        event = json.loads(prediction(number))
        event["features"] = edit(number, event["features"])
        records.append((None, json.dumps(event).encode()))
    return records


def renamed(_: int, features: dict[str, Any]) -> dict[str, Any]:
    return {"width" if name == "x" else name: value for name, value in features.items()}


def broken_in_part(number: int, features: dict[str, Any]) -> dict[str, Any]:
    return features | ({"x": -1} if number % 4 == 0 else {})


def of_no_plan(_: int, features: dict[str, Any]) -> dict[str, Any]:
    return features | {"plan": "gold"}


async def schema_changes(settings: Settings) -> list[SchemaChange]:
    records = await read_all(settings, "schema-changes")
    return [SchemaChange.model_validate_json(record.value) for record in records if record.value is not None]


async def test_broken_rules_refused_rows_and_a_renamed_feature_are_each_named(settings: Settings) -> None:
    bad, turned = 400, 1_200
    stream = [
        *edited(range(STABLE_ROWS), lambda _, features: features),
        *edited(range(3), of_no_plan),
        *edited(range(STABLE_ROWS, STABLE_ROWS + bad), broken_in_part),
        *edited(range(turned), renamed),
    ]

    async def changed() -> bool:
        return await schema_changes(settings) != []

    async with running_worker(settings):
        await register(settings, spec())
        await produce(settings, settings.topic("predictions"), stream, 0)
        await until_judged(settings, STABLE_ROWS + bad + turned)
        await until(changed)

    (change,) = {each.id: each for each in await schema_changes(settings)}.values()
    ((field,),) = (change.changes,)
    assert (field.feature, field.kind, field.renamed_to) == ("x", FieldChangeKind.RENAMED, "width")
    letters = await dead_letters(settings)
    assert [letter.reason for letter in letters] == [DeadLetterReason.INVALID_VALUE] * 3
    assert {letter.origin.offset for letter in letters} == set(range(STABLE_ROWS, STABLE_ROWS + 3))
    faults = [event for event in await drift_events(settings) if event.family is Family.QUALITY]
    verdict = next(each for each in faults[0].signals if each.signal == "quality:rule:in-stock")
    first, last = STABLE_ROWS + 3, STABLE_ROWS + 3 + bad
    assert verdict.examples
    assert all(first <= each.offset < last for each in verdict.examples)
    (rule,) = (await statuses(settings))["m/1/production"].rules
    assert (rule.broken, rule.kept, rule.open) == (bad // 4, STABLE_ROWS + bad - bad // 4, turned)
