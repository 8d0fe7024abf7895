"""A model's signature, read from its MLmodel file.

Specification: MLflow model signatures, https://mlflow.org/docs/latest/ml/model/signatures/.
Only the YAML is read, so that a status page can show it without importing MLflow.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True, slots=True)
class Column:
    """One input column: MLflow's type name, and whether a row must have it."""

    name: str
    type: str
    required: bool = True


# Without slots, for what is computed once.
@dataclass(frozen=True)
class Signature:
    """What a model takes and gives.

    Attributes:
        columns: Named input columns in order; empty if the input is a tensor or unknown.
        tensor: (datatype, shape) of an unnamed input tensor, -1 for the rows; else None.
        outputs: Names of the output columns, where the model names them.
        n_outputs: Values of an answer to one row; 0 if unknown.
        output_type: MLflow's type name or NumPy's dtype of the first output; empty if unknown.
        unnamed: MLflow's type names of input columns without names.
        hinted: Whether it comes from a type hint of `predict`, which then gets JSON values.
        document: As MLflow has it: `inputs`, `outputs` and `params`, each JSON in a text.
    """

    columns: tuple[Column, ...] = ()
    tensor: tuple[str, tuple[int, ...]] | None = None
    outputs: tuple[str, ...] = ()
    n_outputs: int = 0
    output_type: str = ""
    unnamed: tuple[str, ...] = ()
    hinted: bool = False
    document: Mapping[str, str | None] = field(default_factory=dict, compare=False)

    @property
    def kinds(self) -> dict[str, str]:
        """MLflow's type name of each input column."""
        return {column.name: column.type for column in self.columns}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the input columns."""
        return tuple(column.name for column in self.columns)


def read_signature(mlmodel: Mapping[str, Any]) -> Signature:
    """Read the signature of a parsed MLmodel file; one without a signature gives an empty one."""
    hinted = mlmodel.get("is_signature_from_type_hint") is True
    return signature_of(mlmodel.get("signature") or {}, hinted=hinted)


def signature_of(document: Mapping[str, Any], *, hinted: bool = False) -> Signature:
    """Read a signature as MLflow writes it into an MLmodel file.

    Args:
        document: Has `inputs`, `outputs` and `params`, each JSON in a text, or lacks them.
        hinted: Whether it comes from a type hint.
    """
    inputs = json.loads(document.get("inputs") or "[]")
    outputs = json.loads(document.get("outputs") or "[]")
    columns = tuple(
        Column(item["name"], _type_name(item["type"]), item.get("required", True))
        for item in inputs
        if item.get("name") is not None and item.get("type") != "tensor"
    )
    unnamed = tuple(
        _type_name(item["type"])
        for item in inputs
        if item.get("name") is None and item.get("type") != "tensor"
    )
    return Signature(
        columns=columns if len(columns) == len(inputs) else (),
        tensor=_tensor(inputs),
        outputs=tuple(item["name"] for item in outputs if item.get("name") is not None),
        n_outputs=_n_outputs(outputs),
        output_type=_output_type(outputs),
        unnamed=unnamed if len(unnamed) == len(inputs) else (),
        hinted=hinted,
        document={k: v for k, v in document.items() if k in ("inputs", "outputs", "params")},
    )


def _type_name(kind: object) -> str:
    return kind if isinstance(kind, str) else "object"


def _tensor(inputs: list[dict[str, Any]]) -> tuple[str, tuple[int, ...]] | None:
    if len(inputs) != 1 or inputs[0].get("type") != "tensor" or inputs[0].get("name"):
        return None
    spec = inputs[0]["tensor-spec"]
    return spec["dtype"], tuple(spec["shape"])


def _n_outputs(outputs: list[dict[str, Any]]) -> int:
    if len(outputs) != 1 or outputs[0].get("type") != "tensor":
        return len(outputs)
    inner = outputs[0]["tensor-spec"]["shape"][1:]
    return math.prod(inner) if all(size > 0 for size in inner) else 0


def _output_type(outputs: list[dict[str, Any]]) -> str:
    if not outputs:
        return ""
    if outputs[0].get("type") == "tensor":
        return str(outputs[0]["tensor-spec"]["dtype"])
    return _type_name(outputs[0].get("type", ""))
