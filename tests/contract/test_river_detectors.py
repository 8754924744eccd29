"""What holds of every detector of River's that can be chosen, whichever it is: the suite runs over the registry."""

from __future__ import annotations

import inspect
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from detector.feeds import SpreadOnes
from detector.journal import JournaledDetector
from detector.river_detectors import DETECTORS, make_detector
from detector.state import pack, unpack
from schemas.detectors import ZEROS_AND_ONES, DetectorName, DetectorSpec

NOT_THE_USERS = {"seed", "window"}
SMALL_WINDOW = {DetectorName.KSWIN: {"window_size": 20, "stat_size": 8}}
"""KSWIN's tests take half a millisecond each: the suite has it look at less."""
EXTREMES: dict[DetectorName, list[dict[str, object]]] = {
    DetectorName.ADWIN: [
        {"delta": 1e-300, "clock": 1, "max_buckets": 2, "min_window_length": 1, "grace_period": 1},
        {"delta": 0.999, "clock": 1_024, "max_buckets": 100, "min_window_length": 1_024, "grace_period": 1_024},
    ],
    DetectorName.KSWIN: [
        {"alpha": 1e-300, "window_size": 10, "stat_size": 5},
        {"alpha": 0.999, "window_size": 500, "stat_size": 250},
    ],
    DetectorName.PAGE_HINKLEY: [
        {"min_instances": 1, "delta": 0, "threshold": 1e-300, "alpha": 1e-300, "mode": "down"},
        {"min_instances": 1_024, "delta": 1e300, "threshold": 1e300, "alpha": 1, "mode": "up"},
    ],
    DetectorName.DDM: [
        {"warm_start": 1, "warning_threshold": 1e-300, "drift_threshold": 1e-300},
        {"warm_start": 4_096, "warning_threshold": 1e300, "drift_threshold": 1e300},
    ],
    DetectorName.EDDM: [
        {"warm_start": 1, "alpha": 1, "beta": 1},
        {"warm_start": 4_096, "alpha": 1e-300, "beta": 1e-300},
    ],
    DetectorName.HDDM_A: [
        {"drift_confidence": 1e-300, "warning_confidence": 1e-300, "two_sided_test": True},
        {"drift_confidence": 0.999, "warning_confidence": 0.999},
    ],
    DetectorName.HDDM_W: [
        {"drift_confidence": 1e-300, "warning_confidence": 1e-300, "lambda_val": 1e-300, "two_sided_test": True},
        {"drift_confidence": 0.999, "warning_confidence": 0.999, "lambda_val": 0.999},
    ],
}

each_detector = pytest.mark.parametrize("name", DETECTORS)


def spec(name: DetectorName, **parameters: object) -> DetectorSpec:
    return TypeAdapter[DetectorSpec](DetectorSpec).validate_python({"name": name.value, "parameters": parameters})


def forgetful(name: DetectorName, memory: int = 60) -> JournaledDetector:
    """A detector that is made anew so often that a short stream shows it."""
    parameters = spec(name, **SMALL_WINDOW.get(name, {})).parameters.model_dump()
    return JournaledDetector(lambda: DETECTORS[name].make(parameters), memory)


def stream(name: DetectorName, seed: int, levels: list[float], length: int = 90) -> list[float]:
    """Values around each level in turn, 0 to 1: a rate of ones, or a mean."""
    rng = np.random.default_rng(seed)
    level = np.repeat(levels, length)
    ones = name in ZEROS_AND_ONES
    return list(map(float, rng.random(len(level)) < level if ones else level + 0.1 * rng.normal(size=len(level))))


def alarms(detector: JournaledDetector, values: list[float]) -> list[int]:
    return [i for i, value in enumerate(values) if detector.update([value])]


# Every name leads somewhere


def test_every_name_that_a_spec_may_choose_is_registered() -> None:
    assert set(DETECTORS) == set(DetectorName)


@each_detector
def test_the_zeros_and_ones_of_the_spec_are_those_of_the_registry(name: DetectorName) -> None:
    assert (DETECTORS[name].feed is SpreadOnes) is (name in ZEROS_AND_ONES)


@each_detector
def test_parameters_have_rivers_names_and_rivers_defaults(name: DetectorName) -> None:
    kind = getattr(import_module(DETECTORS[name].module), DETECTORS[name].kind)
    theirs = {each.name: each.default for each in inspect.signature(kind).parameters.values()}
    assert spec(name).parameters.model_dump() == {k: v for k, v in theirs.items() if k not in NOT_THE_USERS}


# Parameters


@each_detector
def test_an_unknown_parameter_is_refused_by_its_name(name: DetectorName) -> None:
    with pytest.raises(ValidationError) as caught:
        spec(name, strictness=3)
    (fault,) = caught.value.errors()
    assert (fault["loc"][-1], fault["type"]) == ("strictness", "extra_forbidden")


