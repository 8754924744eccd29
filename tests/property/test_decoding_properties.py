"""Decoding has a fast and a slow way, and a contract in pydantic: all three must say the same of every event.

Where the decoders are more lenient than the contract, on purpose:

- a value (of a feature, of what is predicted) that is not of its type is counted as invalid, and its row is kept;
- fields that the spec does not read are not looked at;
- null stands for an absent ``stage``, and in a list of times for an absent time;
- a time may be a number of seconds or milliseconds since 1970.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import ValidationError as UnfitError
from pydantic import ValidationError

from agents.formats.columns import CONVERTERS
from agents.formats.decoded import DecodedRun, ModelVersion
from agents.formats.sorting import Sorting
from agents.formats.structs import SpecDecoder
from agents.registry import Registration
from agents.runs import Run
from detector.rows import STAGES, Source
from schemas.inbound import FeatureBatch, FeatureEvent, PredictionBatch, PredictionEvent
from schemas.model_spec import FeatureSpec, FeatureType, ModelSpec, Output, PredictionSpec
from tests.support.data import category, numbers, spec_of
from tests.support.decoding import decode, decoder_for, run_of, same_rows

FEATURES = (*numbers("a", "b"), category("c"), FeatureSpec(name="d", type=FeatureType.BOOLEAN))
SPECS = {
    output: spec_of(*FEATURES, task=task, prediction=PredictionSpec(output=output))
    for output, task in ((Output.SCORE, "binary"), (Output.CLASS, "multiclass"), (Output.NUMBER, "regression"))
}
SPECS_OF_FEATURES = spec_of(*FEATURES, features_from="features")
SEGMENTED = spec_of(*FEATURES, prediction={"output": "score"}, segments={"fields": ["a.b", "c", "ü"]})

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=5),
    st.sampled_from([0, 1, 1.0, 3.0, "", "3", 2**53 + 1]),
)  # fmt: skip
values = st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(st.text(max_size=2), scalars, max_size=1))
features = st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e", "ü"]), values)
times = st.one_of(
    st.none(),
    st.datetimes(max_value=datetime(2024, 5, 1)).map(datetime.isoformat),  # noqa: DTZ001
    st.sampled_from(
        ["2024-05-01T12:00:00Z", "2024-05-01T12:00:00.1+02:00", "2024-04-01t00:00:00z", "1960-01-01T00:00:00Z"]
    ),
    st.sampled_from([0, 1_714_564_800, 1_714_564_800_000, -5, True, [], "noon"]),
)
probabilities = st.one_of(
    st.dictionaries(st.sampled_from("pqr"), st.one_of(st.floats(0, 1), scalars), max_size=3), values
)


def column_or(each: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(each, st.lists(each, min_size=1, max_size=3))


def fields_of(rows: st.SearchStrategy[Any], **payload: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    optional = {
        "time": times,
        "stage": st.one_of(st.sampled_from(["production", "shadow", "canary", None]), values),
        "rows": rows,
        "segments": st.one_of(values, st.dictionaries(st.sampled_from(["a.b", "ü", "x"]), column_or(values))),
        "specversion": st.just("1.0"),
    }
    return st.fixed_dictionaries({"model": st.just("m"), "version": st.just("1")}, optional=optional | payload)


def singles() -> st.SearchStrategy[dict[str, Any]]:
    answers = {"score": values, "prediction": values, "probabilities": probabilities}
    return fields_of(st.none(), features=st.one_of(features, values), **answers)


@st.composite
def batches(draw: st.DrawFn) -> dict[str, Any]:
    rows = draw(st.integers(1, 3))
    column = st.one_of(st.lists(values, min_size=rows, max_size=rows), st.lists(scalars, max_size=4), values)
    columns = st.dictionaries(st.sampled_from("abcde"), column)
    many = {
        "features": st.one_of(columns, values),
        "score": column,
        "prediction": column,
        "probabilities": st.one_of(st.dictionaries(st.sampled_from("pq"), column), values),
        "time": st.one_of(times, st.lists(times, min_size=rows, max_size=rows)),
    }
    event = draw(fields_of(st.one_of(st.just(rows), values), **many))
    return {"rows": rows} | event


events = st.one_of(singles(), batches())
texts = events.map(lambda event: json.dumps(event).encode())


class Slow(SpecDecoder):
    """A decoder that no event fits, so that all are read leniently."""

    def _build(self, order: tuple[str, ...]) -> None:
        super()._build(order)
        self.row = self.batch = _refuse


def _refuse(value: bytes) -> Any:
    raise UnfitError("read it leniently")


def decode_slowly(spec: ModelSpec, run: Run, source: Source) -> DecodedRun:
    def find(name: ModelVersion, source: Source) -> Any:
        return (Registration(spec, None, 0, spec.hash), Slow(spec, source)) if name == ("m", "1") else None

    sorting = Sorting(find, run, source, 1_000_000)
    sorting.sort(None)
    return sorting.finish()


def same(one: DecodedRun, other: DecodedRun) -> bool:
    rows = zip(one.rows, other.rows, strict=False)
    return (
        one.letters == other.letters
        and one.invalid == other.invalid
        and one.unregistered == other.unregistered
        and len(one.rows) == len(other.rows)
        and all(same_rows(ours, theirs) for (_, ours), (_, theirs) in rows)
    )


@pytest.mark.parametrize("output", list(Output))
@settings(max_examples=100, deadline=None)
@given(run=st.lists(texts, min_size=1, max_size=6).map(lambda contents: run_of(*contents)))
def test_the_fast_and_the_slow_way_give_the_same(output: Output, run: Run) -> None:
    fast = decoder_for(SPECS[output])
    for _ in range(2):  # the second run knows the order of the keys
        assert same(fast.decode(run, Source.PREDICTIONS), decode_slowly(SPECS[output], run, Source.PREDICTIONS))


@settings(max_examples=100, deadline=None)
@given(run=st.lists(texts, min_size=1, max_size=6).map(lambda contents: run_of(*contents)))
def test_the_fast_and_the_slow_way_give_the_same_segments(run: Run) -> None:
    slow = decode_slowly(SEGMENTED, run, Source.PREDICTIONS)
    assert same(decoder_for(SEGMENTED).decode(run, Source.PREDICTIONS), slow)


@settings(max_examples=100, deadline=None)
@given(run=st.lists(texts, min_size=1, max_size=6).map(lambda contents: run_of(*contents)))
def test_the_fast_and_the_slow_way_give_the_same_for_feature_events(run: Run) -> None:
    slow = decode_slowly(SPECS_OF_FEATURES, run, Source.FEATURES)
    assert same(decoder_for(SPECS_OF_FEATURES).decode(run, Source.FEATURES), slow)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    text = bytearray(draw(texts))
    at = draw(st.integers(0, len(text) - 1))
    text[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=2))
    return bytes(text)


@settings(max_examples=200, deadline=None)
@given(contents=st.lists(st.one_of(texts, damaged(), st.binary(max_size=5)), min_size=1, max_size=8))
def test_what_a_record_counts_for_does_not_depend_on_its_neighbours(contents: list[bytes]) -> None:
    spec = SPECS[Output.SCORE]
    run = run_of(*contents)
    together = decode(spec, *run.records)
    alone = [decode(spec, record) for record in run.records]
    assert together.letters == [letter for decoded in alone for letter in decoded.letters]
    assert sum(together.unregistered.values()) == sum(sum(decoded.unregistered.values()) for decoded in alone)
    rows = [rows for decoded in alone for _, rows in decoded.rows]
    assert bool(rows) == bool(together.rows)
    if rows:
        assert same_rows(together.rows[0][1], type(rows[0]).concat(rows))


# ------------------------------------------------------------------------------------------------- the contract


def admitted(kind: type[Any], event: dict[str, Any]) -> Any:
    """What pydantic makes of an event, read as strictly as JSON can be; None if it refuses it."""
    try:
        return kind.model_validate_json(json.dumps(event), strict=True)
    except ValidationError:
        return None


def without_leniencies(event: dict[str, Any]) -> dict[str, Any]:
    """Take from an event what decoding tolerates and the contract does not."""
    strict = {name: value for name, value in event.items() if name not in ("segments", "rows") or value is not None}
    strict.pop("segments", None)
    if strict.get("stage", "") is None:
        del strict["stage"]
    if isinstance(strict.get("time"), int) and not isinstance(strict["time"], bool):
        strict["time"] = "2024-05-01T12:00:00Z" if strict["time"] >= 0 else "-"
    if isinstance(strict.get("features"), dict):
        known = {name: value for name, value in strict["features"].items() if name in {*"abcd"}}
        strict["features"] = {name: value if _is_scalar(value) else None for name, value in known.items()}
    for name in ("score", "prediction", "probabilities"):
        if strict.get(name) is not None:
            strict[name] = {"score": 0.5, "prediction": "x", "probabilities": {"x": 0.5}}[name]
    return strict


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


@settings(max_examples=200, deadline=None)
@given(event=singles().filter(lambda event: event.get("specversion") is None or "data" not in event))
@example(event={"model": "m", "version": "1", "score": 0.5, "time": "1960-01-01T00:00:00Z"})
def test_the_contract_and_the_decoder_admit_the_same_predictions(event: dict[str, Any]) -> None:
    decoded = decode(SPECS[Output.SCORE], event)
    contract = admitted(PredictionEvent, event)
    if contract is not None:
        too_old = contract.time is not None and contract.time.year < 1970
        assert bool(decoded.letters) == too_old
    if not decoded.letters:
        assert admitted(PredictionEvent, without_leniencies(event)) is not None


@settings(max_examples=200, deadline=None)
@given(event=fields_of(st.none(), features=st.one_of(features, values)))
def test_the_contract_and_the_decoder_admit_the_same_features(event: dict[str, Any]) -> None:
    decoded = decode(SPECS_OF_FEATURES, event, source=Source.FEATURES)
    contract = admitted(FeatureEvent, event)
    if contract is not None and not (contract.time is not None and contract.time.year < 1970):
        assert not decoded.letters
    if not decoded.letters:
        assert admitted(FeatureEvent, without_leniencies(event)) is not None


@settings(max_examples=100, deadline=None)
@given(event=singles())
def test_the_contract_and_the_decoder_read_the_same_values(event: dict[str, Any]) -> None:
    contract = admitted(PredictionEvent, event)
    decoded = decode(SPECS[Output.SCORE], event)
    if contract is None or decoded.letters:
        return
    rows = decoded.rows[0][1]
    assert STAGES[rows.stages[0]] is contract.stage
    if contract.time is not None:
        assert rows.times[0] == contract.time.timestamp()
    for feature, column in zip(FEATURES, rows.columns, strict=False):
        expected = CONVERTERS[feature.type]([(contract.features or {}).get(feature.name)])
        assert str(column) == str(expected)
    if contract.score is not None:
        assert str(rows.columns[-1]) == str(CONVERTERS[FeatureType.NUMBER]([contract.score]))


@settings(max_examples=100, deadline=None)
@given(event=batches())
@example(event={"rows": 1, "model": "m", "version": "1", "stage": "production", "probabilities": {"": None}})
def test_what_the_contract_admits_in_columns_is_decoded_with_all_its_rows(event: dict[str, Any]) -> None:
    for kind, spec, source in (
        (PredictionBatch, SPECS[Output.SCORE], Source.PREDICTIONS),
        (FeatureBatch, SPECS_OF_FEATURES, Source.FEATURES),
    ):
        contract = admitted(kind, event)
        decoded = decode(spec, event, source=source)
        stamps = contract.time if contract and isinstance(contract.time, list) else [contract.time] if contract else []
        uneven = isinstance(event.get("probabilities"), dict) and any(
            len(column) != event["rows"] for column in event["probabilities"].values() if isinstance(column, list)
        )
        if contract is None or uneven or any(stamp is not None and stamp.year < 1970 for stamp in stamps):
            continue
        if isinstance(contract.time, list) and len(contract.time) != contract.rows:
            continue
        assert not decoded.letters
        assert len(decoded.rows[0][1]) == contract.rows
