"""How well performance is estimated while labels are still to come: driftline beside NannyML's CBPE.

``python -m bench.estimation --data DIR`` calibrates both on the labelled reference of NannyML's car-loan data, gives
them the analysis rows without labels in chunks of 5,000, and compares with what the labels show. NannyML runs in an
environment of its own (``bench/nannyml_cbpe.py`` says how to make it); without it its column stays empty.

Even the true expectation would be off: the labels of a chunk scatter around it. ``chance`` is the mean absolute error
that this alone makes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agents.drafts import draft_spec
from agents.files import DataFile, RowReader, by_source
from bench.output import add_json_option, console_for, write_json
from detector.layout import Layout
from detector.reports import PerformanceReport
from detector.rows import Rows, Source
from schemas.model_spec import ColumnNames, ModelSpec
from schemas.outbound import MetricStatus
from schemas.performance import Metric, OutcomeSpec

CHUNK_ROWS: Final = 5_000
COLUMNS: Final = ColumnNames(time="timestamp", prediction="y_pred", score="y_pred_proba", label="repaid")
METRICS: Final = (Metric.ACCURACY, Metric.AUC, Metric.F1)
NANNYML: Final = Path(".venv-nannyml/bin/python")

Vector = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: what came true, and what each said before."""

    rows: int
    realised: Mapping[str, float]
    driftline: Mapping[str, float]
    interval: tuple[float, float]
    """Of driftline's accuracy."""
    late_labels: float
    """Driftline's accuracy, corrected by the labels of all chunks before."""
    scores_only: float
    """Driftline's accuracy, from the scores alone."""


def reference_spec(folder: Path) -> ModelSpec:
    """Measure the reference as ``driftline models init --outcomes`` does."""
    path = folder / "car_loan_reference.csv.gz"
    fields = {"outcomes": OutcomeSpec()}
    return draft_spec(path, "car-loans", "1", columns=COLUMNS, exclude=["id"], fields=fields).spec


def vectors(spec: ModelSpec, layout: Layout, analysis: Path) -> list[tuple[int, Vector, Vector]]:
    """Count each chunk: rows, its predictions, its labels."""
    reader = RowReader(DataFile(analysis), spec)
    rows = Rows.concat([chunk.rows for chunk in reader.chunks()])
    counted = []
    for start in range(0, len(rows), CHUNK_ROWS):
        part = rows.slice(start, start + CHUNK_ROWS)
        found = {each.source: sum(layout.count(each).parts.values()) for each in by_source(part, spec)}
        counted.append((len(part), np.asarray(found[Source.PREDICTIONS]), np.asarray(found[Source.OUTCOMES])))
    return counted


def judge(spec: ModelSpec, analysis: Path) -> list[Chunk]:
    """Estimate each chunk, then look at its labels."""
    layout = Layout(spec)
    plain, counted = _scores_only(spec), vectors(spec, layout, analysis)
    of_scores = [_of_chunk(Layout(plain), predictions) for _, predictions, _ in vectors(plain, Layout(plain), analysis)]
    taught = PerformanceReport(layout)
    chunks = []
    for (rows, predictions, labels), score_only in zip(counted, of_scores, strict=True):
        alone = _of_chunk(layout, predictions)
        _forget_predictions(taught)
        taught.add(predictions)
        late = {each.metric: each for each in taught.metrics()}
        taught.add(labels)
        true = PerformanceReport(layout)
        true.add(labels)
        realised = {each.metric.value: each.value for each in true.metrics() if each.metric in METRICS}
        chunks.append(
            Chunk(
                rows=rows,
                realised={name: value for name, value in realised.items() if value is not None},
                driftline={metric.value: _estimate(alone[metric]) for metric in METRICS},
                interval=alone[Metric.ACCURACY].estimate_interval or (np.nan, np.nan),
                late_labels=_estimate(late[Metric.ACCURACY]),
                scores_only=_estimate(score_only[Metric.ACCURACY]),
            )
        )
    return chunks


def _of_chunk(layout: Layout, predictions: Vector) -> dict[Metric, MetricStatus]:
    report = PerformanceReport(layout)
    report.add(predictions)
    return {each.metric: each for each in report.metrics()}


def _forget_predictions(report: PerformanceReport) -> None:
    """Keep what labels have taught, so that the next chunk stands for itself."""
    report.predicted[:] = 0.0
    report.tallies[[1, 3, 4]] = 0.0


