"""Write `kinds.json` of `mlops.linting`: `python -m tests.linting.make_schemas FILE|FOLDER…`.

Takes CustomResourceDefinitions (YAML or JSON, as `README.md` beside `kinds.json` lists them) and
the schemas of Kubernetes itself, which the package `kubernetes-validate` brings, and keeps what a
check of manifests needs. What occurs twice, such as a pod, is written once. Where the same version
of a kind is given twice, the later file counts.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import kubernetes_validate
import yaml

Schema: TypeAlias = Any

KUBERNETES = "1.34.0"
OUTPUT = Path(__file__).parents[2] / "cli" / "mlops" / "linting" / "schemas" / "kinds.json"

#: Stable kinds whose fields are not checked: schemas of schemas, and what is never written by hand.
_UNCHECKED = ("CustomResourceDefinition", "Status", "TokenReview", "Binding", "Eviction", "Scale")
_KEPT = (
    "type",
    "required",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "nullable",
)
#: Fields that came after 2.6.0, whose schemas are under another licence: only their names are kept.
_LATER = {
    "mlops.seldon.io/v1alpha1/Model": ("spec.dataflow", "spec.llm"),
    "mlops.seldon.io/v1alpha1/Pipeline": (
        "spec.allowCycles",
        "spec.dataflow",
        "spec.maxStepRevisits",
    ),
    "mlops.seldon.io/v1alpha1/Server": (
        "spec.deploymentStrategy",
        "spec.statefulSetPersistentVolumeClaimRetentionPolicy",
    ),
    "mlops.seldon.io/v1alpha1/SeldonConfig": (
        "spec.components.annotations",
        "spec.components.labels",
        "spec.config.kafkaConfig.consumerGroupIdPrefix",
        "spec.config.kafkaConfig.topics",
        "spec.config.scalingConfig",
        "spec.config.tracingConfig.otelExporterProtocol",
    ),
    "mlops.seldon.io/v1alpha1/SeldonRuntime": (
        "spec.config.kafkaConfig.consumerGroupIdPrefix",
        "spec.config.kafkaConfig.topics",
        "spec.config.scalingConfig",
        "spec.config.tracingConfig.otelExporterProtocol",
        "spec.overrides.podSpec",
    ),
}
#: Required in 2.6.0 and no longer in 2.10.
_OPTIONAL = {"mlops.seldon.io/v1alpha1/ServerConfig": ("spec", "volumeClaimTemplates")}
_INT_OR_STRING = "x-kubernetes-int-or-string"
_OPEN = "x-kubernetes-preserve-unknown-fields"
_QUANTITY = {_INT_OR_STRING: True, "format": "quantity"}
_PREFIX = "io.k8s.api."
_METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def kinds(crds: Iterable[Path]) -> dict[str, Schema]:
    """Return `{"kinds": {"group/version/Kind": schema}, "definitions": {…}, "builtin": {…}}`."""
    core = _core_definitions()
    builtin = _builtin(core)
    metadata = _reduce(core, core[_METADATA])
    found = {
        f"{version}/{kind}": _reduce(core, core[name] | {"x-root": True})
        for version, names in builtin.items()
        for kind, name in names.items()
        if name and "metadata" in core[name]["properties"] and kind not in _UNCHECKED
    }
    for crd in (crd["spec"] for path in crds for crd in _documents(path)):
        for version in crd["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            name = f"{crd['group']}/{version['name']}/{crd['names']['kind']}"
            found[name] = _reduce({}, schema | {"x-root": True})
    for schema in found.values():
        schema["properties"]["metadata"] = metadata
    for kind, fields in _LATER.items():
        for path in fields if kind in found else ():
            _opened(found[kind], path.split("."))
    for kind, (part, field) in _OPTIONAL.items():
        if kind in found:
            found[kind]["properties"][part]["required"].remove(field)
    return _shared(found) | {"builtin": {v: sorted(names) for v, names in builtin.items()}}


def _documents(path: Path) -> Iterator[Any]:
    """Yield the CustomResourceDefinitions of a file, or of all files of a folder."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix in (".json", ".yaml") and file.is_file():
                yield from _documents(file)
        return
    for document in yaml.load_all(path.read_text(), yaml.CSafeLoader):
        if document and "versions" in document.get("spec", {}):
            yield document


def _opened(schema: Schema, path: list[str]) -> None:
    """Add a field of which nothing but its name is known."""
    schema = schema.get("items", schema)
    if len(path) == 1:
        schema["properties"][path[0]] = {_OPEN: True}
    else:
        _opened(schema["properties"][path[0]], path[1:])


