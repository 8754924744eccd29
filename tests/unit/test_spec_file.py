"""Model specs as YAML: they read back as they were, and a fault is named with its line, its field and what is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.spec_file import SpecFileError, parse_spec, read_spec, render_spec, write_spec
from detector.reference import freeze
from schemas.model_spec import FeatureSpec, FeatureType, ModelSpec
from tests.support.data import numbers, rows_of, spec_of

names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def frozen() -> ModelSpec:
    spec = spec_of(*numbers("x", "y"), prediction={"output": "score"}, seasonality="daily", owner="me")
    rng = np.random.default_rng(3)
    columns = {signal: rng.normal(size=2_000) for signal in spec.signals}
    return freeze(spec, rows_of(spec, columns, times=1.7e9 + 60.0 * np.arange(2_000)), origin="train.csv")


def test_a_spec_with_a_frozen_reference_reads_back_with_the_same_hash(frozen: ModelSpec, tmp_path: Path) -> None:
    write_spec(tmp_path / "m.yaml", frozen, heading=["What is watched of m."])
    assert read_spec(tmp_path / "m.yaml").hash == frozen.hash


@settings(deadline=None)
@given(st.lists(names, min_size=1, max_size=5, unique=True), st.floats(0, 1e300), st.sampled_from(FeatureType))
def test_any_spec_reads_back_as_it_was(features: list[str], importance: float, kind: FeatureType) -> None:
    spec = spec_of(*(FeatureSpec(name=name, type=kind, importance=importance) for name in features))
    assert parse_spec(render_spec(spec), "spec.yaml") == spec


def test_the_readable_part_comes_first_and_the_encoded_counts_last(frozen: ModelSpec) -> None:
    text = render_spec(frozen)
    assert text.index("features:") < text.index("tiers:") < text.index("\nreference:") < text.index("profile: |")
    assert yaml.safe_load(text[text.index("\nreference:") :])["reference"]["frozen"]["profile"].split()


def test_every_field_of_a_spec_is_written_and_explained(frozen: ModelSpec) -> None:
    text = render_spec(frozen)
    assert set(yaml.safe_load(text)) == set(ModelSpec.model_fields)
    for block in text.split("\n\n"):
        assert block.startswith("# "), block


def test_no_line_of_a_comment_or_of_the_encoded_counts_is_longer_than_a_screen_is_wide(frozen: ModelSpec) -> None:
    lines = render_spec(frozen).splitlines()
    prose = [line for line in lines if line.lstrip().startswith("#")]
    counts = lines[lines.index("    profile: |") + 1 :]
    assert max(map(len, prose + counts)) <= 120


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("task: binary", "task: binari", r":\d+: task: 'binari' is none of 'binary', 'multiclass', 'regression'"),
        ("version: '1'", "version: 1", r':\d+: version: 1 must be text: put it in quotes, as in "1"'),
        ("cooldown: 1d", "cooldown: soon", r"retraining\.cooldown: 'soon' is no duration: write it as in 250ms, 10s"),
        ("min_rows:", "min_row:", r"steps\.min_row: there is no such field; did you mean min_rows\?"),
        ("owner: me", "ownr: me", r"ownr: there is no such field; did you mean owner\?"),
        ("min_rows: 32", "min_rows: 3", r"steps\.min_rows: 3: input should be greater than or equal to 8"),
        ("minor: 0.1", "minor: 0.9", r"tiers: tiers must be ordered: minor <= moderate <= significant"),
        ("importance: 1.0", "importance: high", r"features\[0\]\.importance: 'high': "),
        ("task: binary\n", "", r"task: is required"),
        ("task: binary", "task: binary\ntask: binary", r":\d+: task stands here a second time"),
        ("model: m", "model: [m", r":\d+: no YAML: "),
    ],
)
def test_a_fault_is_named_with_its_field_and_what_would_be_right(
    frozen: ModelSpec, right: str, wrong: str, says: str
) -> None:
    text = render_spec(frozen)
    assert right in text
    with pytest.raises(SpecFileError, match=rf"spec\.yaml.*{says}"):
        parse_spec(text.replace(right, wrong, 1), "spec.yaml")


def test_a_fault_is_named_with_the_line_it_is_in(frozen: ModelSpec) -> None:
    text = render_spec(frozen).replace("  output: score\n", "  output: scores\n")
    line = 1 + text.splitlines().index("  output: scores")
    with pytest.raises(SpecFileError, match=rf"^spec\.yaml:{line}: prediction\.output: 'scores' is none of"):
        parse_spec(text, "spec.yaml")


def test_all_faults_are_named_at_once_one_a_line(frozen: ModelSpec) -> None:
    text = render_spec(frozen).replace("task: binary", "task: x").replace("learning: frozen", "learning: y")
    with pytest.raises(SpecFileError) as caught:
        parse_spec(text, "spec.yaml")
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["task", "learning"]


def test_a_feature_taken_out_of_a_frozen_spec_is_named_with_the_command_that_helps(frozen: ModelSpec) -> None:
    text = "\n".join(line for line in render_spec(frozen).splitlines() if "name: y," not in line)
    with pytest.raises(SpecFileError, match=r"disagree about feature:y: run `driftline models init` again"):
        parse_spec(text, "spec.yaml")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n"])
def test_a_file_that_is_no_mapping_is_no_spec(text: str) -> None:
    with pytest.raises(SpecFileError, match=r"^spec\.yaml: a model spec is a mapping"):
        parse_spec(text, "spec.yaml")


def test_a_spec_that_is_not_there_is_named_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(SpecFileError, match=r"m\.yaml: there is no such file; `driftline models init` makes one"):
        read_spec(tmp_path / "m.yaml")


@pytest.mark.parametrize("timezone", ["Europe/Berlinn", "UTC#", "../UTC"])
def test_an_unknown_timezone_is_one_clear_error(timezone: str) -> None:
    text = render_spec(spec_of(*numbers("x"))).replace("timezone: UTC", f"timezone: '{timezone}'")
    with pytest.raises(SpecFileError, match=r"timezone: unknown timezone .*: use an IANA name such as Europe/Berlin"):
        parse_spec(text, "spec.yaml")
