"""Faults of the data in NannyML's synthetic car loans: whether they are named, and nothing else is.

``python -m bench.quality --data FOLDER`` compares ``car_loan_dq_analysis.csv.gz`` with ``car_loan_analysis.csv.gz`` to
find which faults were put in, and judges the faulty file by the reference. Each fifth of the reference is held out and
judged by the rest: it is stable, so that every event of it is a false alarm.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agents.backtest import FileBacktest, ReferenceCut
from agents.drafts import draft_spec
from agents.files import DataFile, RowReader
from bench.output import add_json_option, console_for, write_json
from detector.quality.binned import quality_signal
from schemas.model_spec import ColumnNames, ModelSpec
from schemas.outbound import DriftEvent, Family
from schemas.quality import Check, QualitySpec

COLUMNS: Final = ColumnNames(time="timestamp", score="y_pred_proba", prediction="y_pred", label="repaid")
EXCLUDED: Final = ("id",)
EVERY_ROWS: Final = 64
SLICES: Final = 5
"""Parts of the reference that are held out in turn."""


@dataclass(frozen=True)
class Found:
    """A fault that is in the file."""

    signal: str
    share: float
    """Of the rows."""
    named_in_row: int | None
    """Row of the event in which it had a tier for the first time."""


def reference_spec(rows: Path) -> ModelSpec:
    """Make the spec of the model with all checks, from a file of its reference."""
    fields = {"quality": QualitySpec()}
    return draft_spec(rows, "car-loans", "1", columns=COLUMNS, exclude=EXCLUDED, fields=fields).spec


def judge(spec: ModelSpec, rows: Path) -> list[DriftEvent]:
    """Judge a file."""
    return list(FileBacktest(RowReader(DataFile(rows), spec), ReferenceCut(), EVERY_ROWS).events())


def faults_between(sound: pd.DataFrame, faulty: pd.DataFrame, reference: pd.DataFrame) -> Iterator[tuple[str, float]]:
    """Name the faults that were put in, as signals, each with its share of the rows."""
    for name in sound.columns:
        changed = (sound[name] != faulty[name]) & ~(sound[name].isna() & faulty[name].isna())
        missing, values = faulty[name].isna() & changed, faulty.loc[changed, name].dropna()
        if missing.any():
            yield quality_signal(Check.MISSING, name), float(missing.mean())
        if len(values) and not set(values) & set(reference[name]):
            yield quality_signal(Check.UNSEEN, name), len(values) / len(faulty)
        elif len(values):
            raise SystemExit(f"{name} has changed in a way that this benchmark does not know")


def named(events: Iterable[DriftEvent]) -> dict[str, int]:
    """Rows of the events in which signals of quality had a tier first."""
    rows: dict[str, int] = {}
    for event in events:
        if event.family is Family.QUALITY:
            for verdict in event.signals:
                if verdict.tier.rank:
                    rows.setdefault(verdict.signal, event.row or 0)
    return rows


def held_out(reference: pd.DataFrame, folder: Path) -> list[list[DriftEvent]]:
    """Judge slices of the reference by the rest of it."""
    size = len(reference) // SLICES
    raised = []
    for place in range(SLICES):
        part = slice(place * size, (place + 1) * size)
        rest, stable = folder / "rest.csv", folder / "stable.csv"
        reference.drop(reference.index[part]).to_csv(rest, index=False)
        reference.iloc[part].to_csv(stable, index=False)
        raised.append(judge(reference_spec(rest), stable))
    return raised


def measure(data: Path) -> dict[str, Any]:
    """Return the faults with where they were named, what else was, and what stable slices raised."""
    files = {name: data / f"car_loan_{name}.csv.gz" for name in ("reference", "analysis", "dq_analysis")}
    sound, faulty, reference = (pd.read_csv(files[name]) for name in ("analysis", "dq_analysis", "reference"))
    events = judge(reference_spec(files["reference"]), files["dq_analysis"])
    told = named(events)
    faults = [Found(signal, share, told.get(signal)) for signal, share in faults_between(sound, faulty, reference)]
    with tempfile.TemporaryDirectory() as folder:
        stable = held_out(reference, Path(folder))
    return {
        "faults": [vars(fault) for fault in faults],
        "named_besides": sorted(set(told) - {fault.signal for fault in faults}),
        "events_of_stable_slices": [len(each) for each in stable],
    }


def show(result: dict[str, Any], console: Console) -> None:
    """Print it."""
    table = Table(box=SIMPLE_HEAD, title="faults in the file")
    for column in ("signal", "of the rows", "named in row"):
        table.add_column(column)
    for fault in result["faults"]:
        row = fault["named_in_row"]
        table.add_row(fault["signal"], f"{fault['share']:.1%}", "never" if row is None else f"{row:,}")
    console.print(table)
    console.print(f"named besides: {', '.join(result['named_besides']) or 'nothing'}")
    console.print(f"events of {SLICES} stable slices: {result['events_of_stable_slices']}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder with car_loan_*.csv.gz")
    add_json_option(parser)
    asked = parser.parse_args()
    result = measure(asked.data)
    show(result, console_for(asked.json))
    write_json(result, asked.json)


if __name__ == "__main__":
    main()
