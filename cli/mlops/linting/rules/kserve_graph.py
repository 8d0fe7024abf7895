"""InferenceGraphs: what the webhook refuses and what the router trips over.

Behaviour is that of kserve/kserve v0.20.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from mlops.linting.base import Context, Problem, Rule, maps, twice
from mlops.linting.documents import Document

_GRAPH = ("serving.kserve.io/InferenceGraph",)
_TARGETS = ("nodeName", "serviceName", "serviceUrl")
_VALIDATION = "kserve/kserve v0.20.0 pkg/apis/serving/v1alpha1/inference_graph_validation.go"
_ROUTER = "kserve/kserve v0.20.0 cmd/router/main.go"


def root(document: Document, context: Context) -> Iterator[Problem]:
    """Find a graph without an entry."""
    nodes = _nodes(document)
    if nodes and "root" not in nodes:
        yield Problem(("spec", "nodes"), "no node is called `root`")


def step_names(document: Document, context: Context) -> Iterator[Problem]:
    """Find two steps of one name."""
    for name, node in _nodes(document).items():
        steps = maps(node.get("steps"))
        for index, step in twice(str(step.get("name") or f"\0{i}") for i, step in enumerate(steps)):
            yield Problem(
                ("spec", "nodes", name, "steps", index), f"the name `{step}` is already used"
            )


def targets(document: Document, context: Context) -> Iterator[Problem]:
    """Find a step with no target, or with two."""
    for name, node in _nodes(document).items():
        for index, step in enumerate(maps(node.get("steps"))):
            given = [key for key in _TARGETS if step.get(key)]
            if len(given) != 1:
                said = " and ".join(f"`{key}`" for key in given) or "none"
                yield Problem(
                    ("spec", "nodes", name, "steps", index),
                    f"must have one of nodeName, serviceName and serviceUrl, not {said}",
                )


def weights(document: Document, context: Context) -> Iterator[Problem]:
    """Find a Splitter whose weights are not percentages."""
    for name, node in _nodes(document).items():
        if node.get("routerType") != "Splitter":
            continue
        steps = maps(node.get("steps"))
        for index, step in enumerate(steps):
            if step.get("weight") is None:
                yield Problem(("spec", "nodes", name, "steps", index), "`weight` is missing")
            elif not 0 <= step["weight"] <= 100:
                yield Problem(
                    ("spec", "nodes", name, "steps", index, "weight"),
                    f"must be from 0 to 100, not {step['weight']}",
                )
        total = sum(step.get("weight") or 0 for step in steps)
        if total != 100:
            yield Problem(("spec", "nodes", name, "steps"), f"the weights sum to {total}, not 100")


def node_names(document: Document, context: Context) -> Iterator[Problem]:
    """Find a step to a node that is not there."""
    nodes = _nodes(document)
    for name, node in nodes.items():
        for index, step in enumerate(maps(node.get("steps"))):
            wanted = step.get("nodeName")
            if wanted and wanted not in nodes:
                yield Problem(
                    ("spec", "nodes", name, "steps", index, "nodeName"),
                    f"node `{wanted}` does not exist",
                )


def cycles(document: Document, context: Context) -> Iterator[Problem]:
    """Find nodes that lead back to themselves."""
    nodes = _nodes(document)
    after = {
        name: [str(step["nodeName"]) for step in maps(node.get("steps")) if step.get("nodeName")]
        for name, node in nodes.items()
    }
    for name, following in after.items():
        seen: set[str] = set()
        waiting = list(following)
        while waiting:
            found = waiting.pop()
            if found == name:
                yield Problem(("spec", "nodes", name), "is part of a cycle")
                break
            if found not in seen:
                seen.add(found)
                waiting += after.get(found, [])


def service_names(document: Document, context: Context) -> Iterator[Problem]:
    """Find a step to an InferenceService that none of the manifests makes."""
    if not context.beside(document, "InferenceService"):
        return
    made = {each.name for each in context.of_kind("InferenceService")}
    for name, node in _nodes(document).items():
        for index, step in enumerate(maps(node.get("steps"))):
            wanted = step.get("serviceName")
            if wanted and wanted not in made:
                known = ", ".join(f"`{each}`" for each in sorted(made))
                yield Problem(
                    ("spec", "nodes", name, "steps", index, "serviceName"),
                    f"InferenceService `{wanted}` is not among these manifests; they make {known}",
                )


def service_url(document: Document, context: Context) -> Iterator[Problem]:
    """Find a URL without the model's path."""
    for name, node in _nodes(document).items():
        for index, step in enumerate(maps(node.get("steps"))):
            url = step.get("serviceUrl")
            if url and urlsplit(url).path in ("", "/"):
                yield Problem(
                    ("spec", "nodes", name, "steps", index, "serviceUrl"), f"`{url}` has no path"
                )


def _nodes(document: Document) -> Mapping[str, Mapping[str, Any]]:
    nodes = document.at("spec", "nodes")
    return nodes if isinstance(nodes, Mapping) else {}


RULES = (
    Rule("kserve/graph-root", "error", _GRAPH, root, "The webhook refuses it.", _VALIDATION),
    Rule("kserve/graph-names", "error", _GRAPH, step_names, "The webhook refuses it.", _VALIDATION),
    Rule("kserve/graph-target", "error", _GRAPH, targets, "The webhook refuses it.", _VALIDATION),
    Rule(
        "kserve/graph-weights",
        "error",
        _GRAPH,
        weights,
        "A Splitter's weights are percentages: every step has one, and they sum to 100.",
        _VALIDATION,
    ),
    Rule(
        "kserve/graph-node",
        "error",
        _GRAPH,
        node_names,
        "The webhook does not check this; requests that reach the step fail.",
        _ROUTER,
    ),
    Rule(
        "kserve/graph-cycle",
        "error",
        _GRAPH,
        cycles,
        "The webhook does not check this; a request that reaches the cycle never ends.",
        _ROUTER,
    ),
    Rule(
        "kserve/graph-service",
        "error",
        _GRAPH,
        service_names,
        "The webhook does not check this; the graph never becomes ready. A `serviceName` is an "
        "InferenceService of the same namespace.",
        "kserve/kserve v0.20.0 pkg/controller/v1alpha1/inferencegraph/controller.go",
    ),
    Rule(
        "kserve/graph-url",
        "error",
        _GRAPH,
        service_url,
        "The request is posted to exactly this URL: it needs the path, such as "
        "`/v2/models/NAME/infer`.",
        _ROUTER,
    ),
)