def _scores_only(spec: ModelSpec) -> ModelSpec:
    """Take the features' effects out of the calibration."""
    frozen = spec.reference.frozen
    if frozen is None or frozen.calibration is None:
        raise ValueError("the reference has no labels")
    calibration = frozen.calibration.model_copy(update={"effects": {}, "effect_variances": {}})
    frozen = frozen.model_copy(update={"calibration": calibration})
    return spec.model_copy(update={"reference": spec.reference.model_copy(update={"frozen": frozen})})


def _estimate(status: MetricStatus) -> float:
    return np.nan if status.estimate is None else status.estimate


def ask_nannyml(python: Path, folder: Path, analysis: Path) -> dict[str, Any] | None:
    """Run NannyML on the same rows; None where its environment is not there."""
    if not python.exists():
        return None
    script = Path(__file__).with_name("nannyml_cbpe.py")
    command = [str(python), str(script), str(folder / "car_loan_reference.csv.gz"), str(analysis), str(CHUNK_ROWS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"NannyML failed:\n{done.stderr[-2_000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def summarise(chunks: Sequence[Chunk], nannyml: Mapping[str, Any] | None) -> dict[str, Any]:
    """Mean absolute errors by metric and estimator, and how often the interval held what came true."""
    realised = {metric: np.array([chunk.realised[metric] for chunk in chunks]) for metric in METRICS}

    def error(metric: Metric, estimates: Sequence[float]) -> float:
        return round(float(np.abs(np.array(estimates) - realised[metric]).mean()), 6)

    errors: dict[str, dict[str, float]] = {}
    for metric in METRICS:
        errors[metric] = {"driftline": error(metric, [chunk.driftline[metric] for chunk in chunks])}
        if nannyml is not None:
            errors[metric]["nannyml"] = error(metric, nannyml["estimates"][metric])
    accuracy = realised[Metric.ACCURACY]
    errors[Metric.ACCURACY] |= {
        "late_labels": error(Metric.ACCURACY, [chunk.late_labels for chunk in chunks]),
        "scores_only": error(Metric.ACCURACY, [chunk.scores_only for chunk in chunks]),
        "constant": error(Metric.ACCURACY, [float(accuracy[0])] * len(chunks)),
        "chance": round(float(np.sqrt(2 / np.pi * accuracy * (1 - accuracy) / CHUNK_ROWS).mean()), 6),
    }
    held = [chunk.interval[0] <= chunk.realised[Metric.ACCURACY] <= chunk.interval[1] for chunk in chunks]
    return {"mean_absolute_error": errors, "interval_held": f"{sum(held)} of {len(held)}"}


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print it."""
    nannyml = result["nannyml"]
    table = Table(box=SIMPLE_HEAD, title="accuracy, by chunk")
    for column in ("rows to", "realised", "driftline", "95 % interval", "with late labels", "scores only", "NannyML"):
        table.add_column(column, justify="right")
    for place, chunk in enumerate(result["chunks"]):
        low, high = chunk["interval"]
        theirs = f"{nannyml['estimates']['accuracy'][place]:.4f}" if nannyml else ""
        table.add_row(f"{(place + 1) * CHUNK_ROWS:,}", f"{chunk['realised']['accuracy']:.4f}",
                      f"{chunk['driftline']['accuracy']:.4f}", f"{low:.4f} to {high:.4f}",
                      f"{chunk['late_labels']:.4f}", f"{chunk['scores_only']:.4f}", theirs)  # fmt: skip
    console.print(table)
    for metric, errors in result["mean_absolute_error"].items():
        console.print(f"mean absolute error of {metric}: " + ", ".join(f"{k} {v:.5f}" for k, v in errors.items()))
    console.print(f"the interval held the realised accuracy in {result['interval_held']} chunks")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench.estimation", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder with car_loan_*.csv.gz")
    parser.add_argument("--nannyml", type=Path, default=NANNYML, help="Python of an environment with NannyML")
    add_json_option(parser)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        analysis = Path(folder) / "analysis.csv"
        rows, labels = (pd.read_csv(asked.data / f"car_loan_analysis{part}.csv.gz") for part in ("", "_target"))
        rows.merge(labels, on="id", validate="1:1").to_csv(analysis, index=False)
        spec = reference_spec(asked.data)
        chunks = judge(spec, analysis)
        rows.to_csv(Path(folder) / "unlabelled.csv", index=False)
        nannyml = ask_nannyml(asked.nannyml, asked.data, Path(folder) / "unlabelled.csv")
    result = {"chunks": [asdict(chunk) for chunk in chunks], "nannyml": nannyml, **summarise(chunks, nannyml)}
    show(result, console_for(asked.json, width=110))
    write_json(result, asked.json)


if __name__ == "__main__":
    main()
