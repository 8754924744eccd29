"""A reference from the first rows of the stream takes each record once and says where it ends."""

from __future__ import annotations

import numpy as np
import pytest

from detector.baseline import BaselineCollector, columns_of
from detector.layout import Layout
from detector.profile import Profile
from detector.reference import freeze
from detector.rows import INVALID, Rows, Source
from schemas.model_spec import FeaturesFrom, ModelSpec, Output, PredictionSpec, ReferenceSpec
from schemas.outbound import ModelState
from schemas.profiles import BaselineRows
from tests.support.data import category, numbers, rows_of, spec_of

SPEC = spec_of(*numbers("x"), category("c"), reference=ReferenceSpec(rows=100))


def sent(rows: Rows, spec: ModelSpec = SPEC, partition: int = 0, topic: str = "predictions") -> BaselineRows:
    """The rows as a profiling agent forwards them."""
    return BaselineRows(
        model=spec.model,
        version=spec.version,
        spec_hash=spec.hash,
        topic=topic,
        partition=partition,
        from_offset=int(rows.offsets[0]),
        next_offset=int(rows.offsets[-1]) + 1,
        offsets=tuple(rows.offsets.tolist()),
        times=tuple(rows.times.tolist()),
        columns=columns_of(spec, rows),
    )


def some(start: int, stop: int, rows_in_a_record: int = 1) -> Rows:
    """Rows of the records ``start`` to ``stop`` (exclusive)."""
    offsets = np.repeat(np.arange(start, stop), rows_in_a_record).tolist()
    return rows_of(SPEC, {"feature:x": [float(o) for o in offsets], "feature:c": ["a"] * len(offsets)}, offsets=offsets)


def rows_frozen(spec: ModelSpec) -> int:
    frozen = spec.reference.frozen
    assert frozen is not None
    return Profile.decode(frozen.profile, Layout(spec).width).rows


def test_the_reference_is_complete_at_the_rows_wanted_and_takes_no_more() -> None:
    collector = BaselineCollector(SPEC)
    assert collector.add(sent(some(0, 80)))
    assert not collector.complete
    assert collector.add(sent(some(80, 300)))
    assert collector.complete
    assert not collector.add(sent(some(300, 400)))
    frozen = collector.freeze().reference.frozen
    assert frozen is not None
    assert [(each.from_offset, each.to_offset) for each in frozen.offsets] == [(0, 100)]
    assert frozen.declared == SPEC.hash
    assert rows_frozen(collector.freeze()) == 100


def test_rows_that_are_forwarded_again_after_a_restart_count_once() -> None:
    collector = BaselineCollector(SPEC)
    collector.add(sent(some(0, 60)))
    assert not collector.add(sent(some(0, 60)))
    assert collector.add(sent(some(30, 90)))
    assert collector.rows == 90


def test_partitions_fill_the_reference_together_and_each_has_its_end() -> None:
    collector = BaselineCollector(SPEC)
    collector.add(sent(some(500, 540), partition=3))
    collector.add(sent(some(0, 90), partition=1))
    frozen = collector.freeze().reference.frozen
    assert frozen is not None
    assert [(e.partition, e.from_offset, e.to_offset) for e in frozen.offsets] == [(1, 0, 60), (3, 500, 540)]


def test_a_record_of_many_rows_is_taken_whole() -> None:
    collector = BaselineCollector(SPEC)
    collector.add(sent(some(0, 20, rows_in_a_record=7)))
    frozen = collector.freeze().reference.frozen
    assert frozen is not None
    assert frozen.offsets[0].to_offset == 15
    assert rows_frozen(collector.freeze()) == 15 * 7


def test_rows_of_another_spec_are_not_taken() -> None:
    other = spec_of(*numbers("x"), category("c"), reference=ReferenceSpec(rows=200))
    assert not BaselineCollector(SPEC).add(sent(some(0, 10), other))


def test_the_frozen_reference_is_the_one_of_the_same_rows_from_a_file() -> None:
    collector = BaselineCollector(SPEC)
    for start in range(0, 100, 10):
        collector.add(sent(some(start, start + 10)))
    from_file = freeze(SPEC, some(0, 100), origin="file").reference.frozen
    from_stream = collector.freeze().reference.frozen
    assert from_file is not None
    assert from_stream is not None
    same = {"bins", "dispersion", "profile", "rows", "since", "until"}
    assert from_stream.model_dump(include=same) == from_file.model_dump(include=same)


def test_missing_and_invalid_values_travel() -> None:
    collector = BaselineCollector(SPEC)
    values = {"feature:x": [np.nan, np.inf, *range(98)], "feature:c": [None, INVALID, *["a"] * 98]}
    collector.add(sent(rows_of(SPEC, values)))
    spec = collector.freeze()
    layout = Layout(spec)
    assert spec.reference.frozen is not None
    profile = Profile.decode(spec.reference.frozen.profile, layout.width)
    counts = layout.signal_counts(sum(profile.parts.values()))
    assert [each[-2:].tolist() for each in counts] == [[1, 1], [1, 1]]


def test_features_and_predictions_of_streams_of_their_own_are_collected_side_by_side() -> None:
    spec = spec_of(
        *numbers("x"),
        prediction=PredictionSpec(output=Output.SCORE),
        features_from=FeaturesFrom.FEATURES,
        reference=ReferenceSpec(rows=100),
    )
    features = rows_of(spec, {"feature:x": list(range(150))}, source=Source.FEATURES)
    scores = rows_of(spec, {"prediction": [0.5] * 60 + [0.7] * 60})
    collector = BaselineCollector(spec)
    collector.add(sent(features, spec, topic="features"))
    assert not collector.complete
    collector.add(sent(scores, spec))
    assert collector.complete
    frozen = collector.freeze().reference.frozen
    assert frozen is not None
    assert [(each.topic, each.to_offset) for each in frozen.offsets] == [("features", 100), ("predictions", 100)]


def test_a_collection_restored_from_its_state_goes_on_where_it_was() -> None:
    collector = BaselineCollector(SPEC)
    collector.add(sent(some(0, 60)))
    successor = BaselineCollector.restore(SPEC, collector.state())
    assert successor.rows == 60
    for each in (collector, successor):
        each.add(sent(some(60, 130)))
    assert successor.freeze() == collector.freeze()


def test_freezing_too_early_is_refused() -> None:
    collector = BaselineCollector(SPEC)
    collector.add(sent(some(0, 60)))
    with pytest.raises(ValueError, match="60 of 100 rows"):
        collector.freeze()


def test_the_status_says_how_far_the_collection_has_come() -> None:
    collector = BaselineCollector(SPEC)
    collector.add(sent(some(0, 60)))
    status = collector.status()
    assert (status.state, status.rows, status.rows_wanted) == (ModelState.COLLECTING, 60, 100)
