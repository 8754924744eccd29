"""What a spec may say of segments, and that specs without them are what they were."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.segments import SegmentSpec
from tests.support.data import category, numbers, spec_of


def test_each_field_and_each_pair_has_a_signal_behind_all_others() -> None:
    spec = spec_of(*numbers("x"), segments={"fields": ["country", "device"], "pairs": [["device", "country"]]})
    assert spec.signals == ("feature:x", "segment:country", "segment:device", "segment:device+country")


def test_a_spec_without_segments_keeps_its_hash() -> None:
    spec = spec_of(*numbers("x"))
    assert "segments" not in spec.model_dump(mode="json", exclude_defaults=True)
    assert spec.hash[:8] == "8cf2b9b6"  # as it was before there were segments


def test_segments_are_part_of_the_hash() -> None:
    one, other = (spec_of(*numbers("x"), segments={"fields": ["country"], "top": top}) for top in (5, 6))
    assert one.hash != other.hash


def test_what_can_be_judged_in_a_segment_are_the_signals_that_rows_carry() -> None:
    spec = spec_of(*numbers("x"), prediction={"output": "score"}, outcomes={}, segments={"fields": ["country"]})
    assert spec.segmentable == ("feature:x", "prediction", "label", "performance:error")


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ({"fields": ["x"]}, "x is a number"),
        ({"fields": ["plan", "plan"]}, "segments named twice: plan"),
        ({"fields": ["a", "b"], "pairs": [["a", "b"], ["b", "a"]]}, "segments named twice"),
        ({"fields": ["a"], "pairs": [["a", "c"]]}, "c is none: name it under `fields`"),
        ({"fields": ["a"], "pairs": [["a", "a"]]}, "no pair"),
        ({"fields": ["a"], "signals": ["x"]}, "did you mean feature:x"),
        ({"fields": []}, "at least 1"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(segments: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec_of(*numbers("x"), category("plan"), segments=segments)


def test_a_field_may_be_a_feature_that_is_a_category() -> None:
    spec = spec_of(*numbers("x"), category("plan"), segments=SegmentSpec(fields=("plan",)))
    assert spec.signals[-1] == "segment:plan"
