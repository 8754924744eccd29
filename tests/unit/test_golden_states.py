"""What earlier releases wrote is still read: states and records of each format, as they were written."""

from __future__ import annotations

import json
from pathlib import Path

from agents.joins.records import decode_record, encode_record
from detector.judge import ModelJudge
from detector.layout import Layout
from detector.totals import RunningTotal
from schemas import codec
from schemas.model_spec import ModelSpec
from schemas.profiles import PROFILE_EVENT, BaselineRows, ProfileTotal
from tests.support.stream import drifting_totals

FORMAT_1 = Path(__file__).parents[1] / "golden" / "format-1"
"""Written before states had a format number and a checksum."""
POSITION_BYTES = 8


def spec() -> ModelSpec:
    return codec.decode(ModelSpec, (FORMAT_1 / "spec.json").read_bytes())


def test_a_judge_of_format_1_goes_on_with_its_statistics_and_its_incident() -> None:
    value, expected = (FORMAT_1 / "verdict.bin").read_bytes(), json.loads((FORMAT_1 / "verdict.json").read_text())
    judge = ModelJudge.restore(spec(), value[POSITION_BYTES:])
    (status,) = judge.status()
    assert int.from_bytes(value[:POSITION_BYTES], "big") == expected["position"]
    assert (status.rows, status.steps, status.incident_id, status.tier.value) == (
        expected["rows"], expected["steps"], expected["incident_id"], expected["tier"],
    )  # fmt: skip
    assert {each.signal: each.evidence for each in status.signals} == expected["evidence"]
    following = drifting_totals(spec(), seed=1)[70]
    judge.fold(following)
    assert judge.status()[0].rows == following.rows


def test_a_judge_of_format_1_is_saved_in_today_s_format() -> None:
    value = (FORMAT_1 / "verdict.bin").read_bytes()[POSITION_BYTES:]
    judge = ModelJudge.restore(spec(), value)
    again = ModelJudge.restore(spec(), judge.state())
    assert judge.state() != value
    assert again.state() == judge.state()


def test_a_total_of_format_1_is_continued() -> None:
    event = PROFILE_EVENT.validate_json((FORMAT_1 / "total.json").read_bytes())
    assert isinstance(event, ProfileTotal)
    assert RunningTotal.from_event(event, Layout(spec())).rows == event.rows == 70 * 32


def test_rows_forwarded_in_format_1_are_read() -> None:
    event = PROFILE_EVENT.validate_json((FORMAT_1 / "baseline.json").read_bytes())
    assert isinstance(event, BaselineRows)
    assert (event.offsets, event.columns["feature:plan"]) == ((4, 6), ("free", None))


def test_a_record_of_the_join_of_format_1_is_read_and_written_anew() -> None:
    sections = decode_record((FORMAT_1 / "join.bin").read_bytes())
    assert [(each.is_label, each.model, each.version, len(each)) for each in sections] == [
        (False, "m", "1", 1),
        (True, "m", "", 1),
    ]
    assert decode_record(encode_record(sections)) == sections
