"""What the README says is so: its JSON is accepted, its commands, settings and topics exist."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from agents.cli import app
from agents.settings import Settings
from schemas.inbound import PredictionBatch, PredictionEvent
from schemas.outbound import DriftEvent
from schemas.topics import TOPICS
from tests.support.readme import README, blocks, commands

TEXT = README.read_text()


def test_the_one_row_example_is_a_prediction_event() -> None:
    event = PredictionEvent.model_validate_json(blocks("json")[0])
    assert set(json.loads(blocks("json")[0])) <= set(PredictionEvent.model_fields)
    assert event.features is not None


def test_the_many_rows_example_is_a_prediction_batch() -> None:
    assert PredictionBatch.model_validate_json(blocks("json")[1]).rows == 3


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("driftline ")])
def test_every_command_of_the_page_exists_with_its_options(command: str) -> None:
    words = shlex.split(command)[1:]
    group = [word for word in words if not word.startswith("-")][
        : 2 if words[0] in ("models", "topics", "schemas") else 1
    ]
    shown = CliRunner().invoke(app, [*group, "--help"], terminal_width=200)
    assert shown.exit_code == 0, shown.output
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.output


def test_every_setting_of_the_page_exists_and_has_the_default_it_says() -> None:
    named = set(re.findall(r"DRIFTLINE_([A-Z_]+[A-Z])", TEXT))
    assert named <= {field.upper() for field in Settings.model_fields}
    table = re.findall(r"^\| `DRIFTLINE_([A-Z_]+)` \| `([^`]*)`", TEXT, re.MULTILINE)
    assert len(table) >= 5
    for name, default in table:
        value = Settings.model_fields[name.lower()].get_default()
        assert str(value.value if hasattr(value, "value") else value).lower() == default.lower(), name


def test_the_table_of_topics_names_every_topic() -> None:
    page = TEXT[TEXT.index("**Topics**") : TEXT.index("**Scaling.**")]
    named = set(re.findall(r"`([a-z-]+)`", page))
    assert set(TOPICS) <= named


def test_the_fields_of_a_drift_event_that_the_page_explains_exist() -> None:
    page = TEXT[TEXT.index("| field of a drift event") : TEXT.index("A **retrain request**")]
    first_cells = re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)
    named = {name for cell in first_cells for name in re.findall(r"`([a-z_]+)(?:\[\])?`", cell)}
    assert named
    assert named <= set(DriftEvent.model_fields)


def test_every_local_link_of_the_page_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (README.parent / target).exists(), target


def test_the_reference_pages_are_what_the_code_says() -> None:
    script = README.parent / "scripts" / "reference_pages.py"
    checked = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
