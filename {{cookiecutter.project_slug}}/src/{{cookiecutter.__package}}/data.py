"""Where raw rows come from. Without this file, and as it stands, from the Parquet file at `data.path`."""

from collections.abc import Iterator

import pandas as pd
from modelyard import DataSource, defaults


def load(source: DataSource) -> Iterator[pd.DataFrame]:
    """Yield the raw rows, block by block, with the columns and types of schema.yaml.

    `source.path` is the file or folder that `data.path` in params.yaml names; a block should have at most
    `source.block_rows` rows. The library reads them once, until that path or the code in src/ changes. Where the rows
    cannot be had, raise `modelyard.UserError` with a sentence that says what to do. For a folder of CSV files:

        for path in sorted(source.path.glob("*.csv")):
            yield from pd.read_csv(path, parse_dates=["scheduled"], chunksize=source.block_rows)
    """
    return defaults.load(source)
