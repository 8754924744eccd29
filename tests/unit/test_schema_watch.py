"""A changed schema: events whose features are gone, new, renamed or retyped give one event that names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from agents.runs import Run
from detector.judge import ModelJudge
from detector.layout import Layout
from detector.reference import freeze
from detector.rows import Source
from detector.schema.shapes import MOST_UNKNOWN, MOST_VALUES, Shape, Shapes
from detector.totals import RunningTotal
from schemas.model_spec import FeatureSpec, ModelSpec
from schemas.schema_changes import SchemaChange
from tests.support.data import category, numbers, rows_of, spec_of
from tests.support.decoding import TOPIC, decoder_for, record

FEATURES = (*numbers("age", "income"), category("plan"), FeatureSpec(name="member", type="boolean"))
Event = dict[str, Any]
Edit = Callable[[Event], Event]


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    rng = np.random.default_rng(1)
    bare = spec_of(*FEATURES)
    columns = {
        "feature:age": rng.normal(40, 10, 2_000),
        "feature:income": rng.lognormal(10, 1, 2_000),
        "feature:plan": list(rng.choice(["free", "pro"], 2_000)),
        "feature:member": list(rng.choice(["true", "false"], 2_000)),
    }
    return freeze(bare, rows_of(bare, columns), origin="test")


def features(count: int, seed: int) -> list[Event]:
    """Rows like those of the reference."""
    rng = np.random.default_rng(seed)
    ages, incomes = rng.normal(40, 10, count).tolist(), rng.lognormal(10, 1, count).tolist()
    plans, members = rng.integers(0, 2, count).tolist(), rng.integers(0, 2, count).tolist()
    return [
        {"age": ages[i], "income": incomes[i], "plan": ("free", "pro")[plans[i]], "member": bool(members[i])}
        for i in range(count)
    ]


def runs_of(count: int, edit: Edit, *, first: int = 0, rows: int = 1, seed: int = 2) -> Run:
    drawn = iter(features(count * rows, seed))
    events = []
    for _ in range(count):
        columns = [edit(next(drawn)) for _ in range(rows)]
        payload: Event = {"features": columns[0]}
        if rows > 1:
            payload = {"rows": rows, "features": {name: [each[name] for each in columns] for name in columns[0]}}
        answers = 1 if rows == 1 else [1] * rows
        events.append({"model": "m", "version": "1", "prediction": answers} | payload)
    return Run(TOPIC, 3, [record(json.dumps(event).encode(), first + i) for i, event in enumerate(events)])


def changes(spec: ModelSpec, *runs: Run, cut: int = 100) -> list[SchemaChange]:
    judge, total = ModelJudge(spec), RunningTotal(Layout(spec), TOPIC, 3)
    decoder, found = decoder_for(spec), []
    for run in runs:
        for start in range(0, len(run.records), cut):
            piece = Run(run.topic, run.partition, run.records[start : start + cut])
            for _, rows in decoder.decode(piece, Source.PREDICTIONS).rows:
                total.add(rows, piece.next_offset)
            judge.fold(total.to_event())
            found += judge.take_schema_changes()
    return found


def same(event: Event) -> Event:
    return event


def without(name: str) -> Edit:
    return lambda event: {key: value for key, value in event.items() if key != name}


def renamed(name: str, new: str) -> Edit:
    return lambda event: {new if key == name else key: value for key, value in event.items()}


def told(spec: ModelSpec, edit: Edit, **options: Any) -> list[tuple[str, str]]:
    """What is told of a stream that is as ever for 700 records, and then edited for 1,300."""
    found = changes(spec, runs_of(700, same), runs_of(1_300, edit, first=700), **options)
    return [(change.feature, change.kind.value) for each in found for change in each.changes]


def test_a_stream_that_stays_as_it_is_tells_nothing(spec: ModelSpec) -> None:
    assert told(spec, same) == []


def test_a_feature_that_is_gone_is_named_once(spec: ModelSpec) -> None:
    assert told(spec, without("income")) == [("income", "gone")]


def test_a_feature_that_is_null_is_missing_and_not_gone(spec: ModelSpec) -> None:
    assert told(spec, lambda event: event | {"income": None}) == []


def test_a_new_feature_is_named_once(spec: ModelSpec) -> None:
    assert told(spec, lambda event: event | {"extra": 1}) == [("extra", "new")]


def test_features_that_the_spec_leaves_out_from_the_start_are_not_new(spec: ModelSpec) -> None:
    assert changes(spec, runs_of(1_500, lambda event: event | {"extra": 1})) == []


def test_a_feature_of_another_type_is_named_with_both_types(spec: ModelSpec) -> None:
    found = changes(spec, runs_of(700, same), runs_of(1_300, lambda e: e | {"age": str(e["age"])}, first=700))
    ((change,),) = (each.changes for each in found)
    assert (change.feature, change.kind, change.expected, change.found) == ("age", "retyped", "number", "text")


@pytest.mark.parametrize("name", ["age", "income", "plan", "member"])
def test_a_renamed_feature_is_known_by_its_values(spec: ModelSpec, name: str) -> None:
    found = changes(spec, runs_of(700, same), runs_of(1_300, renamed(name, "other"), first=700))
    ((change,),) = (each.changes for each in found)
    assert (change.feature, change.kind, change.renamed_to) == (name, "renamed", "other")
    assert f"{name} is now called other" in found[0].summary


def test_a_new_feature_with_other_values_is_no_renamed_one(spec: ModelSpec) -> None:
    assert told(spec, lambda event: without("age")(event) | {"other": event["age"] + 30}) == [
        ("age", "gone"),
        ("other", "new"),
    ]


def test_two_features_renamed_at_once_are_told_apart(spec: ModelSpec) -> None:
    found = changes(
        spec,
        runs_of(700, same),
        runs_of(1_300, lambda event: renamed("age", "x")(renamed("income", "y")(event)), first=700),
    )
    assert {(change.feature, change.renamed_to) for change in found[0].changes} == {("age", "x"), ("income", "y")}
    assert len(found) == 1


def test_what_is_as_it_was_again_is_told(spec: ModelSpec) -> None:
    runs = runs_of(700, same), runs_of(1_300, without("age"), first=700), runs_of(1_300, same, first=2_000)
    kinds = [change.kind.value for each in changes(spec, *runs) for change in each.changes]
    assert kinds == ["gone", "back"]


def test_what_half_of_the_producers_change_is_left_to_the_rates(spec: ModelSpec) -> None:
    rng = np.random.default_rng(5)
    assert told(spec, lambda event: without("age")(event) if rng.random() < 0.5 else event) == []


def test_columns_of_many_rows_are_looked_at_too(spec: ModelSpec) -> None:
    runs = runs_of(700, same, rows=3), runs_of(1_300, renamed("age", "x"), first=700, rows=3)
    ((change,),) = (each.changes for each in changes(spec, *runs))
    assert (change.feature, change.renamed_to) == ("age", "x")


def test_an_event_says_where_its_records_lie(spec: ModelSpec) -> None:
    (change,) = changes(spec, runs_of(700, same), runs_of(1_300, without("age"), first=700))
    (seen,) = change.seen_in
    assert 700 <= seen.to_offset <= 2_000
    assert change.records >= 32


@pytest.mark.parametrize("size", [1, 37])
def test_how_the_log_is_cut_changes_no_tally(spec: ModelSpec, size: int) -> None:
    run = runs_of(200, renamed("age", "x"))
    tallies = []
    for cut in (200, size):
        total, decoder = RunningTotal(Layout(spec), TOPIC, 3), decoder_for(spec)
        for start in range(0, 200, cut):
            piece = Run(TOPIC, 3, run.records[start : start + cut])
            for _, rows in decoder.decode(piece, Source.PREDICTIONS).rows:
                total.add(rows, piece.next_offset)
            total = RunningTotal.from_event(total.to_event(), total.layout)
        tallies.append(total.to_event().shapes)
    assert tallies[0] == tallies[1]
    assert tallies[0] is not None
    assert tallies[0].fields["age"].absent == tallies[0].records


@pytest.mark.parametrize("size", [1, 13])
def test_records_that_are_refused_are_in_no_tally_however_the_log_is_cut(spec: ModelSpec, size: int) -> None:
    strict = FeatureSpec(**(spec.features[0].model_dump() | {"maximum": 40, "on_invalid": "row"}))
    strict_spec = spec.model_copy(update={"features": (strict, *spec.features[1:])})
    run = runs_of(300, lambda event: event | {"extra": 1 if event["age"] > 40 else 2})
    tallies = []
    for cut in (300, size):
        total, decoder = RunningTotal(Layout(strict_spec), TOPIC, 3), decoder_for(strict_spec)
        for start in range(0, 300, cut):
            piece = Run(TOPIC, 3, run.records[start : start + cut])
            for _, rows in decoder.decode(piece, Source.PREDICTIONS).rows:
                total.add(rows, piece.next_offset)
        tallies.append(total.to_event().shapes)
    assert tallies[0] == tallies[1]
    assert tallies[0] is not None
    assert set(tallies[0].fields["extra"].values) == {2.0}


def test_a_restored_judge_tells_the_same(spec: ModelSpec) -> None:
    whole, cut = ModelJudge(spec), ModelJudge(spec)
    total, decoder = RunningTotal(Layout(spec), TOPIC, 3), decoder_for(spec)
    told: tuple[list[str], list[str]] = ([], [])
    run = runs_of(1_500, renamed("age", "x"))
    for start in range(0, 1_500, 100):
        piece = Run(TOPIC, 3, run.records[start : start + 100])
        for _, rows in decoder.decode(piece, Source.PREDICTIONS).rows:
            total.add(rows, piece.next_offset)
        for judge, ids in zip((whole, cut), told, strict=True):
            judge.fold(total.to_event())
            ids += [each.id for each in judge.take_schema_changes()]
        cut = ModelJudge.restore(spec, cut.state())
    assert told[0] == told[1]
    assert len(told[0]) == 1


def test_a_tally_is_bounded_whatever_producers_send(spec: ModelSpec) -> None:
    shapes = Shapes(spec)
    for offset in range(300):
        shapes.add(Shape(offset, {f"x{offset}": ["y" * 10_000], "z": [1] * 8, "w" * 600: [1]}))
    event = shapes.to_event()
    assert event is not None
    unknown = set(event.fields) - {feature.name for feature in FEATURES}
    assert len(unknown) == MOST_UNKNOWN
    assert len(event.fields["z"].values) == MOST_VALUES
    assert len(event.model_dump_json()) < 100_000
