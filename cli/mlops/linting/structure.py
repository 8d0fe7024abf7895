"""Which fields a kind has, of which type: what the API server prunes or refuses.

The schemas are the reduced ones of `schemas/kinds.json`. A CRD's server prunes an unknown field
silently; here it is an error. What is left after the check, `cleaned`, has only fields of the
kind with values of the right type, so that a rule need not ask again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from typing import Any, TypeAlias

from mlops.errors import did_you_mean
from mlops.linting.base import Problem
from mlops.linting.documents import Document, Path, is_placeholder

#: A parsed JSON Schema, of the reduced form that `schemas/README.md` describes.
Schema: TypeAlias = Mapping[str, Any]

_OPEN = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_QUANTITY = re.compile(
    r"[+-]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?(\d+(\.\d*)?|\.\d+))?"
)
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_WORDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
}
_EMPTY: Mapping[str, Any] = {"object": {}, "array": [], "string": "", "boolean": False}

#: A value that another program puts in, where the kind has something else than text.
_FILLED_IN = "filled-in"
#: In place of such a value: the field counts as missing.
_ABSENT = object()

UNKNOWN, TYPE, MISSING, VALUE = "unknown-field", "wrong-type", "missing-field", "wrong-value"


@lru_cache(maxsize=1)
def _tables() -> Mapping[str, Schema]:
    text = (files("mlops.linting") / "schemas" / "kinds.json").read_text(encoding="utf-8")
    tables: Mapping[str, Schema] = json.loads(text)
    return tables


def known_kinds() -> frozenset[str]:
    """Return every `group/version/Kind` with a schema."""
    return frozenset(_tables()["kinds"])


def builtin_kinds() -> Mapping[str, tuple[str, ...]]:
    """Return all kinds of Kubernetes' own stable groups, by `group/version`."""
    return {version: tuple(kinds) for version, kinds in _tables()["builtin"].items()}


def schema_of(document: Document) -> Schema | None:
    """Return the schema of a document's kind, None if it is not known."""
    found: Schema | None = _tables()["kinds"].get(f"{document.api_version}/{document.kind}")
    return found


def cleaned(document: Document, schema: Schema) -> tuple[Document, list[tuple[str, Problem]]]:
    """Check a document against its schema.

    Returns:
        The document with nothing but what the schema knows, and what was wrong, each with the id
        of its rule.
    """
    found: list[tuple[str, Problem]] = []
    data = _clean(document.data, schema, (), found)
    filled_in = tuple(problem.path for rule, problem in found if rule == _FILLED_IN)
    kept = replace(document, data=data if isinstance(data, dict) else {}, filled_in=filled_in)
    return kept, [each for each in found if each[0] != _FILLED_IN]


def _clean(value: object, schema: Schema, path: Path, found: list[tuple[str, Problem]]) -> Any:  # noqa: ANN401 - parsed YAML
    schema = _tables()["definitions"][schema["$ref"]] if "$ref" in schema else schema
    kind = schema.get("type", "")
    if isinstance(value, str if kind in ("", "object") else str | dict) and is_placeholder(value):
        if kind in ("", "string") and isinstance(value, str):
            return value
        found.append((_FILLED_IN, Problem(path, "")))
        return _EMPTY.get(kind, _ABSENT)
    if value is None:
        # A key without a value counts as missing; in a list it has a meaning.
        return _EMPTY.get(kind, 0)
    if schema.get(_INT_OR_STRING):
        kind_fits = isinstance(value, int | float | str) and not isinstance(value, bool)
        if not kind_fits:
            found.append((TYPE, Problem(path, f"must be a number or a string, not {_said(value)}")))
            return 0
        found += [(VALUE, Problem(path, text)) for text in _quantity(value, schema)]
        return value
    if kind and not _fits(value, kind):
        found.append((TYPE, Problem(path, _wrong(value, kind))))
        return _EMPTY.get(kind, 0)
    found += [(VALUE, Problem(path, text)) for text in _bounds(value, schema)]
    if isinstance(value, dict):
        return _mapping(value, schema, path, found)
    if isinstance(value, list) and "items" in schema:
        items = [_clean(item, schema["items"], (*path, i), found) for i, item in enumerate(value)]
        return [0 if item is _ABSENT else item for item in items]
    return value


def _mapping(
    value: dict[str, Any], schema: Schema, path: Path, found: list[tuple[str, Problem]]
) -> dict[str, Any]:
    properties, others = schema.get("properties"), schema.get("additionalProperties")
    clean = {}
    for key, item in value.items():
        inner = (properties or {}).get(key, others)
        if inner is not None:
            kept = None if item is None else _clean(item, inner, (*path, key), found)
            if kept is not None and kept is not _ABSENT:
                clean[key] = kept
        elif properties is not None and not schema.get(_OPEN):
            # Without a value it changes nothing; a patch takes a field away like this.
            if item is not None and key != "$patch":
                hint = did_you_mean(key, properties) or ""
                told = f"unknown field `{key}`. {hint}".strip().removesuffix(".")
                found.append((UNKNOWN, Problem((*path, key), told)))
        else:
            clean[key] = item
    found += [
        (MISSING, Problem(path, f"`{key}` is missing"))
        for key in schema.get("required", ())
        if value.get(key) is None
    ]
    return clean


def _fits(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _wrong(value: object, kind: str) -> str:
    text = f"must be {_WORDS[kind]}, not {_said(value)}"
    if kind == "string" and not isinstance(value, dict | list):
        text += "; write it in quotes"
    return text


def _said(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    first, _, rest = str(value).partition("\n")
    return f"`{first[:57]}…`" if rest or len(first) > 60 else f"`{first}`"


def _quantity(value: object, schema: Schema) -> Iterator[str]:
    if schema.get("format") == "quantity" and not _QUANTITY.fullmatch(str(value)):
        yield f"`{value}` is not a quantity such as `500m`, `2`, `512Mi` or `2G`"


def _bounds(value: object, schema: Schema) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(f"`{each}`" for each in schema["enum"])
        yield f"must be one of {allowed}, not {_said(value)}"
    if "pattern" in schema and isinstance(value, str) and not _matches(schema["pattern"], value):
        yield f"`{value}` does not match `{schema['pattern']}`"
    if isinstance(value, int | float):
        if value < schema.get("minimum", value):
            yield f"must be at least {schema['minimum']}, not {value}"
        if value > schema.get("maximum", value):
            yield f"must be at most {schema['maximum']}, not {value}"
    for kind, key, word in ((str, "Length", "characters"), (list, "Items", "items")):
        if isinstance(value, kind):
            if len(value) < schema.get(f"min{key}", 0):
                yield f"must have at least {schema[f'min{key}']} {word}"
            if len(value) > schema.get(f"max{key}", len(value)):
                yield f"must have at most {schema[f'max{key}']} {word}"


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except re.error:
        # Go's dialect differs in places; what Python cannot read is left to the API server.
        return None


def _matches(pattern: str, value: str) -> bool:
    compiled = _compiled(pattern)
    return compiled is None or compiled.search(value) is not None
