"""Parquet, by pyarrow: columns with types of their own.

Specification: Apache Parquet; `index_columns` in the metadata that pandas adds.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import io
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from mlops.errors import InvalidInputError
from mlops.tables.table import Table

if TYPE_CHECKING:
    import pyarrow as pa

#: Most cells of one table: a column that repeats one value has any number of them in a few bytes.
MAX_CELLS = 20_000_000

#: What reading a file that is no Parquet, or cells that are no values of Python, may raise.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError)


def read_parquet(data: bytes, max_cells: int = MAX_CELLS) -> Table:
    """Read a Parquet file; the index that pandas keeps in it is left out.

    Args:
        data: The file.
        max_cells: Most cells that are read.

    Raises:
        InvalidInputError: It is not a Parquet file, or too large.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        cells = file.metadata.num_rows * max(1, file.metadata.num_columns)
        if cells > max_cells:
            raise InvalidInputError(f"It has {cells:,} cells; at most {max_cells:,} are read.")
        content = file.read()
        columns = {name: cells_of(content.column(name)) for name in names_of(content.schema)}
    except (pa.ArrowException, *UNREADABLE) as error:
        raise InvalidInputError(
            f"it cannot be read: this is not a Parquet file: {error}"
        ) from error
    return Table(columns)


def names_of(schema: pa.Schema) -> list[str]:
    """Return the names of the columns but those of the index that pandas keeps.

    Raises:
        ValueError: A name is there twice, or what pandas has noted is damaged.
    """
    told = schema.pandas_metadata or {}
    index = told.get("index_columns", []) if isinstance(told, dict) else None
    if not isinstance(index, list):
        raise ValueError("what pandas has noted in it is damaged")
    name, times = Counter(schema.names).most_common(1)[0] if schema.names else ("", 1)
    if times > 1:
        raise ValueError(f"the name `{name[:80]}` is there twice")
    return [name for name in schema.names if name not in index]


def cells_of(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return a column of Arrow as JSON cells."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        # Python's own times end at microseconds.
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    cells: list[Any] = column.to_pylist()
    kinds = set(map(type, cells))
    return cells if kinds <= {int, str, bool, type(None)} else [_json(cell) for cell in cells]


def _json(cell: Any) -> Any:  # noqa: ANN401 - any value of Parquet
    match cell:
        case float():
            return None if math.isnan(cell) else cell
        case bytes():
            return base64.b64encode(cell).decode()
        case dt.date() | dt.time():
            return cell.isoformat()
        case decimal.Decimal():
            return float(cell)
        case list() | tuple():
            return [_json(item) for item in cell]
        case dict():
            return {key: _json(item) for key, item in cell.items()}
    return cell
