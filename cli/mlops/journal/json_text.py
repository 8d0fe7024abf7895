"""JSON for the journal: any content of a request can be written, and no row fails its batch."""

from __future__ import annotations

from typing import Any

import orjson

from mlops.protocols.json_body import plain, write_text


def as_json(value: object) -> str:
    """Write any value as JSON; what JSON cannot represent, as text."""
    try:
        return orjson.dumps(value, default=_as_list, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    except orjson.JSONEncodeError:
        # Whole numbers beyond 64 bits, broken text: rare, but one row must not fail its batch.
        if isinstance(value, list | tuple):
            return f"[{','.join(map(as_json, value))}]"
        return orjson.dumps(_simplified(value)).decode()


def _simplified(value: object) -> Any:  # noqa: ANN401 - any JSON data
    try:
        return plain(value)
    except (TypeError, RecursionError):
        return write_text(str(value)).decode()


def _as_list(value: object) -> Any:  # noqa: ANN401 - what orjson cannot write
    """Write arrays that orjson cannot (strided, of objects) as lists, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
