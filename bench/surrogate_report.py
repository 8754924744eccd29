"""What ``bench.surrogates`` makes of its episodes: who was how soon, what was found, what was asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from rich.table import Table
from scipy import stats

from bench.error_rivals import DEFAULTS, RIVALS, calibrated
from bench.surrogate_plays import PERFORMANCE, SURROGATES, Found, Said, steps_of_budget
from schemas.model_spec import CONCEPT, MIMIC, MULTIVARIATE

SMALL_RISE: Final = 0.15
"""Of the error: where it rises by less, the challengers may take at most half as long as the best detector."""
HALF: Final = 0.5
ROWS_LATER: Final = 64
"""Elsewhere they may come so many rows after it."""
WITHIN: Final = {"flip": (MULTIVARIATE, 1_000, 0.95), "silent": (MIMIC, 500, 0.95)}
"""Label-free changes: the signal asked for, the rows within which, and the share of streams."""
CHANGE_WITHIN: Final = 2_000
CHANGES_FOUND: Final = 0.9
LEVEL: Final = 0.05
"""Quiet streams keep the budget unless as many alarms would be rarer than this under it."""


def interval(found: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Clopper and Pearson)."""
    low, high = stats.binomtest(found, of).proportion_ci(method="exact")
    return round(float(low), 3), round(float(high), 3)


# ------------------------------------------------------------------------------------------------------- swapped labels


def delays(said: Sequence[Said]) -> list[dict[str, Any]]:
    """Compare the challengers with the best detector, by stream, lateness of labels and class swapped.

    Delays are labelled rows, from the first changed one; late labels add as many rows for everybody.
    """
    rows = []
    for (stream, late), of_stream in sorted(_grouped(said, lambda each: (each.stream, each.late)).items()):
        chosen = settings(of_stream)
        shares = _alarmed(of_stream)
        for swapped, of_swap in sorted(_grouped(of_stream, lambda each: each.swapped).items()):
            by_setting = _grouped(of_swap, lambda each: (each.contender, each.setting))
            if (CONCEPT, 0) not in by_setting:
                continue
            medians = {name: _median(by_setting[name, place]) for name, place in chosen.items()}
            defaults = {name: _median(by_setting[name, place]) for name, place in DEFAULTS.items()
                        if (name, place) in by_setting}  # fmt: skip
            own = by_setting[CONCEPT, 0]
            rise = float(np.median([each.rise for each in own]))
            found = sum(each.delay is not None for each in own)
            rows.append({
                "stream": stream, "late": late, "swapped": swapped, "episodes": len(own), "rise": round(rise, 3),
                "found": found, "found_interval": interval(found, len(own)),
                **verdict(medians, rise, late), **_best_default(defaults),
                "false_alarms": sum(shares[CONCEPT, 0]),
                "stable_rows": sum(each.stable_rows for each in own),
                "medians": {name: _finite(delay) for name, delay in medians.items()},
                "at_defaults": {name: {"delay": _finite(delay), "alarmed": sum(shares[name, DEFAULTS[name]])}
                                for name, delay in defaults.items()},
                "settings": {name: RIVALS[name][place][0] for name, place in chosen.items() if name in RIVALS},
            })  # fmt: skip
    return rows


def settings(said: Sequence[Said]) -> dict[str, int]:
    """Choose the setting of each contender: driftline's own, of the others one that alarms no more often than it."""
    shares = _alarmed(said)
    rivals = {key: alarmed for key, alarmed in shares.items() if key[0] in RIVALS}
    ours = {name: 0 for name, _ in shares if name not in RIVALS}
    return ours | calibrated(rivals, float(np.mean(shares[CONCEPT, 0])) if (CONCEPT, 0) in shares else 0.0)


def verdict(medians: Mapping[str, float], rise: float, late: int) -> dict[str, Any]:
    """Say who was the best of the others, what was asked of the challengers, and whether it was met.

    ``met_from_onset`` counts the rows until labels come as well; ``half`` of them is out of reach for anything that
    needs labels.
    """
    rivals = {name: delay for name, delay in medians.items() if name in RIVALS or name == PERFORMANCE}
    best = min(rivals, key=lambda name: rivals[name])
    own, other = medians[CONCEPT], rivals[best]
    asked, from_onset = (HALF * each if rise < SMALL_RISE else each + ROWS_LATER for each in (other, other + late))
    found = bool(np.isfinite(own))
    return {
        "concept": _finite(own),
        "best": best if np.isfinite(other) else None,
        "best_delay": _finite(other),
        "asked": _finite(asked),
        "met": found and own <= asked,
        "met_from_onset": found and own + late <= from_onset,
    }


