"""Segments of files: columns that rows are broken down by, in a first spec and in a backtest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from agents.backtest import FileBacktest, ReferenceCut
from agents.drafts import draft_spec, segments_of
from agents.errors import OperatorError
from agents.files import DataFile, RowReader
from agents.screen import by_incident, incident_block, segments_table
from agents.spec_file import parse_spec, render_spec
from detector.segments.table import SegmentTable
from schemas.model_spec import ColumnNames, ModelSpec
from tests.support.data import numbers, spec_of

STABLE, ROWS = 6_000, 9_000
PLAIN = spec_of(*numbers("x"), segments={"fields": ["country"]})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of which a tenth are of one country, in which ``x`` is 2.5 sd higher after 6,000 of them."""
    rng = np.random.default_rng(11)
    country = rng.choice(["DE", "FR", "US"], size=ROWS, p=[0.6, 0.3, 0.1])
    x = rng.normal(size=ROWS)
    x[STABLE:][country[STABLE:] == "US"] += 2.5
    columns = {"x": x, "country": country, "shop": rng.choice(["a", "b"], size=ROWS)}
    made = tmp_path_factory.mktemp("files") / "rows.parquet"
    pa.parquet.write_table(pa.table(columns), made)
    return made


def backtest(path: Path, spec: ModelSpec) -> tuple[FileBacktest, list[Any]]:
    run = FileBacktest(RowReader(DataFile(path), spec), ReferenceCut(rows=3_000), 64)
    return run, list(run.events())


def test_a_backtest_names_the_segment_that_drifted(path: Path) -> None:
    run, events = backtest(path, PLAIN)
    assert {verdict.name for event in events for verdict in event.signals} == {"feature:x in country=US"}
    assert all(event.row >= STABLE for event in events)
    assert [each.segment for each in run.judged.status()[0].segments] == ["country=DE", "country=FR", "country=US"]
    assert segments_table(run.judged.status()[0].segments).row_count == 3
    assert incident_block(by_incident(events)[0]) is not None


def test_a_backtest_of_a_file_without_the_column_says_so_and_judges_the_rest(path: Path) -> None:
    run, events = backtest(path, spec_of(*numbers("x"), segments={"fields": ["region"]}))
    assert any("no column 'region'" in note for note in run.reader.notes)
    assert run.judged.spec.segments is None
    assert events == []


def test_a_first_spec_is_broken_down_by_the_columns_that_were_named(path: Path) -> None:
    fields = {"segments": segments_of(["country", "country+shop"])}
    draft = draft_spec(path, "m", "1", columns=ColumnNames(), exclude=["shop"], fields=fields)
    assert draft.spec.segments is not None
    assert draft.spec.segments.groups == ("country", "shop", "country+shop")
    table = SegmentTable.of(draft.spec)
    assert table is not None
    assert {"country=DE", "shop=a", "country+shop=DE + a"} <= set(table.names)
    assert [feature.name for feature in draft.spec.features] == ["x", "country"]


def test_a_first_spec_needs_the_columns_that_it_is_to_be_broken_down_by(path: Path) -> None:
    with pytest.raises(OperatorError, match="did you mean 'country'"):
        draft_spec(path, "m", "1", columns=ColumnNames(), fields={"segments": segments_of(["contry"])})


def test_a_spec_with_segments_reads_back_from_its_file_with_the_same_hash(path: Path) -> None:
    spec = draft_spec(path, "m", "1", columns=ColumnNames(), fields={"segments": segments_of(["country"])}).spec
    assert parse_spec(render_spec(spec), "spec.yaml").hash == spec.hash
