"""What a Seldon v1 answer holds beside `meta`: `data` or `jsonData`.

Specification: `construct_response_json` in `python/seldon_core/utils.py` of seldon-core 1.18.2,
and what its wrapper was seen to answer.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from mlops.protocols.base import Prediction, Whole
from mlops.protocols.predictions import as_nested, flat, table_rows

#: The form of the question; `jsonData`, and text or bytes read as such, are answered with a tensor
#: if the answer is numeric.
Form: TypeAlias = Literal["ndarray", "tensor", "jsonData"]


def answer_content(
    prediction: Prediction, output_names: tuple[str, ...] | None, form: Form
) -> dict[str, Any]:
    """Return `{"data": ...}` for arrays and tables, `{"jsonData": ...}` for lists of values.

    Names are the model's own if it has them, else `t:0`, `t:1`, ... for the columns of an array
    of rank 2 or more, and none for rank 1, as the wrapper has it.
    """
    prediction = flat(prediction)
    if isinstance(prediction, Whole):
        return {"jsonData": prediction.value}
    if isinstance(prediction, dict):
        # Cells of several types cannot be in one tensor of doubles.
        return {"data": {"names": list(prediction), "ndarray": table_rows(prediction)}}
    if isinstance(prediction, list):
        return {"jsonData": prediction}
    names = _names(prediction, output_names)
    if form == "ndarray" or prediction.dtype.kind not in "biuf":
        return {"data": {"names": names, "ndarray": as_nested(prediction)}}
    return {"data": {"names": names, "tensor": _tensor(prediction)}}


def _names(array: np.ndarray[Any, Any], output_names: tuple[str, ...] | None) -> list[str]:
    """Name the columns of `array`."""
    width = array.shape[1] if array.ndim > 1 else 1
    if output_names is not None and len(output_names) == width:
        return list(output_names)
    return [f"t:{i}" for i in range(width)] if array.ndim > 1 else []


def _tensor(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return shape and row-major values; a tensor of Seldon holds doubles only."""
    values = array.astype(np.float64) if array.dtype.kind == "b" else array
    return {"shape": array.shape, "values": values.ravel()}
