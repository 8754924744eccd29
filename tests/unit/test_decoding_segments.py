"""The segments that rows are in, read from events of one row, of many rows, and from what waited for a label."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.baseline import Collecting
from detector.baseline import rows_of
from detector.layout import Layout
from detector.rows import INVALID, Source
from detector.totals import RunningTotal
from schemas.model_spec import FeaturesFrom
from tests.support.data import category, frozen_of, numbers, spec_of
from tests.support.decoding import decode, details, rows_in
from tests.support.joining import JoinLog, joiner_in, play

SPEC = spec_of(
    *numbers("x"),
    category("plan"),
    prediction={"output": "score"},
    segments={"fields": ["country", "plan"], "pairs": [["country", "plan"]]},
)
EVENT = {"model": "m", "version": "1", "score": 0.5, "features": {"x": 1.0, "plan": "pro"}}


def segments_of(*events: dict[str, Any]) -> list[list[str | None]]:
    return [list(column or ()) for column in rows_in(SPEC, *(EVENT | event for event in events)).columns[3:]]


def test_a_field_comes_from_the_events_segments_or_from_the_feature_of_that_name() -> None:
    found = segments_of({"segments": {"country": "DE", "plan": "free", "other": "x"}})
    assert found == [["DE"], ["pro"], ["DE + pro"]]


def test_an_event_without_segments_is_in_none() -> None:
    assert segments_of({}, {"segments": None}, {"segments": {}}) == [[None] * 3, ["pro"] * 3, [None] * 3]


@pytest.mark.parametrize(("value", "read"), [(7, "7"), (7.0, "7"), (True, "true"), (None, None), ([1], INVALID)])
def test_values_are_read_as_categories_are(value: object, read: str | None) -> None:
    assert segments_of({"segments": {"country": value}})[0] == [read]


def test_segments_that_are_no_object_lose_no_row() -> None:
    assert segments_of({"segments": "DE"}) == [[None], ["pro"], [None]]


def test_a_row_read_leniently_is_in_the_same_segment() -> None:
    strange = {"features": {"x": "much", "plan": "pro"}, "segments": {"country": "DE"}}
    assert segments_of(strange, {"segments": {"country": "FR"}})[0] == ["DE", "FR"]


BATCH = {"model": "m", "version": "1", "rows": 2, "score": [0.5, 0.6], "features": {"x": [1, 2], "plan": ["a", "b"]}}


@pytest.mark.parametrize("x", [[1, 2], [1, "much"]], ids=["typed", "lenient"])
def test_the_rows_of_a_batch_have_segments_of_their_own(x: list[object]) -> None:
    batch = BATCH | {"features": {"x": x, "plan": ["a", "b"]}, "segments": {"country": ["DE", None]}}
    rows = rows_in(SPEC, batch)
    assert rows.columns[3:] == (["DE", None], ["a", "b"], ["DE + a", None])


@pytest.mark.parametrize("column", [["DE"], "DE"], ids=["short", "no list"])
def test_a_batch_whose_segments_do_not_fit_its_rows_is_a_dead_letter_that_says_so(column: object) -> None:
    decoded = decode(SPEC, BATCH | {"segments": {"country": column}})
    assert "column 'country' of `segments`" in details(decoded.letters)[0]


def test_where_features_have_a_stream_of_their_own_shares_are_counted_there_and_predictions_know_theirs() -> None:
    spec = spec_of(
        *numbers("x"),
        prediction={"output": "score"},
        features_from=FeaturesFrom.FEATURES,
        segments={"fields": ["country"]},
    )
    told = {"model": "m", "version": "1", "segments": {"country": "DE"}}
    features = rows_in(spec, told | {"features": {"x": 1.0}}, source=Source.FEATURES)
    predictions = rows_in(spec, told | {"score": 0.5})
    assert features.columns[-1] == ["DE"]
    assert predictions.columns[-1] is None
    assert predictions.known(len(spec.signals) - 1) == ["DE"]


def test_forwarded_predictions_of_such_a_model_still_know_theirs() -> None:
    spec = spec_of(
        *numbers("x"),
        prediction={"output": "score"},
        features_from=FeaturesFrom.FEATURES,
        segments={"fields": ["country"]},
    )
    rows = rows_in(spec, {"model": "m", "version": "1", "segments": {"country": "DE"}, "score": 0.5})
    collecting = Collecting(spec, spec.hash, "predictions", 0)
    collecting.add(rows, 101)
    back = rows_of(spec, Source.PREDICTIONS, collecting.take())
    assert back.columns[-1] is None
    assert back.known(len(spec.signals) - 1) == ["DE"]


LABELLED = frozen_of(
    spec_of(*numbers("x"), prediction={"output": "class"}, outcomes={}, segments={"fields": ["country"]}),
    {"feature:x": np.arange(100.0), "prediction": ["a", "b"] * 50, "segment:country": ["DE", "FR"] * 50},
)


def test_an_outcome_that_brings_its_prediction_brings_its_segments() -> None:
    event = {"model": "m", "version": "1", "prediction": "a", "label": "a", "segments": {"country": "FR"}}
    rows = rows_in(LABELLED, event, source=Source.OUTCOMES)
    assert rows.known(len(LABELLED.signals) - 1) == ["FR"]
    assert rows.columns[-1] is None


def test_a_label_that_finds_its_prediction_counts_in_the_segment_of_the_prediction(tmp_path: Path) -> None:
    log, total = JoinLog(LABELLED), RunningTotal(Layout(LABELLED), "joins", 0)
    prediction = {
        "model": "m", "version": "1", "prediction_id": "1", "prediction": "a",
        "features": {"x": 1.0}, "segments": {"country": "FR"},
    }  # fmt: skip
    label = {"model": "m", "prediction_id": "1", "label": "b"}

    async def run() -> None:
        await log.forward([json.dumps(prediction).encode()], Source.PREDICTIONS)
        await log.forward([json.dumps(label).encode()], Source.OUTCOMES)
        await play(joiner_in(tmp_path, log), log, total)

    asyncio.run(run())
    layout = total.layout
    assert {number: layout.label_rows(vector) for (_, number), vector in total.profile.segments.items()} == {1: 1}
