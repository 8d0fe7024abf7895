"""Blocks of a file in PEM (RFC 7468), found as OpenSSL finds them."""

from __future__ import annotations

import io
from collections.abc import Iterator


def blocks(data: bytes, label: str) -> Iterator[bytes]:
    r"""Yield the blocks with a label.

    One pass over the lines: whoever wrote the file, the time grows with its length alone.

    Args:
        data: The file.
        label: What the blocks hold: `CERTIFICATE`, `X509 CRL`.

    >>> text = b"-----BEGIN A-----\nAA==\n-----END A-----\n"
    >>> [*blocks(b"of me:\n" + text + b"# -----BEGIN A-----\n", "A")] == [text]
    True
    """
    begin, end = f"-----BEGIN {label}-----".encode(), f"-----END {label}-----".encode()
    block: list[bytes] = []
    for line in io.BytesIO(data):
        text = line.rstrip()
        if text == begin:
            block = [line]
        elif block:
            block.append(line)
            if text == end:
                yield b"".join(block)
                block = []
