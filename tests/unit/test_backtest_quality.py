"""A file with faults of the data, judged by a reference without them: as `bench.quality` does with real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.quality import faults_between, held_out, judge, named, reference_spec
from schemas.outbound import Family

NAMES = ("salary", "tenure", "deposit")


def loans(rows: int, seed: int) -> pd.DataFrame:
    """Loans as they are."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "salary": rng.choice(["low", "middle", "high"], rows),
            "tenure": rng.uniform(0.0, 7.0, rows),
            "deposit": rng.choice(["0%", "10%", "20%"], rows),
            "timestamp": pd.date_range("2018-01-01", periods=rows, freq="10min"),
            "y_pred_proba": rng.uniform(size=rows),
            "y_pred": rng.integers(0, 2, rows),
        }
    )


def with_faults(sound: pd.DataFrame) -> pd.DataFrame:
    """Loans whose salary and tenure go missing, and with a deposit that nobody ever made, from the middle on."""
    faulty, rng = sound.copy(), np.random.default_rng(1)
    late = np.arange(len(sound)) >= len(sound) // 2
    for name, share, bad in zip(NAMES, (0.12, 0.12, 0.05), (None, np.nan, "50%"), strict=True):
        faulty.loc[late & (rng.uniform(size=len(sound)) < share), name] = bad
    return faulty


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loans")
    sound = loans(4_000, seed=2)
    for name, rows in {"reference": loans(3_000, 3), "sound": sound, "faulty": with_faults(sound)}.items():
        rows.to_csv(folder / f"{name}.csv", index=False)
    return folder


def test_every_kind_of_fault_is_named_after_it_began_and_nothing_else(folder: Path) -> None:
    frames = [pd.read_csv(folder / f"{name}.csv") for name in ("sound", "faulty", "reference")]
    put_in = {signal for signal, _ in faults_between(*frames)}
    assert put_in == {"quality:missing:salary", "quality:missing:tenure", "quality:unseen:deposit"}
    events = judge(reference_spec(folder / "reference.csv"), folder / "faulty.csv")
    told = named(events)
    assert set(told) == put_in
    assert min(told.values()) > 2_000
    # A deposit that the model never met is a change of its inputs, too; values that do not come are none.
    drifted = {verdict.signal for event in events if event.family is Family.DRIFT for verdict in event.signals}
    assert drifted <= {"feature:deposit"}


def test_sound_rows_and_slices_held_out_from_the_reference_raise_nothing(folder: Path, tmp_path: Path) -> None:
    assert judge(reference_spec(folder / "reference.csv"), folder / "sound.csv") == []
    assert held_out(pd.read_csv(folder / "reference.csv"), tmp_path) == [[]] * 5
