"""What a policy may say, and that old specs keep their hash."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from agents.spec_file import parse_spec, render_spec
from detector.responses.calendar import next_run, next_time, share_of, window_end
from schemas import codec, export
from schemas.model_spec import ModelSpec, RetrainingSpec
from schemas.policy import PolicySpec, Response, ScheduledSpec, Tier, WindowSpec
from tests.support.responses import fraud

HASH_OF_THE_FIRST_EXAMPLE = "2789524ae8b9728165f0d1243fe0ea068aba6224ae31126a8662af560ee2a072"
BERLIN = "Europe/Berlin"


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_specs_that_were_registered_before_there_were_policies_keep_their_hash():
    assert codec.decode(ModelSpec, export.example("ModelSpec").encode()).hash == HASH_OF_THE_FIRST_EXAMPLE
    assert fraud(policy=None, retraining=RetrainingSpec(scheduled=None, most_per_day=4)).hash == fraud().hash


def test_what_a_policy_says_is_part_of_the_hash():
    changed = [fraud(policy=PolicySpec(runbook="x")), fraud(retraining=RetrainingSpec(most_per_day=3))]
    assert len({fraud().hash, *(spec.hash for spec in changed)}) == 3


def test_a_policy_can_be_written_in_yaml():
    text = render_spec(fraud()).replace("policy: null", "policy:\n  actions: {minor: [], significant: [retrain]}")
    spec = parse_spec(text, "fraud.yaml")
    assert spec.responses.follow(Tier.MINOR) == ()
    assert spec.responses.strongest(Tier.SIGNIFICANT) is Response.RETRAIN
    assert spec.responses.follow(Tier.MODERATE) == (Response.INVESTIGATE, Response.ENHANCED_MONITORING)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("maintenance", [{"cron": "0 2 * *", "lasts": "1h"}], "five fields"),
        ("maintenance", [{"cron": "0 25 * * *", "lasts": "1h"}], "bad hour"),
        ("maintenance", [{"cron": "0 0 30 2 *", "lasts": "1h"}], "bad day-of-month"),
        ("maintenance", [{"cron": "0 2 * * *"}], "either since and until, or cron and lasts"),
        ("maintenance", [{"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}], "before"),
        ("maintenance", [{"cron": "0 2 * * *", "lasts": "60d"}], "at most 31 days"),
        ("alerts", {"digest": "soon"}, "no cron expression"),
        ("actions", {"minor": ["panic"]}, "investigate"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(field: str, value: Any, why: str):
    with pytest.raises(ValidationError, match=why):
        PolicySpec(**{field: value})


def test_continuous_retraining_says_when():
    with pytest.raises(ValidationError, match="needs labelled_rows or challenger_margin"):
        RetrainingSpec(continuous={})


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"continuous": {"labelled_rows": 10}}, "none are read"),
        ({"min_fresh_labels": 10}, "none are read"),
        ({"continuous": {"challenger_margin": 0.1}}, "surrogates"),
    ],
)
def test_a_reason_that_can_never_come_is_refused(fields: dict[str, Any], why: str):
    with pytest.raises(ValidationError, match=why):
        fraud(retraining=RetrainingSpec(**fields))


# The calendar


def test_cron_is_in_the_models_timezone():
    assert next_time("0 2 * * *", BERLIN, at("2026-01-10T12:00")) == at("2026-01-11T01:00")
    assert next_time("0 2 * * *", BERLIN, at("2026-07-10T12:00")) == at("2026-07-11T00:00")


def test_an_hour_that_the_change_to_summer_time_leaves_out_comes_at_its_end():
    assert next_time("30 2 * * *", BERLIN, at("2026-03-28T12:00")) == at("2026-03-29T01:00")


def test_jitter_only_puts_off_and_by_less_than_it_says():
    schedule = ScheduledSpec(cron="0 2 * * *", jitter="1h")
    runs = {model: next_run(schedule, "UTC", model, at("2026-01-10T12:00")) for model in map(str, range(50))}
    assert all(at("2026-01-11T02:00") <= run < at("2026-01-11T03:00") for run in runs.values())
    assert len(set(runs.values())) == 50
    assert runs["7"] - at("2026-01-11T02:00") == pytest.approx(3_600 * share_of("7"))


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-01-10T01:59:59", None),
        ("2026-01-10T02:00:00", "2026-01-10T04:00"),
        ("2026-01-10T03:59:59.9", "2026-01-10T04:00"),
        ("2026-01-10T04:00:00", None),
    ],
)
def test_a_window_that_comes_again_includes_its_beginning_and_not_its_end(now: str, end: str | None):
    windows = [WindowSpec(cron="0 2 * * *", lasts=timedelta(hours=2))]
    assert window_end(windows, "UTC", at(now)) == (None if end is None else at(end))


def test_of_several_windows_the_last_end_counts():
    later = WindowSpec(since="2026-01-10T00:00:00Z", until="2026-01-10T09:00:00Z")
    windows = [WindowSpec(cron="0 2 * * *", lasts="2h"), later]
    assert window_end(windows, "UTC", at("2026-01-10T03:00")) == at("2026-01-10T09:00")
