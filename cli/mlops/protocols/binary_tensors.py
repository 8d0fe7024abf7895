"""The binary tensor data extension of the Open Inference Protocol.

The body is a JSON object followed by the elements of the tensors marked `binary_data_size`, in
their order; the header `inference-header-content-length` says where the JSON ends. Elements are
little-endian, row-major and unpadded; one of BYTES is a 32-bit length and that many bytes.

Specification: KServe, "Binary Tensor Data Extension" of the V2 data plane; Triton Inference
Server, `docs/protocol/extension_binary_data.md`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlops.protocols.json_body import malformed, shown
from mlops.protocols.open_inference_types import DTYPES, Array, OpenInferenceTensor

HEADER = "inference-header-content-length"
_LENGTH = struct.Struct("<I")


class BinaryData:
    """The bytes behind the JSON object, taken tensor by tensor.

    Args:
        data: The bytes; empty if the body is JSON alone.
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._taken = 0

    def take(self, size: object) -> memoryview:
        """Return the next `size` bytes.

        Raises:
            ProtocolError: `MALFORMED`: `size` is not a number of bytes, or there are fewer.
        """
        if type(size) is not int or size < 0:
            raise malformed("`binary_data_size` must be a number of bytes.")
        left = len(self._data) - self._taken
        if size > left:
            raise malformed(f"{size} bytes of binary data announced, {left} are left.")
        self._taken += size
        return self._data[self._taken - size : self._taken]

    def finish(self) -> None:
        """Check that every byte was taken.

        Raises:
            ProtocolError: `MALFORMED`: bytes that belong to no tensor.
        """
        left = len(self._data) - self._taken
        if left:
            raise malformed(f"{left} bytes of binary data belong to no input.")


def split_body(body: bytes, headers: Mapping[str, str]) -> tuple[bytes | memoryview, BinaryData]:
    """Split a request body into its JSON and its binary data.

    Raises:
        ProtocolError: `MALFORMED`: the header is not a number, or larger than the body.
    """
    announced = headers.get(HEADER)
    if announced is None:
        return body, BinaryData(memoryview(b""))
    # 19 digits are enough for any body; longer ones cost quadratic time to read.
    is_number = announced.isascii() and announced.isdecimal() and len(announced) <= 19
    if not is_number or int(announced) > len(body):
        size = f"a number of bytes up to {len(body)}, the size of the body"
        raise malformed(f"The header `{HEADER}` must be {size}, not {shown(announced)}.")
    view = memoryview(body)
    return view[: int(announced)], BinaryData(view[int(announced) :])


def elements_from_binary(
    data: memoryview, datatype: str, shape: tuple[int, ...]
) -> Array | list[Any]:
    """Read the elements of a tensor; those of BYTES must be UTF-8.

    Raises:
        ProtocolError: `MALFORMED`: the data is not of that size, or not text.
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return _texts(data, count)
    dtype = DTYPES[datatype]
    if len(data) != count * dtype.itemsize:
        size = f"{count * dtype.itemsize} bytes for {datatype} of shape {list(shape)}"
        raise malformed(f"{len(data)} bytes of binary data, but it takes {size}.")
    # Copied: in the body it is read-only and seldom aligned, which compiled models refuse.
    return np.frombuffer(data, dtype=np.uint8 if datatype == "BOOL" else dtype).astype(dtype)


def _texts(data: memoryview, count: int) -> list[str | None]:
    """Read `count` strings, each after its length."""
    texts: list[str | None] = []
    start = 0
    while start < len(data):
        end = start + _LENGTH.size
        if end <= len(data):
            start, end = end, end + _LENGTH.unpack_from(data, start)[0]
        if end > len(data):
            raise malformed(f"The binary data ends within element {len(texts)}.")
        try:
            texts.append(str(data[start:end], "utf-8"))
        except UnicodeDecodeError as error:
            raise malformed(f"Element {len(texts)} is not UTF-8.") from error
        start = end
    if len(texts) != count:
        raise malformed(f"{len(texts)} elements of binary data, its shape has {count}.")
    return texts


def binary_elements(tensor: OpenInferenceTensor) -> bytes:
    """Write the elements of an output; a missing string is an empty one."""
    if tensor.datatype != "BYTES":
        elements: bytes = tensor.data.tobytes()
        return elements
    texts = [_encoded(text) for text in tensor.data]
    return b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))


def _encoded(text: Any) -> bytes:  # noqa: ANN401 - a string or None
    """Return one element of BYTES without its length."""
    return b"" if text is None else text.encode("utf-8", "replace")
