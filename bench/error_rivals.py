"""River's detectors on the errors of a production model, each with a grid of settings, so that all can be compared at
one rate of false alarms.

A detector's default says nothing of how often it alarms on rows in which nothing changes, and one that alarms often is
soon with everything. So every setting reads the stable rows too, and `calibrated` gives each detector its most
sensitive one with no more false alarms than driftline's challengers. Tests that can be two-sided are: an error that
falls is a change as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from river import drift

Setting = tuple[str, Callable[[], Any]]
"""What it is called, and what makes the detector."""


def _grid(make: Callable[..., Any], name: str, values: Sequence[float], **fixed: Any) -> list[Setting]:
    return [(f"{name}={value:g}", lambda value=value: make(**{name: value}, **fixed)) for value in values]


RIVALS: Final[Mapping[str, Sequence[Setting]]] = {
    "adwin": _grid(drift.ADWIN, "delta", (0.002, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10)),
    "ddm": _grid(drift.binary.DDM, "drift_threshold", (3.0, 3.5, 4.0, 5.0, 6.0, 8.0)),
    "eddm": _grid(drift.binary.EDDM, "beta", (0.9, 0.85, 0.8, 0.7, 0.6, 0.5)),
    "hddm_a": _grid(drift.binary.HDDMA, "drift_confidence", (1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10), two_sided_test=True),
    "hddm_w": _grid(
        drift.binary.HDDMW, "drift_confidence", (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10), two_sided_test=True
    ),
    "page_hinkley": _grid(drift.PageHinkley, "threshold", (20.0, 50.0, 100.0, 150.0, 200.0, 300.0)),
    "kswin": _grid(drift.KSWIN, "alpha", (0.005, 1e-4, 1e-6, 1e-8), seed=1),
}
"""By name: from the most sensitive setting to the least."""
DEFAULTS: Final[Mapping[str, int]] = {name: 1 if name == "page_hinkley" else 0 for name in RIVALS}
"""Place of River's own setting."""
SLOW: Final = frozenset({"kswin"})
"""A quarter of a millisecond a row, for every setting."""


def read_stable(detector: Any, errors: Sequence[int]) -> bool:
    """Feed rows in which nothing changes; return whether it alarmed."""
    alarmed = False
    for wrong in errors:
        detector.update(wrong)
        alarmed = alarmed or detector.drift_detected
    return alarmed


def read_changed(detector: Any, errors: Sequence[int]) -> int | None:
    """Feed rows until it alarms; return how many that took."""
    for rows, wrong in enumerate(errors, start=1):
        detector.update(wrong)
        if detector.drift_detected:
            return rows
    return None


def calibrated(alarms: Mapping[tuple[str, int], Sequence[bool]], allowed: float) -> dict[str, int]:
    """Choose each rival's most sensitive setting that alarmed in no larger share of the stable streams.

    Parameters
    ----------
    alarms
        By rival and place in its grid: whether it alarmed, for each stream.
    allowed
        That share.
    """
    chosen: dict[str, int] = {}
    for (rival, place), alarmed in sorted(alarms.items()):
        if float(np.mean(alarmed)) <= allowed:
            chosen.setdefault(rival, place)
    return chosen
