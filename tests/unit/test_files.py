"""Files to rows: what each cell means, which rows count, and what is said of a file that cannot be read."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from agents.files import DataFile, FileError, RowReader, by_source
from detector.rows import INVALID, STAGES, Rows, Source
from schemas.model_spec import FeaturesFrom, FeatureSpec, ModelSpec, PredictionSpec, Stage

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def spec_with(**features: str) -> ModelSpec:
    return spec_of(features)


def spec_of(features: dict[str, str], **settings: Any) -> ModelSpec:
    specs = tuple(FeatureSpec(name=name, type=kind) for name, kind in features.items())  # type: ignore[arg-type]
    return ModelSpec(**{"model": "m", "version": "1", "task": "binary", "features": specs} | settings)  # type: ignore[arg-type]


def csv(tmp_path: Path, text: str) -> DataFile:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    return DataFile(path)


def parquet(tmp_path: Path, columns: dict[str, Any]) -> DataFile:
    path = tmp_path / "rows.parquet"
    pa.parquet.write_table(pa.table(columns), path)
    return DataFile(path)


def read(file: DataFile, spec: ModelSpec) -> Rows:
    return Rows.concat([chunk.rows for chunk in RowReader(file, spec).chunks()])


def column(rows: Rows, index: int = 0) -> list[Any]:
    values = rows.columns[index]
    return values.tolist() if isinstance(values, np.ndarray) else list(values or [])


# Cells


@pytest.mark.parametrize("cell", ["", "NA", "NaN", "null", "None"])
@pytest.mark.parametrize("kind", ["number", "category", "boolean"])
def test_empty_cells_and_the_words_of_r_and_pandas_are_missing(tmp_path: Path, cell: str, kind: str) -> None:
    (value,) = column(read(csv(tmp_path, f"x,y\n{cell},1\n"), spec_with(x=kind)))
    assert value is None or math.isnan(value)


@pytest.mark.parametrize(
    ("cell", "number"),
    [("1.5", 1.5), ("-2", -2.0), ("1e3", 1000.0), (" 7 ", 7.0), ("1_000", math.inf), ("x", math.inf)],
)
def test_a_number_in_text_is_read_and_what_is_none_is_invalid(tmp_path: Path, cell: str, number: float) -> None:
    assert column(read(csv(tmp_path, f"x\n{cell}\n"), spec_with(x="number"))) == [number]


def test_one_bad_number_leaves_the_others_of_its_column_as_they_are(tmp_path: Path) -> None:
    assert column(read(csv(tmp_path, "x\n1\nbad\n3\n"), spec_with(x="number"))) == [1.0, math.inf, 3.0]


@pytest.mark.parametrize(
    ("cell", "truth"),
    [("true", "true"), ("False", "false"), ("1", "true"), ("0.0", "false"), ("yes", "true"), ("perhaps", INVALID)],
)
def test_truth_values_are_read_as_people_write_them(tmp_path: Path, cell: str, truth: str) -> None:
    values = column(read(csv(tmp_path, f"x\n{cell}\n"), spec_with(x="boolean")))
    assert values == [truth]


def test_an_integral_number_and_its_text_mean_the_same_category(tmp_path: Path) -> None:
    spec = spec_with(x="category")
    from_text = column(read(csv(tmp_path, "x\n3\n3.0\n007\n"), spec))
    from_numbers = column(read(parquet(tmp_path, {"x": [3.0, 3.0, 7.0]}), spec))
    assert from_text == ["3", "3", "007"]
    assert from_numbers == ["3", "3", "7"]


def test_a_quoted_cell_may_hold_commas_and_line_breaks(tmp_path: Path) -> None:
    rows = read(csv(tmp_path, 'x,y\n"a, b",1\n"two\nlines",2\n'), spec_with(x="category", y="number"))
    assert column(rows) == ["a, b", "two\nlines"]


@pytest.mark.parametrize(
    "cell",
    [
        "2024-05-01T12:00:00Z",
        "2024-05-01 12:00:00",
        "2024-05-01T14:00:00+02:00",
        str(NOON.timestamp()),
        str(int(NOON.timestamp() * 1000)),
    ],
)
def test_times_are_read_in_the_forms_that_files_have(tmp_path: Path, cell: str) -> None:
    assert read(csv(tmp_path, f"x,time\n1,{cell}\n"), spec_with(x="number")).times.tolist() == [NOON.timestamp()]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([NOON]),
        pa.array([NOON], pa.timestamp("ns", "Europe/Berlin")),
        pa.array([NOON.replace(tzinfo=None)], pa.timestamp("ms")),
        pa.array([int(NOON.timestamp())]),
    ],
    ids=["us", "ns-berlin", "ms-without-zone", "seconds"],
)
def test_times_are_read_in_the_types_that_parquet_has(tmp_path: Path, values: pa.Array) -> None:
    rows = read(parquet(tmp_path, {"x": [1.0], "time": values}), spec_with(x="number"))
    assert rows.times.tolist() == [NOON.timestamp()]


def test_times_of_several_forms_in_one_column_are_each_read(tmp_path: Path) -> None:
    text = f"x,time\n1,2024-05-01T12:00:00Z\n1,2024-05-01 12:00:00\n1,{NOON.timestamp()}\n"
    assert read(csv(tmp_path, text), spec_with(x="number")).times.tolist() == [NOON.timestamp()] * 3


# Rows


def test_the_same_rows_are_read_from_csv_from_csv_gz_and_from_parquet(tmp_path: Path) -> None:
    text = "x,c,score,time\n1,a,0.5,2024-05-01T12:00:00Z\n,b,0.25,2024-05-01T12:01:00Z\n"
    spec = spec_of({"x": "number", "c": "category"}, prediction=PredictionSpec(output="score"))  # type: ignore[arg-type]
    plain = csv(tmp_path, text)
    packed = tmp_path / "rows.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    times = pa.array([NOON.timestamp(), NOON.timestamp() + 60])
    typed = parquet(tmp_path, {"x": [1.0, None], "c": ["a", "b"], "score": [0.5, 0.25], "time": times})
    rows = [read(file, spec) for file in (plain, DataFile(packed), typed)]
    assert [repr(each) for each in rows] == [repr(rows[0])] * 3


def test_rows_of_another_version_of_no_known_stage_or_without_a_time_are_left_out_and_counted(tmp_path: Path) -> None:
    text = (
        "x,version,stage,time\n"
        "0,1,production,2024-05-01T12:00:00Z\n"
        "1,2,production,2024-05-01T12:00:00Z\n"
        "2,1,nowhere,2024-05-01T12:00:00Z\n"
        "3,1,shadow,soon\n"
        "4,,shadow,2024-05-01T12:00:00Z\n"
    )
    (chunk,) = RowReader(csv(tmp_path, text), spec_with(x="number")).chunks()
    assert chunk.left_out == {"another version": 1, "unknown stage": 1, "no readable time": 1}
    assert chunk.rows.offsets.tolist() == [0, 4]
    assert column(chunk.rows) == [0.0, 4.0]
    assert [STAGES[code] for code in chunk.rows.stages] == [Stage.PRODUCTION, Stage.SHADOW]
    assert chunk.next_row == 5


def test_a_large_file_comes_in_chunks_whose_offsets_go_on(tmp_path: Path) -> None:
    count = 40_000
    file = parquet(tmp_path, {"x": np.arange(count, dtype=float)})
    chunks = list(RowReader(file, spec_with(x="number")).chunks())
    assert len(chunks) > 1
    assert np.concatenate([chunk.rows.offsets for chunk in chunks]).tolist() == list(range(count))
    assert [chunk.next_row for chunk in chunks][-1] == count == file.rows


def test_without_a_time_column_times_are_not_a_number(tmp_path: Path) -> None:
    assert np.isnan(read(csv(tmp_path, "x\n1\n2\n"), spec_with(x="number")).times).all()


def test_columns_are_found_under_the_names_that_the_spec_gives(tmp_path: Path) -> None:
    spec = spec_of({"x": "number"}, prediction={"output": "score"}, columns={"time": "seen", "score": "p"})
    rows = read(csv(tmp_path, "seen,p,x\n2024-05-01T12:00:00Z,0.5,1\n"), spec)
    assert rows.times.tolist() == [NOON.timestamp()]
    assert column(rows, 1) == [0.5]


@pytest.mark.parametrize(("output", "expected"), [("score", [0.5]), ("class", ["1"])])
def test_the_part_of_the_prediction_that_is_watched_is_read(tmp_path: Path, output: str, expected: list[Any]) -> None:
    spec = spec_of({"x": "number"}, prediction={"output": output})
    assert column(read(csv(tmp_path, "x,prediction,score\n1,1,0.5\n"), spec), 1) == expected


def test_a_file_without_the_prediction_is_read_and_a_note_says_so(tmp_path: Path) -> None:
    reader = RowReader(csv(tmp_path, "x\n1\n"), spec_of({"x": "number"}, prediction={"output": "score"}))
    (chunk,) = reader.chunks()
    assert chunk.rows.columns[1] is None
    assert "'score'" in reader.notes[0]


def test_features_and_prediction_part_where_they_come_in_streams_of_their_own(tmp_path: Path) -> None:
    spec = spec_of({"x": "number"}, prediction={"output": "score"}, features_from=FeaturesFrom.FEATURES)
    parts = by_source(read(csv(tmp_path, "x,score\n1,0.5\n"), spec), spec)
    carried = {part.source: [values is not None for values in part.columns] for part in parts}
    assert carried == {Source.FEATURES: [True, False], Source.PREDICTIONS: [False, True]}


def test_labels_know_the_features_and_the_prediction_that_they_belong_to(tmp_path: Path) -> None:
    file = csv(tmp_path, "x,score,label\n1,0.5,1\n2,0.7,\n3,0.9,0\n")
    spec = spec_of({"x": "number"}, prediction={"output": "score"}, outcomes={})
    predictions, outcomes = by_source(read(file, spec), spec)
    assert predictions.context is None
    assert outcomes.context is not None
    known = [column(outcomes, 2), *map(list, outcomes.context[:2])]  # type: ignore[arg-type]
    assert known == [["1", "0"], [1.0, 3.0], [0.5, 0.9]]


# Files that cannot be read


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: DataFile(folder / "rows.xlsx"), r"rows\.xlsx: the name should end with \.csv"),
        (lambda folder: DataFile(folder / "rows.csv"), r"rows\.csv: there is no such file"),
        (lambda folder: csv(folder, ""), "[Ee]mpty"),
        (lambda folder: csv(folder, "x,x\n1,2\n"), "columns named twice: x"),
        (lambda folder: list(csv(folder, "x,y\n1,2\n1,2,3\n").batches(["x"])), "Expected 2 columns, got 3"),
        (lambda folder: csv(folder, "x,y\n").sample(10), "there are no rows"),
    ],
    ids=["kind", "missing", "empty", "repeated", "ragged", "no-rows"],
)
def test_a_file_that_cannot_be_read_is_named_with_what_is_wrong(
    tmp_path: Path, make: Callable[[Path], object], says: str
) -> None:
    with pytest.raises(FileError, match=says):
        make(tmp_path)


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(FileError, match=r"rows\.parquet: "):
        DataFile(path)


def test_a_feature_that_the_file_lacks_is_named_with_the_nearest_column(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no column for the feature 'distance' \(did you mean 'distnce'\?\)"):
        RowReader(csv(tmp_path, "distnce\n1\n"), spec_with(distance="number"))


def test_a_time_column_named_in_the_spec_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="'seen'"):
        RowReader(csv(tmp_path, "x\n1\n"), spec_of({"x": "number"}, columns={"time": "seen"}))


def test_a_time_column_without_times_is_an_error_not_an_empty_file(tmp_path: Path) -> None:
    reader = RowReader(csv(tmp_path, "x,time\n1,monday\n2,tuesday\n"), spec_with(x="number"))
    with pytest.raises(FileError, match="'time' holds no times: row 0 has 'monday'"):
        list(reader.chunks())
