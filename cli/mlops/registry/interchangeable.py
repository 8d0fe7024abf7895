"""Whether two models can answer the same requests, as far as their MLmodel files say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from mlops.errors import MlopsError
from mlops.registry.answers import answer_kind
from mlops.registry.details import read_model_file

# Both are numbers to who asks.
_NUMBERS = ("number", "whole")


def are_interchangeable(first: str, second: str) -> bool:
    """Say whether the models in two folders take the same rows and answer in the same kind.

    Args:
        first: Artifact URI of a model's folder.
        second: That of the other.

    Returns:
        False if they certainly do not; True also where a model does not say, or cannot be read.
    """
    return _fit(_document(first), _document(second))


def _fit(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Say the same of two parsed MLmodel files.

    >>> def takes(inputs, answers="double"):
    ...     outputs = json.dumps([{"type": answers}])
    ...     return {"signature": {"inputs": json.dumps(inputs), "outputs": outputs}}
    >>> a, b = {"name": "a", "type": "double"}, {"name": "b", "type": "double"}
    >>> _fit(takes([a, b]), takes([b, a])), _fit(takes([a]), takes([a, b])), _fit(takes([a]), {})
    (True, False, True)
    >>> _fit(takes([a]), takes([a], "long")), _fit(takes([a]), takes([a], "string"))
    (True, False)
    """
    pairs = zip(_claims(first), _claims(second), strict=True)
    return all(ours == theirs or not (ours and theirs) for ours, theirs in pairs)


def _claims(mlmodel: Mapping[str, Any]) -> tuple[object, object]:
    """What it takes and what kind of answer it gives; empty where it does not say."""
    inputs = json.loads((mlmodel.get("signature") or {}).get("inputs") or "[]")
    names = sorted(str(each["name"]) for each in inputs if "name" in each)
    kind = answer_kind(mlmodel)
    return names or json.dumps(inputs) * bool(inputs), "number" if kind in _NUMBERS else kind


def _document(source: str) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(read_model_file(source, "MLmodel") or "")
    except (MlopsError, OSError, yaml.YAMLError):
        return {}
    return document if isinstance(document, Mapping) else {}
