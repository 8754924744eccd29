"""The contract: every event has a golden example, a JSON Schema and a place in the table of topics, and they agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from pydantic import BaseModel

from agents.spec_file import parse_spec, render_spec
from schemas import codec, export
from schemas.export import EVENTS
from schemas.model_spec import ModelSpec
from schemas.topics import TOPICS

EXAMPLES = Path(export.__file__).parent / "examples"
EMITTED = {name: kind for name, kind in EVENTS.items() if kind in codec.CE_TYPES}
READ = {name: kind for name, kind in EVENTS.items() if name not in EMITTED}

each_event = pytest.mark.parametrize("name", EVENTS)
each_emitted = pytest.mark.parametrize("name", EMITTED)


def example(name: str) -> Any:
    return json.loads(export.example(name))


def validator(name: str) -> Draft202012Validator:
    schema = export.json_schema(name)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


# Nothing is missing and nothing is left over


def test_every_event_of_the_table_of_topics_has_a_schema_and_the_other_way_round() -> None:
    assert {event for topic in TOPICS.values() for event in topic.events} == set(EVENTS)


def test_every_event_has_an_example_and_no_example_is_an_orphan() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == {export.file_name(name) for name in EVENTS}


def test_everything_that_driftline_emits_has_a_cloudevents_type_and_is_exported() -> None:
    assert set(codec.CE_TYPES) == set(EMITTED.values())


# Examples


@each_event
def test_the_example_is_such_an_event(name: str) -> None:
    kind: type[BaseModel] = EVENTS[name]
    assert isinstance(codec.decode(kind, export.example(name).encode()), kind)


@each_emitted
def test_the_example_is_written_back_as_it_stands(name: str) -> None:
    event = codec.decode(EMITTED[name], export.example(name).encode())
    assert json.loads(codec.encode(event)) == example(name)


@each_event
def test_the_json_schema_accepts_the_example(name: str) -> None:
    validator(name).validate(example(name))


@each_event
def test_the_json_schema_and_the_event_refuse_an_example_without_its_model(name: str) -> None:
    broken = {field: value for field, value in example(name).items() if field not in ("model", "origin", "groups")}
    with pytest.raises(ValidationError):
        validator(name).validate(broken)
    with pytest.raises(ValueError, match=r"missing|required"):
        codec.decode(EVENTS[name], json.dumps(broken).encode())


@each_emitted
def test_cloudevents_attributes_of_the_example_are_complete(name: str) -> None:
    event = codec.decode(EMITTED[name], export.example(name).encode())
    headers = dict(codec.headers(event, source="/driftline/test"))  # type: ignore[arg-type]
    assert {"ce_specversion", "ce_type", "ce_source", "ce_id", "content-type"} <= set(headers)
    assert all(headers.values())


# How strict


@pytest.mark.parametrize("name", READ)
def test_unknown_fields_are_tolerated_where_others_produce(name: str) -> None:
    event = {**example(name), "added_by_a_newer_producer": 1}
    validator(name).validate(event)
    codec.decode(READ[name], json.dumps(event).encode())


@each_emitted
def test_unknown_fields_are_refused_where_driftline_produces(name: str) -> None:
    with pytest.raises(ValueError, match="Extra inputs"):
        codec.decode(EMITTED[name], json.dumps({**example(name), "mistake": 1}).encode())


@pytest.mark.parametrize("name", sorted(set(EMITTED) - {"ModelSpec"}))
def test_the_json_schema_lets_subscribers_meet_fields_of_a_later_version(name: str) -> None:
    validator(name).validate({**example(name), "added_in_a_later_version": 1})


def test_the_json_schema_of_a_spec_refuses_misspelt_fields() -> None:
    with pytest.raises(ValidationError, match="ownr"):
        validator("ModelSpec").validate({**example("ModelSpec"), "ownr": "me"})


@pytest.mark.parametrize("name", sorted(set(EMITTED) - {"ModelSpec"}))
def test_every_path_of_an_emitted_event_is_always_there(name: str) -> None:
    assert set(export.json_schema(name)["required"]) == set(EMITTED[name].model_fields)


# Files


def test_exporting_writes_a_file_for_each_event(tmp_path: Path) -> None:
    written = export.export(tmp_path / "made" / "for it")
    assert {path.name for path in written} == {export.file_name(name) for name in EVENTS}
    assert json.loads((tmp_path / "made" / "for it" / "drift-event.json").read_text())["title"] == "DriftEvent"


def test_a_spec_written_as_yaml_reads_back_as_the_same_spec() -> None:
    spec = codec.decode(ModelSpec, export.example("ModelSpec").encode())
    assert parse_spec(render_spec(spec), "spec.yaml").hash == spec.hash
