"""A table in a CSV or Parquet file, whole or column by column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd

#: Largest file that is read whole for its profile.
MAX_BYTES = 128 << 20
_TEXT = (".csv", ".tsv")
_PACKED = (".gz", ".bz2", ".xz", ".zst")
_PARQUET = (".parquet", ".pq")


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of a file.

    Attributes:
        rows: Number of rows.
        columns: Name to (n,) values; missing ones are NaN or None.
    """

    rows: int
    columns: Mapping[str, Any]


def is_table(path: Path) -> bool:
    """Whether a file's name says that we can read it."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] and suffixes[-1] in _PACKED:
        return suffixes[-2:-1] != [] and suffixes[-2] in _TEXT
    return bool(suffixes) and suffixes[-1] in (*_TEXT, *_PARQUET)


def read_table(path: Path) -> Table:
    """Read a file column by column, as `mlops.stats.profiles` takes it.

    Raises:
        InvalidInputError: It is too large, or not what its name says.
    """
    return table_of(read_frame(path))


def read_frame(path: Path) -> pd.DataFrame:
    """Read a file whole; the frame is shared and must not be changed.

    Raises:
        InvalidInputError: It is too large, or not what its name says.
    """
    try:
        status = path.stat()
        if status.st_size > MAX_BYTES:
            raise InvalidInputError(
                f"it has {status.st_size >> 20} MiB, and more than {MAX_BYTES >> 20} are not read"
            )
        return _read(path, status.st_mtime_ns)
    except (OSError, ValueError) as error:
        # What pandas and pyarrow raise for a broken file are kinds of ValueError.
        raise InvalidInputError(f"it cannot be read: {error}") from error


# A sweep asks about the same file for every trial.
@lru_cache(maxsize=4)
def _read(path: Path, _modified_ns: int) -> pd.DataFrame:
    import pandas as pd

    if path.suffix.lower() in _PARQUET:
        return pd.read_parquet(path)
    return pd.read_csv(path, sep=_separator(path))


def table_of(frame: pd.DataFrame) -> Table:
    """Take a data frame apart."""
    columns = {str(name): _values(frame.iloc[:, i]) for i, name in enumerate(frame.columns)}
    return Table(len(frame), columns)


def missing_columns(table: Table, wanted: Iterable[str]) -> list[str]:
    """Return the wanted columns that a table lacks."""
    return [name for name in wanted if name not in table.columns]


def _separator(path: Path) -> str:
    """Take the one of the usual separators that the header has most of."""
    import pandas as pd

    # Read by pandas, which unpacks; no header holds this separator.
    (header,) = pd.read_csv(path, sep="\x00", nrows=0, engine="python").columns
    return max(",;\t", key=str(header).count)


def _values(column: pd.Series[Any]) -> Any:  # noqa: ANN401 - an array or a list
    if column.dtype.kind in "biuf" and not hasattr(column.dtype, "na_value"):
        return column.to_numpy()
    return column.astype(object).where(column.notna(), None).tolist()