def _best_default(defaults: Mapping[str, float]) -> dict[str, Any]:
    best = min(defaults, key=lambda name: defaults[name], default=None)
    return {"best_default": best, "default_delay": None if best is None else _finite(defaults[best])}


def _alarmed(said: Sequence[Said]) -> dict[tuple[str, int], list[bool]]:
    """Whether each setting alarmed in the stable rows of each episode; all swaps of one share them."""
    groups = _grouped(said, lambda each: (each.contender, each.setting, each.swapped))
    alarmed: dict[tuple[str, int], list[bool]] = {}
    for (contender, place, _), own in sorted(groups.items()):
        alarmed.setdefault((contender, place), [each.false_alarm for each in own])
    return alarmed


def _median(said: Sequence[Said]) -> float:
    """Median delay; infinite where most found nothing."""
    return float(np.median([np.inf if each.delay is None else each.delay for each in said]))


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None


def _grouped(said: Sequence[Said], key: Callable[[Said], Any]) -> dict[Any, list[Said]]:
    groups: defaultdict[Any, list[Said]] = defaultdict(list)
    for each in said:
        groups[key(each)].append(each)
    return groups


# --------------------------------------------------------------------------------------------------------------- others


def found_in(part: str, found: Sequence[Found]) -> dict[str, Any]:
    """Say how often a change was found, how soon, and what else spoke."""
    signal, within, share = WITHIN.get(part, (CONCEPT, CHANGE_WITHIN, CHANGES_FOUND))
    own = [each.delays[signal] for each in found if each.delays.get(signal, within + 1) <= within]
    features = sum(any(name.startswith("feature:") for name in each.delays) for each in found)
    return {
        "part": part,
        "signal": signal,
        "streams": len(found),
        "within": within,
        "found": len(own),
        "found_interval": interval(len(own), len(found)),
        "delay_median": float(np.median(own)) if own else None,
        "false_alarms": sum(signal in each.alarms_before for each in found),
        "found_by_any": sum(any(at <= within for at in each.delays.values()) for each in found),
        "features_alarmed": features,
        "asked": share,
        "met": len(own) >= share * len(found) and (part != "flip" or features == 0),
    }


def quiet_in(kind: str, found: Sequence[Found], windows: int) -> dict[str, Any]:
    """Count the streams without a change in which a surrogate spoke, and hold that against the budget."""
    spoke = {signal: sum(signal in each.alarms_before for each in found) for signal in SURROGATES}
    streams = sum(any(signal in each.alarms_before for signal in SURROGATES) for each in found)
    allowed = min(windows / steps_of_budget(), 1.0)
    kept = stats.binomtest(streams, len(found), allowed, alternative="greater").pvalue > LEVEL
    return {
        "kind": kind,
        "streams": len(found),
        "windows": windows,
        **spoke,
        "alarmed": streams,
        "alarmed_interval": interval(streams, len(found)),
        "budget": round(allowed, 4),
        "met": bool(kept),
    }


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Lay it out for people."""
    keys = {
        "swaps": ("stream", "late", "swapped", "episodes", "rise", "concept", "found", "best", "best_delay", "asked",
                  "met", "met_from_onset", "false_alarms", "best_default", "default_delay"),
        "found": ("part", "signal", "streams", "within", "found", "found_interval", "delay_median", "false_alarms",
                  "found_by_any", "features_alarmed", "asked", "met"),
        "quiet": ("kind", "streams", "windows", *SURROGATES, "alarmed", "alarmed_interval", "budget", "met"),
    }  # fmt: skip
    titles = {
        "swaps": "Swapped labels: median labelled rows until found; best detector of errors with no more false alarms",
        "found": "Changes found",
        "quiet": "Nothing changes: streams in which a surrogate spoke, and the share that the budget allows",
    }
    for part, names in keys.items():
        if report[part]:
            table = Table(*(name.replace("_", " ") for name in names), title=titles[part])
            for row in report[part]:
                table.add_row(*(_said(row[name]) for name in names))
            yield table


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value[0]:.2f} to {value[1]:.2f}" if isinstance(value, tuple) else str(value)
