"""The command line as a user meets it: what it prints, where it prints it, and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from agents.broker import HOST, free_port
from agents.cli import app, main
from agents.spec_file import read_spec
from schemas.export import EVENTS, file_name
from schemas.model_spec import Seasonality
from schemas.topics import TOPICS

ROWS = 3_000


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def driftline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """Run the command line in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DRIFTLINE_BOOTSTRAP_SERVERS", f"{HOST}:{free_port()}")

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["driftline", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "train.csv", seed=1)


def write_rows(path: Path, seed: int, older: float = 0.0) -> Path:
    rng = np.random.default_rng(seed)
    age, plan, score = rng.normal(40 + older, 10, ROWS), rng.choice(["free", "pro"], ROWS), rng.uniform(size=ROWS)
    lines = [f"{1_700_000_000 + 60 * i},c{i},{age[i]:.1f},{plan[i]},{score[i]:.4f}" for i in range(ROWS)]
    path.write_text("\n".join(["time,customer,age,plan,score", *lines]) + "\n")
    return path


# Help and errors


def commands() -> list[tuple[str, ...]]:
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    single = [(command.name,) for command in app.registered_commands]
    nested = [(name, command.name or command.callback.__name__)  # type: ignore[union-attr]
              for name, group in groups.items() if group for command in group.registered_commands]  # fmt: skip
    return [tuple(map(str, names)) for names in (*single, *nested)]


@pytest.mark.parametrize("names", commands(), ids=" ".join)
def test_the_help_of_every_command_teaches_by_an_example(
    driftline: Callable[..., Ended], names: tuple[str, ...]
) -> None:
    ended = driftline(*names, "--help")
    assert ended.code == 0
    assert re.search(r"Examples?\b", ended.out)
    assert "$ " in ended.out
    assert f"driftline {' '.join(names)}" in ended.out


