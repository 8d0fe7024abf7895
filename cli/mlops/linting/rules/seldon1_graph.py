"""SeldonDeployments: the graph, its routers, and the model servers in it.

Behaviour is that of SeldonIO/seldon-core v1.18.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlops.errors import did_you_mean
from mlops.linting.base import Context, Problem, Rule, maps
from mlops.linting.documents import Document, Path
from mlops.linting.rules.seldon1 import (
    SDEP,
    WEBHOOK,
    containers,
    nodes,
    predictors,
    protocol_of,
    subtree,
)

_PROCESS = "SeldonIO/seldon-core v1.18.2 executor/predictor/predictor_process.go"
_ROUTERS = "SeldonIO/seldon-core v1.18.2 components/routers/"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_BUILT_IN = ("RANDOM_ABTEST", "SIMPLE_MODEL", "SIMPLE_ROUTER", "AVERAGE_COMBINER")
_DEAD = {
    "SIMPLE_MODEL": "echoes the request",
    "SIMPLE_ROUTER": "asks all children and answers with the first",
    "AVERAGE_COMBINER": "answers with the first child's answer",
}
_SERVERS = (
    "MLFLOW_SERVER", "SKLEARN_SERVER", "XGBOOST_SERVER", "TENSORFLOW_SERVER", "TRITON_SERVER",
    "HUGGINGFACE_SERVER", "TEMPO_SERVER",
)  # fmt: skip
_NOT_TENSORFLOW = ("SKLEARN_SERVER", "XGBOOST_SERVER", "MLFLOW_SERVER", "HUGGINGFACE_SERVER")
_ONLY_V2 = ("TRITON_SERVER", "HUGGINGFACE_SERVER", "TEMPO_SERVER")
_UNSET = ("", "UNKNOWN_IMPLEMENTATION", None)
# Below this a server that builds a conda environment is killed before it is done.
_LONG_S = 300


def node_names(document: Document, context: Context) -> Iterator[Problem]:
    """Find names that no container or Service can have."""
    for path, node in nodes(document):
        yield from _label((*path, "name"), node.get("name"))
    for index, predictor in enumerate(predictors(document)):
        yield from _label(("spec", "predictors", index, "name"), predictor.get("name"))
        for path, container in containers(predictor):
            yield from _label(("spec", "predictors", index, *path, "name"), container.get("name"))


def _label(path: Path, name: object) -> Iterator[Problem]:
    if name is not None and not (_LABEL.fullmatch(str(name)) and len(str(name)) <= 63):
        yield Problem(path, f"`{name}` is not a DNS label: use lower-case letters, digits and `-`")


def container(document: Document, context: Context) -> Iterator[Problem]:
    """Find nodes that nothing runs."""
    for index, predictor in enumerate(predictors(document)):
        named = {item.get("name") for _, item in containers(predictor)}
        root = predictor.get("graph") or {}
        for path, node in subtree(("spec", "predictors", index, "graph"), root):
            if node.get("implementation") in _UNSET and node.get("name") not in named:
                yield Problem(path, f"`{node.get('name')}` has no implementation and no container")


def methods(document: Document, context: Context) -> Iterator[Problem]:
    """Find a node of unknown type that says not what it does."""
    for path, node in nodes(document):
        typed = node.get("type") != "UNKNOWN_TYPE" or node.get("methods")
        if not typed and node.get("implementation") in _UNSET:
            yield Problem((*path, "type"), "UNKNOWN_TYPE needs `methods`")


def model_uri(document: Document, context: Context) -> Iterator[Problem]:
    """Find a prepackaged server without a model."""
    for path, node in nodes(document):
        implementation = node.get("implementation")
        if implementation in (*_UNSET, *_BUILT_IN, "HUGGINGFACE_SERVER"):
            continue
        if not node.get("modelUri"):
            yield Problem((*path, "implementation"), f"`{implementation}` needs `modelUri`")


def implementation(document: Document, context: Context) -> Iterator[Problem]:
    """Find a server that the operator does not provide."""
    for path, node in nodes(document):
        named = node.get("implementation")
        if named not in (*_UNSET, *_BUILT_IN, *_SERVERS):
            hint = did_you_mean(str(named), (*_SERVERS, *_BUILT_IN)) or ""
            yield Problem(
                (*path, "implementation"),
                f"`{named}` is not a server that Seldon Core has. {hint}".strip(),
            )


def dead(document: Document, context: Context) -> Iterator[Problem]:
    """Find built-ins that died with the Java engine."""
    for path, node in nodes(document):
        named = node.get("implementation")
        if named in _DEAD:
            yield Problem((*path, "implementation"), f"`{named}` {_DEAD[named]}")


def protocol(document: Document, context: Context) -> Iterator[Problem]:
    """Find a server that does not speak the protocol."""
    spoken = protocol_of(document)
    for path, node in nodes(document):
        named = node.get("implementation")
        if (spoken == "tensorflow" and named in _NOT_TENSORFLOW) or (
            spoken == "seldon" and named in _ONLY_V2
        ):
            yield Problem((*path, "implementation"), f"`{named}` does not speak `{spoken}`")


def logger_mode(document: Document, context: Context) -> Iterator[Problem]:
    """Find a logger without a mode."""
    for path, node in nodes(document):
        if node.get("logger") is not None and not node["logger"].get("mode"):
            yield Problem((*path, "logger"), "`mode` is missing")


def logger_url(document: Document, context: Context) -> Iterator[Problem]:
    """Find a logger that says not where to."""
    for path, node in nodes(document):
        if node.get("logger") is not None and not node["logger"].get("url"):
            yield Problem((*path, "logger"), "`url` is missing")


def shadow_logger(document: Document, context: Context) -> Iterator[Problem]:
    """Find a shadow whose payloads mix with those of what it shadows."""
    urls = {
        node["logger"].get("url")
        for path, node in nodes(document)
        if node.get("logger") and not predictors(document)[int(path[2])].get("shadow")
    }
    for path, node in nodes(document):
        shadow = predictors(document)[int(path[2])].get("shadow")
        if shadow and node.get("logger") and node["logger"].get("url") in urls:
            yield Problem((*path, "logger"), "logs to the same URL as the main predictor")


def parameter(document: Document, context: Context) -> Iterator[Problem]:
    """Find a value that is not of its type."""
    for path, node in nodes(document):
        for index, item in enumerate(maps(node.get("parameters"))):
            text = str(item.get("value", ""))
            if not _parses(text, str(item.get("type"))):
                yield Problem(
                    (*path, "parameters", index, "value"), f"`{text}` is not of type {item['type']}"
                )


def _parses(text: str, kind: str) -> bool:
    try:
        if kind == "INT":
            int(text)
        elif kind in ("FLOAT", "DOUBLE"):
            float(text)
    except ValueError:
        return False
    return True


def abtest_children(document: Document, context: Context) -> Iterator[Problem]:
    """Find an A/B test of other than two."""
    for path, node in _abtests(document):
        count = len(maps(node.get("children")))
        if count != 2:
            yield Problem(path, f"RANDOM_ABTEST must have two children, not {count}")


def abtest_parameter(document: Document, context: Context) -> Iterator[Problem]:
    """Find a split that is not taken."""
    for path, node in _abtests(document):
        given = [item.get("name") for item in maps(node.get("parameters"))]
        if given and given != ["ratioA"]:
            said = ", ".join(f"`{name}`" for name in given)
            yield Problem(
                (*path, "parameters"), f"RANDOM_ABTEST takes one parameter, `ratioA`, not {said}"
            )
        elif not given:
            yield Problem(path, "the parameter `ratioA` is missing")


def abtest_ratio(document: Document, context: Context) -> Iterator[Problem]:
    """Find a share that is none."""
    for path, node in _abtests(document):
        for index, item in enumerate(maps(node.get("parameters"))):
            text = str(item.get("value", ""))
            if (
                item.get("name") == "ratioA"
                and _parses(text, "FLOAT")
                and not 0 <= float(text) <= 1
            ):
                yield Problem(
                    (*path, "parameters", index, "value"), f"must be from 0 to 1, not {text}"
                )


def abtest_type(document: Document, context: Context) -> Iterator[Problem]:
    """Find a built-in router with the type of a router."""
    for path, node in _abtests(document):
        if node.get("type") not in (None, "UNKNOWN_TYPE"):
            yield Problem((*path, "type"), f"RANDOM_ABTEST must have no type, not {node['type']}")


def branches(document: Document, context: Context) -> Iterator[Problem]:
    """Find a bandit that does not know how many arms it has."""
    for path, node in nodes(document):
        for index, item in enumerate(maps(node.get("parameters"))):
            if item.get("name") != "n_branches" or not _parses(str(item.get("value")), "INT"):
                continue
            count = len(maps(node.get("children")))
            if int(str(item["value"])) != count:
                yield Problem(
                    (*path, "parameters", index, "value"),
                    f"must be the number of children, {count}, not {item['value']}",
                )


def epsilon(document: Document, context: Context) -> Iterator[Problem]:
    """Find a probability that is none."""
    for path, node in nodes(document):
        for index, item in enumerate(maps(node.get("parameters"))):
            text = str(item.get("value", ""))
            if (
                item.get("name") == "epsilon"
                and _parses(text, "FLOAT")
                and not 0 <= float(text) <= 1
            ):
                yield Problem(
                    (*path, "parameters", index, "value"), f"must be from 0 to 1, not {text}"
                )


def bandit_replicas(document: Document, context: Context) -> Iterator[Problem]:
    """Find several copies of a router that learns."""
    for index, predictor in enumerate(predictors(document)):
        routes = any(
            node.get("type") == "ROUTER" for _, node in subtree((), predictor.get("graph") or {})
        )
        count = predictor.get("replicas") or document.at("spec", "replicas") or 1
        if routes and count > 1:
            yield Problem(
                ("spec", "predictors", index), f"{count} replicas of a router that learns"
            )


def probes(document: Document, context: Context) -> Iterator[Problem]:
    """Find a server that is killed while it builds its environment."""
    if protocol_of(document) != "seldon":
        return
    for path, node in nodes(document):
        if node.get("implementation") != "MLFLOW_SERVER":
            continue
        own = _container(document, int(path[2]), node)
        if own.get("image"):
            continue
        liveness = own.get("livenessProbe") or {}
        patience = (liveness.get("initialDelaySeconds") or 0) + (
            liveness.get("periodSeconds") or 10
        ) * (liveness.get("failureThreshold") or 3)
        if not liveness or patience < _LONG_S:
            said = f"gives up after {patience} s" if liveness else "is the default one"
            yield Problem(path, f"the liveness probe of `{node.get('name')}` {said}")


def stock_server(document: Document, context: Context) -> Iterator[Problem]:
    """Find Seldon's own MLflow server."""
    for path, node in nodes(document):
        if node.get("implementation") != "MLFLOW_SERVER":
            continue
        if _container(document, int(path[2]), node).get("image"):
            continue
        said = (
            "builds the model's conda environment when its pod starts"
            if protocol_of(document) == "seldon"
            else "is MLServer 1.3.5 with Python 3.8"
        )
        yield Problem((*path, "implementation"), f"the server of `{node.get('name')}` {said}")


