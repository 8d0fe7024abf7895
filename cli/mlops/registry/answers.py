"""What a model takes and answers, as far as its MLmodel file says: its signature, `predict_fn`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from mlops.errors import MlopsError
from mlops.registry.details import read_model_file
from mlops.rewards import AnswerKind
from mlops.spec.model import ModelVersion

_KINDS: Mapping[str, AnswerKind] = {
    "double": "number",
    "float": "number",
    "long": "whole",
    "integer": "whole",
    "boolean": "boolean",
    "string": "text",
}
#: Of NumPy's type names, their beginnings.
_TENSORS: tuple[tuple[str, AnswerKind], ...] = (
    ("float", "number"),
    ("int", "whole"),
    ("uint", "whole"),
    ("bool", "boolean"),
    ("str", "text"),
    ("object", "text"),
)


def read_answer_kind(model: ModelVersion) -> AnswerKind:
    """Say what a model answers for a row; empty if that is not declared, or cannot be read."""
    return answer_kind(_mlmodel(model))


def read_input_names(model: ModelVersion) -> tuple[str, ...]:
    """Return the names of a model's columns; empty if they have none, or cannot be read."""
    inputs = json.loads((_mlmodel(model).get("signature") or {}).get("inputs") or "[]")
    names = [each.get("name") for each in inputs]
    return tuple(map(str, names)) if all(names) else ()


def _mlmodel(model: ModelVersion) -> Mapping[str, Any]:
    """Read the MLmodel file of a model; empty if it cannot be read.

    A bare URI that the registry does not know is used as given: rendering manifests does
    not need access to the store, and asking one that does not answer takes minutes.
    """
    foreign = "://" in model.source and not model.source.startswith("file:")
    if model.endpoint is not None or (foreign and not model.name):
        return {}
    try:
        document = yaml.safe_load(read_model_file(model.source, "MLmodel") or "")
    except (MlopsError, OSError, yaml.YAMLError):
        # Fetching the model will report what is wrong with it.
        return {}
    return document if isinstance(document, Mapping) else {}


def answer_kind(mlmodel: Mapping[str, Any]) -> AnswerKind:
    """Say what the model of a parsed MLmodel file answers for a row; empty if it does not say.

    Nothing distinguishes several unnamed numbers a row that are probabilities from other vectors;
    the first feedback does.

    >>> answer_kind({"flavors": {"python_function": {"predict_fn": "predict_proba"}}})
    'probabilities'
    >>> answer_kind({"signature": {"outputs": '[{"type": "string"}]'}}), answer_kind({})
    ('text', '')
    """
    function = (mlmodel.get("flavors") or {}).get("python_function") or {}
    if function.get("predict_fn") == "predict_proba":
        return "probabilities"
    outputs = json.loads((mlmodel.get("signature") or {}).get("outputs") or "[]")
    kinds = [_kind(output) for output in outputs]
    if len(kinds) < 2:
        return kinds[0] if kinds else ""
    return "several" if set(kinds) <= {"number", "whole"} else "other"


def _kind(output: Mapping[str, Any]) -> AnswerKind:
    if output.get("type") == "tensor":
        spec = output["tensor-spec"]
        named = (kind for name, kind in _TENSORS if str(spec["dtype"]).startswith(name))
        kind: AnswerKind = next(named, "other")
        wide = len(spec["shape"]) > 2 or (len(spec["shape"]) == 2 and spec["shape"][1] != 1)
        if not wide:
            return kind
        return "vector" if kind == "number" and len(spec["shape"]) == 2 else "several"
    name = output.get("type")
    return _KINDS.get(name, "other") if isinstance(name, str) else "other"