@each_detector
@pytest.mark.parametrize("wrong", ["much", [1], None])
def test_a_parameter_that_is_no_number_is_refused_by_its_name(name: DetectorName, wrong: object) -> None:
    for parameter in spec(name).parameters.model_dump():
        with pytest.raises(ValidationError) as caught:
            spec(name, **{parameter: wrong})
        assert caught.value.errors()[0]["loc"][-1] == parameter


@each_detector
def test_a_number_out_of_range_is_refused_by_its_name(name: DetectorName) -> None:
    for parameter, default in spec(name).parameters.model_dump().items():
        if not isinstance(default, bool | str):
            with pytest.raises(ValidationError) as caught:
                spec(name, **{parameter: type(default)(-1)})
            assert caught.value.errors()[0]["loc"][-1] == parameter


@pytest.mark.parametrize(("name", "parameters"), [(name, each) for name, of in EXTREMES.items() for each in of])
def test_whatever_parameters_a_spec_may_have_the_detector_reads_any_values(
    name: DetectorName, parameters: dict[str, object]
) -> None:
    detector = make_detector(spec(name, **parameters))
    extremes = [0.0, 1.0] if name in ZEROS_AND_ONES else [0.0, 4_096.0, -4_096.0]
    for value in extremes:
        detector.update([value] * 40)
    detector.update(extremes * 200)
    detector.update(stream(name, 1, [0.1, 0.9]))


# Behaviour


@each_detector
def test_within_its_memory_the_alarms_are_rivers_own(name: DetectorName) -> None:
    values = stream(name, 5, [0.1, 0.9, 0.2], length=330)
    chosen = spec(name, **SMALL_WINDOW.get(name, {}))
    rivers = DETECTORS[name].make(chosen.parameters.model_dump())
    told = []
    for i, value in enumerate(values):
        rivers.update(bool(value) if name in ZEROS_AND_ONES else value)
        told += [i] * rivers.drift_detected
    detector = JournaledDetector(make_detector(chosen)._make, memory=len(values))
    assert alarms(detector, values) == told


@each_detector
def test_an_obvious_shift_is_found(name: DetectorName) -> None:
    found = 0
    for seed in range(4):  # more than one: KSWIN is blind for a window after each of its false alarms
        detector = make_detector(spec(name) if name is not DetectorName.PAGE_HINKLEY else spec(name, threshold=5))
        values = stream(name, seed, [0.05, 0.8], length=600)
        detector.update(values[:600])
        found += detector.update(values[600:])
    assert found >= 3


@each_detector
@given(seed=st.integers(0, 2**32 - 1), levels=st.lists(st.floats(0, 1), min_size=1, max_size=4))
@settings(max_examples=10, deadline=None)
def test_the_same_values_give_the_same_alarms(name: DetectorName, seed: int, levels: list[float]) -> None:
    values = stream(name, seed, levels)
    assert alarms(forgetful(name), values) == alarms(forgetful(name), values)


@each_detector
@given(
    seed=st.integers(0, 2**32 - 1),
    levels=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    cut=st.floats(0, 1),
)
@settings(max_examples=15, deadline=None)
def test_saved_and_restored_anywhere_it_goes_on_with_the_same_alarms_and_the_same_state(
    name: DetectorName, seed: int, levels: list[float], cut: float
) -> None:
    values = stream(name, seed, levels)
    before, after = values[: int(cut * len(values))], values[int(cut * len(values)) :]
    whole, restored = forgetful(name), forgetful(name)
    whole.update(before)
    restored.restore(unpack(pack({"journal": whole.state()}))["journal"])
    assert alarms(restored, after) == alarms(whole, after)
    assert restored.state().tobytes() == whole.state().tobytes()


@each_detector
def test_its_journal_is_bounded_however_long_the_stream(name: DetectorName) -> None:
    detector = forgetful(name)
    values = stream(name, 9, [0.3], length=500)
    sizes = [len(detector) for value in values if not detector.update([value])]
    assert max(sizes) < 2 * detector.memory


@each_detector
def test_what_is_saved_of_it_is_at_most_16_kib_of_numbers_or_64_of_bits_that_deflate(name: DetectorName) -> None:
    largest = 2 * make_detector(spec(name)).memory * 8
    assert largest <= (65_536 if name in ZEROS_AND_ONES else 16_384)


@each_detector
def test_after_a_reset_it_is_as_new(name: DetectorName) -> None:
    used, new = forgetful(name), forgetful(name)
    used.update(stream(name, 3, [0.2]))
    used.reset()
    values = stream(name, 4, [0.1, 0.7])
    assert alarms(used, values) == alarms(new, values)