def _container(document: Document, index: int, node: Mapping[str, Any]) -> Mapping[str, Any]:
    for _, item in containers(predictors(document)[index]):
        if item.get("name") == node.get("name"):
            return item
    return {}


def _abtests(document: Document) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for path, node in nodes(document):
        if node.get("implementation") == "RANDOM_ABTEST":
            yield path, node


RULES = (
    Rule("seldon/node-name", "error", SDEP, node_names,
         "Names of predictors, nodes and containers become names of containers and Services.",
         "https://kubernetes.io/docs/concepts/overview/working-with-objects/names/"),
    Rule("seldon/no-container", "error", SDEP, container,
         "The webhook refuses it: \"Can't find container for Predictive Unit\".", WEBHOOK),
    Rule("seldon/no-methods", "error", SDEP, methods,
         'The webhook refuses it: "no implementation methods defined".', WEBHOOK),
    Rule("seldon/no-model-uri", "error", SDEP, model_uri,
         'The webhook refuses it: "modelUri required".', WEBHOOK),
    Rule("seldon/implementation", "warning", SDEP, implementation,
         "The webhook refuses it, \"No entry in predictors map\", unless the operator's "
         "configuration has a server of this name.", WEBHOOK),
    Rule("seldon/dead-implementation", "error", SDEP, dead,
         "Only the Java engine implemented it. The CRD and the webhook still accept it; the "
         "executor does not know it.", _PROCESS),
    Rule("seldon/server-protocol", "error", SDEP, protocol,
         "The webhook refuses it, or no image exists for it.",
         "SeldonIO/seldon-core v1.18.2 helm-charts/seldon-core-operator/values.yaml"),
    Rule("seldon/logger-mode", "error", SDEP, logger_mode,
         'The webhook refuses it: "No logger mode specified".', WEBHOOK),
    Rule("seldon/logger-url", "warning", SDEP, logger_url,
         "Payloads go to `http://default-broker`, which rarely exists; after 10,000 they are "
         "dropped.",
         "SeldonIO/seldon-core v1.18.2 executor/logger/worker.go"),
    Rule("seldon/shadow-logger", "warning", SDEP, shadow_logger,
         "Payloads of both arrive under one request id; only `ce-endpoint` tells them apart.",
         "SeldonIO/seldon-core v1.18.2 executor/logger/worker.go"),
    Rule("seldon/parameter", "error", SDEP, parameter,
         "The microservice ends with MICROSERVICE_BAD_PARAMETER; the executor takes its default.",
         "SeldonIO/seldon-core v1.18.2 python/seldon_core/microservice.py"),
    Rule("seldon/abtest-children", "error", SDEP, abtest_children,
         "A third child is never called; with a single child the executor panics on half of the "
         "requests.",
         _PROCESS),
    Rule("seldon/abtest-parameter", "error", SDEP, abtest_parameter,
         "The executor reads `ratioA` only if it is the sole parameter and is called exactly so; "
         "else it splits 50:50.", _PROCESS),
    Rule("seldon/abtest-ratio", "error", SDEP, abtest_ratio,
         "It is the probability of the first child.", _PROCESS),
    Rule("seldon/abtest-type", "error", SDEP, abtest_type,
         "With a type, the executor calls a router service that does not exist.", _PROCESS),
    Rule("seldon/branches", "error", SDEP, branches,
         "The bandit draws among `n_branches`; one more than there are children panics the "
         "executor.",
         _ROUTERS),
    Rule("seldon/epsilon", "error", SDEP, epsilon, "It is a probability.", _ROUTERS),
    Rule("seldon/bandit-replicas", "warning", SDEP, bandit_replicas,
         "Seldon's bandits learn in the memory of their process: each replica learns from its own"
         " share of the feedback, and loses its state when it restarts.", _ROUTERS),
    Rule("seldon/short-probes", "warning", SDEP, probes,
         "The server creates the model's conda environment before it answers, which takes "
         "minutes. The default probe (60 s, then 3 times 5 s) kills it first, repeatedly "
         "(SeldonIO/seldon-core#1922, #4378, #4751). Give its container a long liveness probe, or"
         " an image that has the packages.",
         "SeldonIO/seldon-core v1.18.2 servers/mlflowserver/"),
    Rule("seldon/stock-server", "warning", SDEP, stock_server,
         "Under protocol seldon it needs the internet and some minutes at every start, and an old"
         " Python wrapper around the model's packages; under v2 it has Python 3.8 and an MLflow "
         "from 2023, which cannot read what a current MLflow logs. Set `image` on the container "
         "of the node's name.",
         "SeldonIO/seldon-core v1.18.2 helm-charts/seldon-core-operator/values.yaml"),
)  # fmt: skip