def test_help_loads_neither_faust_nor_scikit_learn() -> None:
    code = """
import sys
from agents.cli import main
sys.argv = ["driftline", "--help"]
try:
    main()
except SystemExit:
    print(sorted({"faust", "sklearn", "pyarrow", "scipy"} & set(sys.modules)))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ("backtest", "spec.yaml"),
        ("backtest", "spec.yaml", "rows.csv", "--every-rows", "0"),
        ("models", "init"),
        ("models", "init", "--from", "x.csv", "--seasonality", "yearly"),
        ("nonsense",),
        ("schemas", "example", "NoEvent"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_has_exit_code_2(driftline: Callable[..., Ended], arguments: tuple[str, ...]) -> None:
    ended = driftline(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Usage: driftline" in ended.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("models", "init", "--from", "nope.csv"), r"nope\.csv: there is no such file"),
        (("models", "init", "--from", "train.csv", "--time-column", "when"), "train.csv has no column 'when'"),
        (("models", "init", "--from", "train.csv", "--exclude", "plam"), "did you mean 'plan'"),
        (("models", "apply", "nope.yaml"), "`driftline models init` makes one"),
        (("models", "list"), "no Kafka broker answers at"),
        (("watch", "--once"), "no Kafka broker answers at"),
        (("topics", "create"), "no Kafka broker answers at"),
        (("backtest", "nope.yaml", "train.csv"), r"nope\.yaml: there is no such file"),
        (("schemas", "export", "train.csv"), r"train\.csv: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_trouble_is_one_line_on_standard_error_and_exit_code_1(
    driftline: Callable[..., Ended], train: Path, arguments: tuple[str, ...], says: str
) -> None:
    ended = driftline(*arguments)
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.strip().splitlines()
    assert line.startswith("driftline: ")
    assert re.search(says, line)


def test_a_misspelt_setting_is_refused_with_the_right_one(
    driftline: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLINE_BOOTSTRAP_SERVER", "x:1")
    ended = driftline("topics", "list")
    assert (ended.code, ended.err) == (
        1,
        "driftline: DRIFTLINE_BOOTSTRAP_SERVER is not a setting: did you mean DRIFTLINE_BOOTSTRAP_SERVERS?\n",
    )


# models init


def test_init_writes_a_spec_with_a_frozen_reference_and_says_what_it_left_out(
    driftline: Callable[..., Ended], train: Path
) -> None:
    ended = driftline("models", "init", "--from", train, "--model", "churn", "--version", "3", "--owner", "crm")
    assert ended.code == 0
    assert "left out 'customer'" in ended.out
    spec = read_spec(Path("churn-3.yaml"))
    assert (spec.model, spec.version, spec.owner) == ("churn", "3", "crm")
    assert spec.signals == ("feature:age", "feature:plan", "prediction")
    assert spec.reference.frozen is not None
    assert spec.reference.frozen.rows == ROWS
    assert spec.reference.frozen.origin.startswith("train.csv (SHA-256 ")


def test_init_takes_names_and_seasons_from_its_options(driftline: Callable[..., Ended], tmp_path: Path) -> None:
    renamed = tmp_path / "renamed.csv"
    renamed.write_text(write_rows(tmp_path / "x.csv", 2).read_text().replace("time,customer", "seen,customer", 1))
    ended = driftline("models", "init", "--from", renamed, "--time-column", "seen", "--seasonality", "daily",
                      "--exclude", "plan", "--output", "m.yaml")  # fmt: skip
    assert ended.code == 0, ended.err
    spec = read_spec(Path("m.yaml"))
    assert (spec.model, spec.seasonality, spec.columns.time) == ("renamed", Seasonality.DAILY, "seen")
    assert spec.signals == ("feature:age", "prediction")


def test_init_puts_rows_in_the_order_of_their_times_and_says_so(driftline: Callable[..., Ended], train: Path) -> None:
    header, *lines = train.read_text().splitlines()
    Path("shuffled.csv").write_text("\n".join([header, *reversed(lines)]) + "\n")
    ended = driftline("models", "init", "--from", "shuffled.csv", "--output", "a.yaml")
    assert "the rows were put in the order of their times" in " ".join(ended.out.split())
    driftline("models", "init", "--from", train, "--output", "b.yaml")
    shuffled, ordered = (read_spec(Path(name)).reference.frozen for name in ("a.yaml", "b.yaml"))
    assert shuffled is not None
    assert ordered is not None
    assert shuffled.dispersion == ordered.dispersion


def test_init_measures_how_often_rules_are_broken(driftline: Callable[..., Ended], train: Path) -> None:
    Path("rules.yaml").write_text(
        "- {name: old, expression: age > 1000 or plan is missing}\n- {name: any, expression: age > -1e9}\n"
    )
    ended = driftline("models", "init", "--from", train, "--rules", "rules.yaml", "--output", "m.yaml")
    assert ended.code == 0, ended.err
    assert f"rule old: {ROWS:,} of {ROWS:,} rows break it" in " ".join(ended.out.split())
    assert "rule any" not in ended.out
    assert [rule.name for rule in read_spec(Path("m.yaml")).rules] == ["old", "any"]


def test_a_faulty_rule_is_shown_with_a_caret(driftline: Callable[..., Ended], train: Path) -> None:
    Path("rules.yaml").write_text("- {name: old, expression: agee > 10}\n")
    ended = driftline("models", "init", "--from", train, "--rules", "rules.yaml", "--output", "m.yaml")
    assert ended.code == 1
    first, shown, caret = ended.err.splitlines()
    assert first == "driftline: rules: rule old: there is no field 'agee': did you mean age?, at character 1"
    assert (shown.strip(), caret.strip()) == ("agee > 10", "^~~~")
    assert not Path("m.yaml").exists()


def test_init_overwrites_nothing_unless_forced(driftline: Callable[..., Ended], train: Path) -> None:
    Path("m.yaml").write_text("precious")
    ended = driftline("models", "init", "--from", train, "--output", "m.yaml")
    assert ended.code == 1
    assert "--force" in ended.err
    assert Path("m.yaml").read_text() == "precious"
    assert driftline("models", "init", "--from", train, "--output", "m.yaml", "--force").code == 0


# backtest


def test_backtest_shows_incidents_writes_events_and_keeps_results_apart_from_progress(
    driftline: Callable[..., Ended], train: Path, tmp_path: Path
) -> None:
    driftline("models", "init", "--from", train, "--output", "m.yaml")
    live = write_rows(tmp_path / "live.csv", seed=2, older=15)
    shown = driftline("backtest", "m.yaml", live, "--events", "found.jsonl")
    assert shown.code == 0
    assert "significant" in shown.out
    assert re.search(r"age \(mean [34]\d\.\d+ → 5\d", shown.out)
    events = [json.loads(line) for line in Path("found.jsonl").read_text().splitlines()]
    assert events
    assert all(0 <= event["row"] < ROWS for event in events)

    result = json.loads(driftline("backtest", "m.yaml", live, "--json").out)
    assert result["events"] == events
    assert (result["rows_read"], result["rows_judged"], result["reference_rows"]) == (ROWS, ROWS, ROWS)

    piped = driftline("backtest", "m.yaml", live, "--events", "-").out
    assert [json.loads(line) for line in piped.splitlines()] == events


def test_backtest_says_so_when_there_is_no_drift(driftline: Callable[..., Ended], train: Path) -> None:
    driftline("models", "init", "--from", train, "--output", "m.yaml")
    shown = driftline("backtest", "m.yaml", train, "--reference-until", "2023-11-15T12:00:00")
    assert shown.code == 0
    assert "no drift" in shown.out


# What needs no broker


def test_topics_list_names_every_topic_with_its_prefix(driftline: Callable[..., Ended]) -> None:
    shown = driftline("topics", "list").out
    assert all(f"driftline.{name} " in shown for name in TOPICS)


def test_schemas_are_exported_and_their_names_printed(driftline: Callable[..., Ended]) -> None:
    shown = driftline("schemas", "export", "out").out.splitlines()
    assert shown == [f"out/{file_name(event)}" for event in EVENTS]
    assert {path.name for path in Path("out").iterdir()} == {file_name(event) for event in EVENTS}


def test_an_example_is_printed_as_it_stands(driftline: Callable[..., Ended]) -> None:
    assert json.loads(driftline("schemas", "example", "PredictionEvent").out)["model"] == "flight-delay"
