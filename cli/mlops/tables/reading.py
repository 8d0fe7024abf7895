"""Bytes to a table, whatever they are: packed or not, Parquet, JSON or CSV."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

from mlops.errors import InvalidInputError
from mlops.tables.delimited import read_delimited
from mlops.tables.documents import read_json
from mlops.tables.signature import Signature
from mlops.tables.table import Table

#: Largest file that is read whole, packed or unpacked, in bytes.
MAX_BYTES = 128 << 20
_TEXT = (".csv", ".tsv")
_PACKED = (".gz", ".bz2", ".xz", ".zst")
_PARQUET = (".parquet", ".pq")
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zst"}


def is_table(path: Path) -> bool:
    """Whether a file's name says that it is a table; JSON may be anything."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] and suffixes[-1] in _PACKED:
        return suffixes[-2:-1] != [] and suffixes[-2] in _TEXT
    return bool(suffixes) and suffixes[-1] in (*_TEXT, *_PARQUET)


def is_parquet(path: Path) -> bool:
    """Whether a file's name says that it is Parquet."""
    return path.suffix.lower() in _PARQUET


def is_binary(data: bytes) -> bool:
    """Whether the first bytes are those of Parquet or of a packed file."""
    return data.startswith((b"PAR1", *_MAGIC))


def read_path(path: Path, signature: Signature | None = None) -> Table:
    """Read a file.

    Raises:
        InvalidInputError: It cannot be read, is too large, or is not a table; the message does not
            name the file.
    """
    data = file_bytes(path)
    if is_parquet(path) and data[:4] != b"PAR1":
        raise InvalidInputError("it cannot be read: this is not a Parquet file")
    return read_bytes(data, signature)


def read_bytes(
    data: bytes,
    signature: Signature | None = None,
    *,
    on_ragged: Callable[[int, str], None] | None = None,
) -> Table:
    """Read a table from the bytes of a file, or of standard input.

    Args:
        data: The bytes.
        signature: Of the model that is to predict the rows; types columns by name.
        on_ragged: As of `read_delimited`.

    Raises:
        InvalidInputError: They are no table.
    """
    data = unpacked(data)
    if data[:4] == b"PAR1":
        from mlops.tables.parquet import read_parquet

        return read_parquet(data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"This is neither UTF-8 text nor Parquet: {error}.") from error
    if not text.strip():
        raise InvalidInputError("There is nothing in it: rows were expected.")
    if text.lstrip()[0] in "[{":
        return read_json(text, signature)
    return read_delimited(text, on_ragged=on_ragged).typed(signature)


def file_bytes(path: Path) -> bytes:
    """Return what is in a file of up to `MAX_BYTES`.

    Raises:
        InvalidInputError: It cannot be read, or is too large.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InvalidInputError(
                f"it has {size >> 20} MiB, and more than {MAX_BYTES >> 20} are not read"
            )
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"it cannot be read: {error.strerror or error}") from error


def unpacked(data: bytes) -> bytes:
    """Undo the compression that the first bytes indicate, up to `MAX_BYTES`.

    Raises:
        InvalidInputError: They are not packed as they say, or too large.
    """
    packing = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), "")
    if not packing:
        return data
    try:
        with _opened(packing, data) as stream:
            plain: bytes = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InvalidInputError(
            f"it cannot be read: it is not a complete {packing} stream: {error}"
        ) from error
    if len(plain) > MAX_BYTES:
        raise InvalidInputError(f"it has more than {MAX_BYTES >> 20} MiB when unpacked")
    return plain


def _opened(packing: str, data: bytes) -> io.BufferedIOBase:
    source = io.BytesIO(data)
    if packing == "gzip":
        return gzip.GzipFile(fileobj=source)
    if packing == "bz2":
        return bz2.BZ2File(source)
    if packing == "xz":
        return lzma.LZMAFile(source)
    # MLflow installs pyarrow, which knows zstandard; Python does not before 3.14.
    import pyarrow as pa

    stream: io.BufferedIOBase = pa.CompressedInputStream(source, "zstd")
    return stream
