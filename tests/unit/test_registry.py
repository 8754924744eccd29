"""Which spec is in force: a matter of the records of the models topic and nothing else."""

from __future__ import annotations

import dataclasses
from itertools import permutations

import pytest
from aiokafka.structs import ConsumerRecord
from structlog.testing import capture_logs

from agents.metrics import Metrics
from agents.registry import Registration, Registry
from agents.seals import FORMAT, NewerFormatError, seal_of
from agents.settings import Settings
from detector.reference import freeze
from schemas import codec
from schemas.model_spec import ModelSpec, ReferenceSpec
from tests.support.data import frozen_of, numbers, rows_of, spec_of

DRAFT = spec_of(*numbers("x"))
OTHER = spec_of(*numbers("x"), owner="somebody else")
X = DRAFT.signals[0]


def frozen_from_stream(draft: ModelSpec, values: list[float]) -> ModelSpec:
    return freeze(draft, rows_of(draft, {X: values}), origin="stream", declared=draft.hash)


HEIR = frozen_from_stream(DRAFT, [float(value) for value in range(200)])
LATER_HEIR = frozen_from_stream(DRAFT, [float(value * value) for value in range(200)])


def record(value: bytes | None, offset: int, key: bytes = b"") -> ConsumerRecord:
    return ConsumerRecord("models", 0, offset, 0, 0, key, value, None, 0, 0, ())


def registry_of(*specs: ModelSpec) -> Registry:
    """A registry that has read these specs at offsets 0, 1, 2, ..."""
    registry = Registry(Settings(), Metrics())
    for offset, spec in enumerate(specs):
        registry.admit(record(codec.encode(spec), offset))
    return registry


def in_force(registry: Registry) -> Registration:
    registration = registry.lookup("m", "1")
    assert registration is not None
    return registration


def test_a_version_that_nobody_registered_is_unknown() -> None:
    assert registry_of().lookup("m", "1") is None


def test_a_spec_without_a_reference_has_no_layout_yet() -> None:
    registration = in_force(registry_of(DRAFT))
    assert (registration.spec, registration.layout, registration.declared_hash) == (DRAFT, None, DRAFT.hash)


def test_the_lowest_offset_wins_and_the_others_are_named() -> None:
    registry = registry_of(DRAFT, OTHER)
    assert in_force(registry).spec == DRAFT
    assert in_force(registry).refused == (OTHER.hash,)


def test_a_refused_spec_is_reported_once() -> None:
    metrics = Metrics()
    registry = Registry(Settings(), metrics)
    with capture_logs() as lines:
        for offset, spec in enumerate((DRAFT, OTHER, OTHER, OTHER)):
            registry.admit(record(codec.encode(spec), offset))
    assert metrics.value("driftline_spec_conflicts_total") == 1
    assert [line["refused"] for line in lines if line["log_level"] == "error"] == [OTHER.hash]


def test_a_reference_from_the_stream_supersedes_its_spec_once() -> None:
    registry = registry_of(DRAFT, HEIR, LATER_HEIR)
    registration = in_force(registry)
    assert (registration.spec, registration.declared_hash, registration.refused) == (HEIR, DRAFT.hash, ())
    assert registration.layout is not None


def test_a_reference_that_changes_anything_else_is_refused() -> None:
    impostor = HEIR.model_copy(update={"owner": "somebody else"})
    registration = in_force(registry_of(DRAFT, impostor))
    assert (registration.spec, registration.refused) == (DRAFT, (impostor.hash,))


def test_all_readers_agree_in_whatever_order_they_meet_the_records() -> None:
    records = [record(codec.encode(spec), offset) for offset, spec in enumerate((OTHER, DRAFT, LATER_HEIR, HEIR))]
    outcomes = set()
    for order in permutations(records):
        registry = Registry(Settings())
        for each in order:
            registry.admit(each)
        outcomes.add((in_force(registry).spec.hash, in_force(registry).refused))
    assert outcomes == {(OTHER.hash, (DRAFT.hash, LATER_HEIR.hash, HEIR.hash))}


def test_a_repeat_of_a_spec_changes_nothing() -> None:
    registry = registry_of(DRAFT)
    before = registry.revision
    registry.admit(record(codec.encode(DRAFT), 7))
    assert (registry.revision, in_force(registry).offset) == (before, 0)


def test_a_tombstone_takes_a_spec_away_and_the_next_one_is_in_force() -> None:
    registry = registry_of(DRAFT, OTHER)
    registry.admit(record(None, 2, f"m/1/{DRAFT.hash}".encode()))
    assert in_force(registry).spec == OTHER
    registry.admit(record(None, 3, f"m/1/{OTHER.hash}".encode()))
    assert registry.lookup("m", "1") is None


def test_versions_are_registered_apart() -> None:
    registry = registry_of(DRAFT, DRAFT.model_copy(update={"version": "2"}))
    assert [registration.spec.version for registration in registry] == ["1", "2"]
    assert len(registry) == 2


def test_a_layout_is_kept_when_a_later_spec_is_refused() -> None:
    spec = frozen_of(DRAFT, {X: [float(value) for value in range(200)]})
    registry = registry_of(spec)
    layout = in_force(registry).layout
    registry.admit(record(codec.encode(OTHER), 1))
    assert in_force(registry).layout is layout


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"", b""),
        (b"", b"not json"),
        (b"", b'{"model": "m"}'),
        (b"no key", None),
        (b"\xff", None),
        (b"", codec.encode(HEIR).replace(HEIR.reference.frozen.profile.encode(), b"AAAA")),  # type: ignore[union-attr]
    ],
)
def test_a_record_that_is_no_spec_is_reported_and_passed_over(key: bytes, value: bytes | None) -> None:
    registry = registry_of(DRAFT)
    with capture_logs() as lines:
        registry.admit(record(value, 1, key))
    registry.admit(record(codec.encode(DRAFT.model_copy(update={"version": "2"})), 2))
    assert [line["offset"] for line in lines if line["log_level"] == "error"] == [1]
    assert len(registry) == 2


def test_the_number_of_rows_wanted_is_part_of_what_a_reference_belongs_to() -> None:
    more = DRAFT.model_copy(update={"reference": ReferenceSpec(rows=5_000)})
    assert in_force(registry_of(more, HEIR)).spec == more


def sealed(value: bytes, seal: list[tuple[str, bytes]]) -> ConsumerRecord:
    return dataclasses.replace(record(value, 5), headers=tuple(seal))


def test_a_spec_that_is_not_what_was_sealed_is_not_registered_and_is_counted() -> None:
    metrics = Metrics()
    registry, value = Registry(Settings(), metrics), codec.encode(DRAFT)
    registry.admit(sealed(value.replace(b'"m"', b'"n"', 1), seal_of(value)))
    assert len(registry) == 0
    assert metrics.value("driftline_damaged_records_total", topic="models") == 1
    registry.admit(sealed(value, seal_of(value)))
    assert len(registry) == 1


def test_a_spec_of_a_newer_format_is_refused_in_one_line() -> None:
    with pytest.raises(NewerFormatError, match="record models/0/5 was written by a newer release"):
        Registry(Settings()).admit(sealed(b"{}", seal_of(b"{}", FORMAT + 1)))
