import pytest
from rich.console import Console

from bench.stable import Kind, measure


@pytest.fixture(scope="module")
def stable():
    """A hundred models of 20 features that never change, 1,000 windows of each; then one feature moves by one sd."""
    (row,) = measure({Kind.INDEPENDENT: 100}, windows=1_000, features=20, console=Console(quiet=True))
    return row


@pytest.mark.slow
def test_at_most_3_of_100_stable_models_raise_an_incident_in_1000_windows(stable):
    assert stable["streams"] == 100
    assert stable["streams_with_incident"] <= 3


@pytest.mark.slow
def test_a_shift_of_one_sd_of_one_feature_is_found_within_200_rows(stable):
    assert stable["shift_missed"] == 0
    assert stable["delay_rows_p50"] < 200


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Kind.AUTOCORRELATED, Kind.BURSTS])
def test_stable_rows_that_hang_together_raise_no_more(kind):
    (row,) = measure({kind: 20}, windows=300, features=20, console=Console(quiet=True))
    assert row["streams_with_incident"] <= 1