def _builtin(core: Mapping[str, Schema]) -> dict[str, dict[str, str]]:
    """Return every kind of Kubernetes' own stable groups and its definition, by `group/version`."""
    found: dict[str, dict[str, str]] = {"v1": {"List": ""}}
    for definition, schema in sorted(core.items()):
        names = schema.get("x-kubernetes-group-version-kind", ())
        # What belongs to every group, such as DeleteOptions, is no object.
        if len(names) == 1 and re.fullmatch(r"v[0-9]+", names[0]["version"]):
            group, version, kind = (names[0][key] for key in ("group", "version", "kind"))
            kinds = found.setdefault(f"{group}/{version}".removeprefix("/"), {})
            kinds[kind] = "" if kind.endswith("List") else definition
    return dict(sorted(found.items()))


def _core_definitions() -> Mapping[str, Schema]:
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    document = json.loads((folder / f"v{KUBERNETES}-local" / "_definitions.json").read_text())
    definitions: Mapping[str, Schema] = document["$defs"]
    return definitions


def _reduce(definitions: Mapping[str, Schema], schema: Schema) -> Schema:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name.endswith(".Quantity"):
            return _QUANTITY
        return _reduce(definitions, definitions[name])
    if schema.get(_INT_OR_STRING) or "oneOf" in schema:
        return _QUANTITY if "[KMGTPE]i" in schema.get("pattern", "") else {_INT_OR_STRING: True}
    kept = {key: schema[key] for key in _KEPT if key in schema}
    if isinstance(kept.get("type"), list):
        # Kubernetes' own schemas say of every optional field that it may be null.
        kept["type"] = next(each for each in kept["type"] if each != "null")
    if isinstance(kept.get("enum"), list) and None in kept["enum"]:
        kept["enum"] = [each for each in kept["enum"] if each is not None]
    if schema.get(_OPEN):
        kept[_OPEN] = True
    if "properties" in schema:
        properties = {
            key: _reduce(definitions, item) for key, item in sorted(schema["properties"].items())
        }
        if schema.get("x-root"):
            properties["status"] = {_OPEN: True}
            # One line says which kind it is; whether that is right is asked elsewhere.
            properties |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
        kept["properties"] = properties
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            kept[key] = _reduce(definitions, schema[key])
    return kept


def _shared(found: dict[str, Schema]) -> dict[str, Schema]:
    """Write each object that occurs more than once as a definition."""
    texts = Counter(text for schema in found.values() for text in _objects(schema))
    names = {
        text: str(number) for number, text in enumerate(sorted(t for t in texts if texts[t] > 1))
    }

    def replaced(schema: Schema, *, top: bool = False) -> Schema:
        text = _text(schema)
        if not top and text in names:
            return {"$ref": names[text]}
        copy = dict(schema)
        for key in ("items", "additionalProperties"):
            if key in copy:
                copy[key] = replaced(copy[key])
        if "properties" in copy:
            copy["properties"] = {k: replaced(v) for k, v in copy["properties"].items()}
        return copy

    return {
        "kinds": {kind: replaced(schema) for kind, schema in sorted(found.items())},
        "definitions": {n: replaced(json.loads(text), top=True) for text, n in names.items()},
    }


def _objects(schema: Schema) -> Iterator[str]:
    if "properties" in schema:
        yield _text(schema)
        for item in schema["properties"].values():
            yield from _objects(item)
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from _objects(schema[key])


def _text(schema: Schema) -> str:
    return json.dumps(schema, sort_keys=True)


def expanded(document: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return every kind's schema with all definitions put in."""

    def whole(schema: Schema) -> Schema:
        if isinstance(schema, list):
            return [whole(item) for item in schema]
        if not isinstance(schema, Mapping):
            return schema
        if isinstance(schema.get("$ref"), str):
            return whole(document["definitions"][schema["$ref"]])
        return {key: whole(item) for key, item in schema.items()}

    return {kind: whole(schema) for kind, schema in document["kinds"].items()}


def written(document: Mapping[str, Schema]) -> str:
    """Return the file's text: one definition a line, so that a change can be read."""
    parts = []
    for key, table in document.items():
        lines = ",\n".join(
            f"{json.dumps(name)}: {json.dumps(item, sort_keys=True, separators=(',', ':'))}"
            for name, item in table.items()
        )
        parts.append(f"{json.dumps(key)}: {{\n{lines}\n}}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    OUTPUT.write_text(written(kinds(Path(each) for each in sys.argv[1:])))
