"""Raw rows of a reference: what is kept comes back, and nothing damaged is believed."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest

from detector.layout import Layout
from detector.reference_rows import (
    MOST_CELLS,
    MOST_ROWS,
    RUN,
    ReferenceRowsError,
    decode_reference,
    evenly,
    tabulate,
)
from schemas.model_spec import ModelSpec, ReferenceRows, SurrogateSpec
from tests.support.data import category, frozen_of, numbers, rows_of, spec_of


def frozen(rows: int, **settings: object) -> tuple[ModelSpec, dict[str, object]]:
    rng = np.random.default_rng(rows)
    values: dict[str, object] = {
        "feature:x": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)),
        "feature:c": rng.choice(["a", "b", "c"], rows).tolist(),
    }
    spec = spec_of(*numbers("x"), category("c"), **{"surrogates": SurrogateSpec()} | settings)
    return frozen_of(spec, values), values  # type: ignore[arg-type]


def kept(spec: ModelSpec) -> ReferenceRows:
    assert spec.reference.frozen is not None
    assert spec.reference.frozen.sample is not None
    return spec.reference.frozen.sample[0]


def test_a_small_reference_is_kept_as_it_is() -> None:
    spec, values = frozen(500)
    layout = Layout(spec)
    expected = tabulate(layout, rows_of(spec, values).columns, 500)  # type: ignore[arg-type]
    np.testing.assert_array_equal(decode_reference(layout, kept(spec)), expected)


def test_of_a_large_one_runs_of_neighbours_are_kept_spread_evenly() -> None:
    chosen = evenly(100_000, MOST_ROWS)
    runs = chosen.reshape(-1, RUN)
    assert len(chosen) <= MOST_ROWS
    assert (np.diff(runs, axis=1) == 1).all()
    assert len(np.unique(chosen)) == len(chosen)
    gaps = np.diff(runs[:, 0])
    assert gaps.max() - gaps.min() <= 1


def test_a_wide_reference_keeps_fewer_rows() -> None:
    names = [f"f{i}" for i in range(200)]
    values = {f"feature:{name}": np.arange(3_000.0) for name in names}
    spec = frozen_of(spec_of(*numbers(*names), surrogates=SurrogateSpec()), values)
    assert kept(spec).rows * 200 <= MOST_CELLS


def test_without_surrogates_nothing_is_kept_and_the_hash_is_what_it_was() -> None:
    plain, _ = frozen(300, surrogates=None)
    assert plain.reference.frozen is not None
    assert plain.reference.frozen.sample is None
    dumped = plain.model_dump(mode="json")
    del dumped["surrogates"], dumped["reference"]["frozen"]["sample"]
    assert ModelSpec.model_validate(dumped).hash == plain.hash
    assert frozen(300)[0].hash != plain.hash


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"values": "?"}, "cannot be read"),
        ({"values": base64.b64encode(b"nothing").decode()}, "cannot be read"),
        ({"rows": 400}, "not as many"),
        ({"rows": 10_000_000}, "at most"),
        ({"signals": ("feature:x", "feature:z")}, "has not"),
        ({"signals": ("feature:c", "feature:x")}, "in bins that it has not"),
        ({"values": base64.b64encode(zlib.compress(bytes(50_000_000))).decode()}, "not as many"),
    ],
)
def test_damaged_rows_are_refused_in_one_sentence(change: dict[str, object], said: str) -> None:
    spec, _ = frozen(500)
    with pytest.raises(ReferenceRowsError, match=said):
        decode_reference(Layout(spec), kept(spec).model_copy(update=change))
