"""Write `kinds.json` of `mlops.linting` anew: `python -m tests.linting.make_schemas CRD_FOLDER`.

Takes the schemas of CustomResourceDefinitions (one JSON file each, as `README.md` beside it lists
them) and those of Kubernetes itself, which the package `kubernetes-validate` brings, and keeps
what a check of rendered manifests needs. What occurs twice, such as a pod, is written once.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import kubernetes_validate

Schema: TypeAlias = Any

KUBERNETES = "1.34.0"
OUTPUT = Path(__file__).parents[2] / "cli" / "mlops" / "linting" / "schemas" / "kinds.json"

#: Kubernetes' own kinds that manifests of models consist of.
_CORE = {
    "v1/ConfigMap": "core.v1.ConfigMap",
    "v1/PersistentVolumeClaim": "core.v1.PersistentVolumeClaim",
    "v1/Secret": "core.v1.Secret",
    "v1/Service": "core.v1.Service",
    "v1/ServiceAccount": "core.v1.ServiceAccount",
    "apps/v1/Deployment": "apps.v1.Deployment",
    "apps/v1/StatefulSet": "apps.v1.StatefulSet",
    "autoscaling/v2/HorizontalPodAutoscaler": "autoscaling.v2.HorizontalPodAutoscaler",
    "networking.k8s.io/v1/Ingress": "networking.v1.Ingress",
    "networking.k8s.io/v1/NetworkPolicy": "networking.v1.NetworkPolicy",
    "policy/v1/PodDisruptionBudget": "policy.v1.PodDisruptionBudget",
}
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
    "mlops.seldon.io/v1alpha1/Model": ("dataflow", "llm"),
    "mlops.seldon.io/v1alpha1/Pipeline": ("allowCycles", "dataflow", "maxStepRevisits"),
    "mlops.seldon.io/v1alpha1/Server": (
        "deploymentStrategy",
        "statefulSetPersistentVolumeClaimRetentionPolicy",
    ),
}
_INT_OR_STRING = "x-kubernetes-int-or-string"
_OPEN = "x-kubernetes-preserve-unknown-fields"
_PREFIX = "io.k8s.api."


def kinds(crds: Path) -> dict[str, Schema]:
    """Return `{"kinds": {"group/version/Kind": schema}, "definitions": {…}, "builtin": {…}}`."""
    core = _core_definitions()
    metadata = _reduce(core, core["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"])
    found = {
        kind: _reduce(core, core[f"{_PREFIX}{name}"] | {"x-root": True})
        for kind, name in _CORE.items()
    }
    for path in sorted(crds.glob("*/*.json")):
        crd = json.loads(path.read_text())["spec"]
        for version in crd["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            name = f"{crd['group']}/{version['name']}/{crd['names']['kind']}"
            found[name] = _reduce({}, schema | {"x-root": True})
    for schema in found.values():
        schema["properties"]["metadata"] = metadata
    for kind, fields in _LATER.items():
        found[kind]["properties"]["spec"]["properties"] |= {key: {_OPEN: True} for key in fields}
    return _shared(found) | {"builtin": _builtin(core)}


def _builtin(core: Mapping[str, Schema]) -> dict[str, Schema]:
    """Name every kind of Kubernetes' own stable groups, by `group/version`."""
    found: dict[str, set[str]] = {"v1": {"List"}}
    for schema in core.values():
        names = schema.get("x-kubernetes-group-version-kind", ())
        # What belongs to every group, such as DeleteOptions, is no object.
        if len(names) == 1 and re.fullmatch(r"v[0-9]+", names[0]["version"]):
            group, version, kind = (names[0][key] for key in ("group", "version", "kind"))
            found.setdefault(f"{group}/{version}".removeprefix("/"), set()).add(kind)
    return {version: sorted(names) for version, names in sorted(found.items())}


def _core_definitions() -> Mapping[str, Schema]:
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    document = json.loads((folder / f"v{KUBERNETES}-local" / "_definitions.json").read_text())
    definitions: Mapping[str, Schema] = document["$defs"]
    return definitions


def _reduce(definitions: Mapping[str, Schema], schema: Schema) -> Schema:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _reduce(definitions, definitions[name])
    if schema.get(_INT_OR_STRING) or "oneOf" in schema:
        return {_INT_OR_STRING: True}
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
    OUTPUT.write_text(written(kinds(Path(sys.argv[1]))))
