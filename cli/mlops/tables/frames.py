"""A file as a pandas data frame, in the types of a signature: for files of many rows."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.errors import InvalidInputError
from mlops.tables.cells import MISSING, typed
from mlops.tables.delimited import separator_of
from mlops.tables.documents import read_json
from mlops.tables.reading import file_bytes, is_parquet, unpacked
from mlops.tables.signature import Signature
from mlops.tables.times import nanoseconds

if TYPE_CHECKING:
    import pandas as pd

#: Types whose cells pandas would read as numbers or dates, or in a way that loses something.
_TEXTUAL = frozenset({"string", "datetime", "binary", "boolean", "array", "object", "map"})
_PARSED = frozenset({"boolean", "array", "object", "map"})
_CASTS = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32"}


def read_frame(path: Path, signature: Signature | None = None) -> pd.DataFrame:
    """Read a file whole; the frame is shared and must not be changed.

    Raises:
        InvalidInputError: It is too large, or no table; the message does not name the file.
    """
    try:
        modified_ns = path.stat().st_mtime_ns
    except OSError as error:
        raise InvalidInputError(f"it cannot be read: {error.strerror or error}") from error
    kinds = signature.kinds if signature else {}
    return _read(path, modified_ns, tuple(sorted(kinds.items())))


def values_of(column: pd.Series[Any]) -> Any:  # noqa: ANN401 - an array or a list
    """Return the (n,) values of a column as `mlops.stats.profiles` takes them; missing as None."""
    if column.dtype.kind in "biuf" and not hasattr(column.dtype, "na_value"):
        return column.to_numpy()
    return column.astype(object).where(column.notna(), None).tolist()


# A sweep asks about the same file for every trial.
@lru_cache(maxsize=4)
def _read(path: Path, _modified_ns: int, kinds: tuple[tuple[str, str], ...]) -> pd.DataFrame:

    data = unpacked(file_bytes(path))
    frame = _parquet(data) if data[:4] == b"PAR1" or is_parquet(path) else _text(data, kinds)
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    for name, kind in kinds:
        if name in frame:
            frame[name] = _as(frame[name], kind)
    return frame


def _parquet(data: bytes) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(io.BytesIO(data))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"it cannot be read: {error}") from error


def _text(data: bytes, kinds: tuple[tuple[str, str], ...]) -> pd.DataFrame:
    import pandas as pd

    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"it cannot be read: it is not UTF-8: {error}") from error
    if text.lstrip()[:1] in ("[", "{"):
        return pd.DataFrame(dict(read_json(text).columns))
    # As text first: what pandas has made a number of, has lost its zeros.
    texts = dict.fromkeys((name for name, kind in kinds if kind in _TEXTUAL), "str")
    separator = separator_of(text)
    try:
        names = pd.read_csv(io.StringIO(text), sep=separator, nrows=0).columns
        # As `typed` reads them where rows are sent: `NA` and `null` are texts in a column of texts.
        strings = {name for name, kind in kinds if kind == "string"}
        missing = {name: [""] if name in strings else sorted(MISSING) for name in names}
        return pd.read_csv(
            io.StringIO(text),
            sep=separator,
            dtype=texts,
            keep_default_na=False,
            na_values=missing,
        )
    except (ValueError, OverflowError) as error:
        # What pandas raises for a broken file are kinds of ValueError.
        raise InvalidInputError(f"it cannot be read: {error}") from error


def _as(column: pd.Series[Any], kind: str) -> pd.Series[Any]:
    """Give a column the signature's type where its cells allow it."""
    import numpy as np
    import pandas as pd

    if kind in _CASTS and column.dtype.kind in "iufb":
        fits = kind in ("double", "float") or (column.notna().all() and (column % 1 == 0).all())
        return column.astype(_CASTS[kind]) if fits else column
    if kind in _PARSED and column.dtype.kind == "O" and column.map(type).isin([str, float]).all():
        cells = typed(["" if pd.isna(cell) else cell for cell in column], kind)
        whole = kind == "boolean" and set(map(type, cells)) == {bool}
        return pd.Series(cells, index=column.index, dtype=bool if whole else object)
    if kind == "datetime" and (column.dtype.kind == "O" or getattr(column.dtype, "tz", None)):
        times = [nanoseconds(cell) for cell in column.tolist()]
        if None not in times:
            found = np.array(times, dtype=np.int64).view("datetime64[ns]")
            return pd.Series(found, index=column.index)
    return column
