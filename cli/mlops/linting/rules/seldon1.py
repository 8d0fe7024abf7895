"""SeldonDeployments: predictors, traffic, gateways, feedback, licence.

Behaviour is that of SeldonIO/seldon-core v1.18.2, whose operator and executor differ from v1.17.1,
the last under Apache-2.0, in nothing that matters here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.version import InvalidVersion, Version

from mlops.errors import did_you_mean
from mlops.linting.base import Context, Problem, Rule, maps, twice
from mlops.linting.documents import Document, Path

SDEP = ("machinelearning.seldon.io/SeldonDeployment",)
LAST_APACHE = Version("1.17.1")
WEBHOOK = (
    "SeldonIO/seldon-core v1.18.2 operator/apis/machinelearning.seldon.io/v1/"
    "seldondeployment_webhook.go"
)
CONTROLLER = "SeldonIO/seldon-core v1.18.2 operator/controllers/seldondeployment_controller.go"
_JAVA_ENGINE = (
    "SELDON_LOG_REQUESTS",
    "SELDON_LOG_RESPONSES",
    "SELDON_LOG_MESSAGES_EXTERNALLY",
    "SELDON_LOG_MESSAGE_TYPE",
)
_KAFKA = ("KAFKA_BROKER", "KAFKA_INPUT_TOPIC", "KAFKA_OUTPUT_TOPIC")
_TYPES = ("MODEL", "ROUTER", "COMBINER", "TRANSFORMER", "OUTPUT_TRANSFORMER", "UNKNOWN_TYPE")
_METHODS = ("TRANSFORM_INPUT", "TRANSFORM_OUTPUT", "ROUTE", "AGGREGATE", "SEND_FEEDBACK")
_PARAMETERS = ("INT", "FLOAT", "DOUBLE", "STRING", "BOOL")
_EXPLAINERS = (
    "AnchorTabular", "AnchorImages", "AnchorText", "Counterfactuals", "Contrastive", "KernelShap",
    "IntegratedGradients", "ALE", "TreeShap",
)  # fmt: skip
_MAX_NAME = 63


def predictors(document: Document) -> list[Mapping[str, Any]]:
    """Return the predictors."""
    return maps(document.at("spec", "predictors"))


def nodes(document: Document) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield every node of every graph with its path, a parent before its children."""
    for index, predictor in enumerate(predictors(document)):
        if isinstance(predictor.get("graph"), Mapping):
            yield from subtree(("spec", "predictors", index, "graph"), predictor["graph"])


def subtree(path: Path, node: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield a node and all below it."""
    yield path, node
    for index, child in enumerate(maps(node.get("children"))):
        yield from subtree((*path, "children", index), child)


def containers(predictor: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the containers of a predictor with their paths below it."""
    for i, component in enumerate(maps(predictor.get("componentSpecs"))):
        for j, container in enumerate(maps((component.get("spec") or {}).get("containers"))):
            yield ("componentSpecs", i, "spec", "containers", j), container


def protocol_of(document: Document) -> str:
    """Return the protocol, `v2` for its old name."""
    protocol = str(document.at("spec", "protocol") or "seldon")
    return "v2" if protocol == "kfserving" else protocol


def live(document: Document) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the predictors that answer, with their positions: all but shadows."""
    return [(i, p) for i, p in enumerate(predictors(document)) if not p.get("shadow")]


def annotated(document: Document) -> Mapping[Path, tuple[str, str]]:
    """Return annotations wherever the operator reads them: path to key and value."""
    found: dict[Path, tuple[str, str]] = {}
    places: list[Path] = [("metadata", "annotations"), ("spec", "annotations")]
    places += [("spec", "predictors", i, "annotations") for i in range(len(predictors(document)))]
    for place in places:
        values = document.at(*place)
        if isinstance(values, Mapping):
            found |= {(*place, key): (key, str(value)) for key, value in values.items()}
    return found


def no_predictors(document: Document, context: Context) -> Iterator[Problem]:
    """Find a deployment of nothing."""
    if document.at("spec", "predictors") == []:
        yield Problem(("spec", "predictors"), "must have at least one predictor")


def repeated_predictor(document: Document, context: Context) -> Iterator[Problem]:
    """Find two predictors of one name."""
    names = [str(p.get("name") or f"\0{i}") for i, p in enumerate(predictors(document))]
    for index, name in twice(names):
        yield Problem(("spec", "predictors", index, "name"), f"the name `{name}` is already used")


def values(document: Document, context: Context) -> Iterator[Problem]:
    """Find values that the CRD admits and no component knows."""
    spec: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("protocol", ("seldon", "tensorflow", "v2", "kfserving")),
        ("transport", ("rest", "grpc")),
        ("serverType", ("rpc", "kafka")),
    )
    for key, known in spec:
        yield from _unknown(("spec", key), document.at("spec", key), known)
    for index, predictor in enumerate(predictors(document)):
        path: Path = ("spec", "predictors", index, "explainer", "type")
        yield from _unknown(path, (predictor.get("explainer") or {}).get("type"), _EXPLAINERS)
    for path, node in nodes(document):
        yield from _unknown((*path, "type"), node.get("type"), _TYPES)
        for i, method in enumerate(node.get("methods") or ()):
            yield from _unknown((*path, "methods", i), method, _METHODS)
        for i, parameter in enumerate(maps(node.get("parameters"))):
            yield from _unknown(
                (*path, "parameters", i, "type"), parameter.get("type"), _PARAMETERS
            )
        mode = (node.get("logger") or {}).get("mode")
        yield from _unknown((*path, "logger", "mode"), mode, ("all", "request", "response"))
        kind = (node.get("endpoint") or {}).get("type")
        yield from _unknown((*path, "endpoint", "type"), kind, ("REST", "GRPC"))


def _unknown(path: Path, value: object, known: tuple[str, ...]) -> Iterator[Problem]:
    if value and value not in known:
        hint = did_you_mean(str(value), known) or f"Known: {', '.join(known)}."
        yield Problem(path, f"unknown value `{value}`. {hint}")


def service_names(document: Document, context: Context) -> Iterator[Problem]:
    """Find two predictors with one Service."""
    found = [
        (path, value)
        for path, (key, value) in annotated(document).items()
        if key == "seldon.io/svc-name" and path[1] == "predictors"
    ]
    for index, name in twice(value for _, value in found):
        yield Problem(found[index][0], f"the name `{name}` is already used")


def kafka(document: Document, context: Context) -> Iterator[Problem]:
    """Find a Kafka server that is not told its topics."""
    if document.at("spec", "serverType") != "kafka":
        return
    for index, predictor in enumerate(predictors(document)):
        given = {e.get("name") for e in maps((predictor.get("svcOrchSpec") or {}).get("env"))}
        missing = [name for name in _KAFKA if name not in given]
        if missing:
            yield Problem(
                ("spec", "predictors", index), f"svcOrchSpec must set {', '.join(missing)}"
            )


def endpoints(document: Document, context: Context) -> Iterator[Problem]:
    """Find endpoints that do not go together."""
    found = [
        (path, str(node["endpoint"]["type"]))
        for path, node in nodes(document)
        if (node.get("endpoint") or {}).get("type")
    ]
    transport = str(document.at("spec", "transport") or "").upper()
    for path, kind in found:
        if kind != found[0][1]:
            yield Problem(
                (*path, "endpoint", "type"), f"`{kind}` cannot be combined with `{found[0][1]}`"
            )
        elif transport and kind != transport:
            yield Problem(
                (*path, "endpoint", "type"),
                f"`{kind}` cannot be combined with transport {transport}",
            )


def long_names(document: Document, context: Context) -> Iterator[Problem]:
    """Find names that the operator replaces by hashes."""
    for index, predictor in enumerate(predictors(document)):
        components = maps(predictor.get("componentSpecs")) or [{}]
        graph = (predictor.get("graph") or {}).get("name", "")
        for number, component in enumerate(components):
            named = maps((component.get("spec") or {}).get("containers"))
            parts = [str(container.get("name")) for container in named] or [graph]
            name = "-".join([document.name, str(predictor.get("name")), str(number), *parts])
            if len(name) > _MAX_NAME:
                yield Problem(("spec", "predictors", index), f"`{name}` has {len(name)} characters")


def java_engine(document: Document, context: Context) -> Iterator[Problem]:
    """Find variables that nothing reads any more."""
    for index, predictor in enumerate(predictors(document)):
        given = maps((predictor.get("svcOrchSpec") or {}).get("env"))
        for number, item in enumerate(given):
            if item.get("name") in _JAVA_ENGINE:
                path: Path = ("spec", "predictors", index, "svcOrchSpec", "env", number)
                yield Problem(path, f"`{item['name']}` has no effect")


def api_version(document: Document, context: Context) -> Iterator[Problem]:
    """Find an old version of the API."""
    if not document.api_version.endswith("/v1"):
        yield Problem(("apiVersion",), f"`{document.api_version}` is an old version")


def kfserving(document: Document, context: Context) -> Iterator[Problem]:
    """Find the old name of a protocol."""
    if document.at("spec", "protocol") == "kfserving":
        yield Problem(("spec", "protocol"), "`kfserving` is now called `v2`")


def spec_name(document: Document, context: Context) -> Iterator[Problem]:
    """Find a deprecated field."""
    if document.at("spec", "name") is not None:
        yield Problem(("spec", "name"), "this field is deprecated")


def version_annotation(document: Document, context: Context) -> Iterator[Problem]:
    """Find predictors whose metrics have no version."""
    for index, predictor in enumerate(predictors(document)):
        if "version" not in (predictor.get("annotations") or {}):
            yield Problem(("spec", "predictors", index), "the annotation `version` is missing")


def replicas(document: Document, context: Context) -> Iterator[Problem]:
    """Find replicas that an autoscaler ignores."""
    for i, predictor in enumerate(predictors(document)):
        for j, component in enumerate(maps(predictor.get("componentSpecs"))):
            scaled = component.get("hpaSpec") or component.get("kedaSpec")
            if scaled and component.get("replicas") is not None:
                yield Problem(
                    ("spec", "predictors", i, "componentSpecs", j, "replicas"),
                    "has no effect beside an autoscaler",
                )


def hpa_requests(document: Document, context: Context) -> Iterator[Problem]:
    """Find an autoscaler by utilization of containers that request nothing."""
    for i, predictor in enumerate(predictors(document)):
        for j, component in enumerate(maps(predictor.get("componentSpecs"))):
            path: Path = ("spec", "predictors", i, "componentSpecs", j, "hpaSpec")
            named = maps((component.get("spec") or {}).get("containers"))
            for key, index, name in _utilization(component.get("hpaSpec") or {}):
                for container in named:
                    if name not in ((container.get("resources") or {}).get("requests") or {}):
                        told = f"container `{container.get('name')}` requests no {name}"
                        yield Problem((*path, key, index, "resource"), told)


def _utilization(hpa: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Yield the key, the position and the resource of metrics that are shares of a request."""
    for key in ("metrics", "metricsv2"):
        for index, metric in enumerate(maps(hpa.get(key))):
            resource = metric.get("resource") or {}
            target = resource.get("target") or {}
            if resource.get("targetAverageUtilization") or target.get("type") == "Utilization":
                yield key, index, str(resource.get("name"))


def licence(document: Document, context: Context) -> Iterator[Problem]:
    """Find images under the Business Source License, or a platform under it."""
    if context.versions.get("seldon") and context.version("seldon") > LAST_APACHE:
        yield Problem(("apiVersion",), f"Seldon Core {context.versions['seldon']} is under BSL 1.1")
    for index, predictor in enumerate(predictors(document)):
        for path, container in containers(predictor):
            image = str(container.get("image", "")).removeprefix("docker.io/")
            match = re.fullmatch(r"seldonio/(?!mlserver|alibi)[a-z0-9_-]+:v?([0-9][\w.-]*)", image)
            if match and _newer(match[1]):
                yield Problem(("spec", "predictors", index, *path, "image"), f"`{image}`")


def _newer(version: str) -> bool:
    try:
        return Version(version) > LAST_APACHE
    except InvalidVersion:
        return False


RULES = (
    Rule("seldon/no-predictors", "error", SDEP, no_predictors,
         'The webhook refuses it: "Graph contains no predictors".', WEBHOOK),
    Rule("seldon/repeated-predictor", "error", SDEP, repeated_predictor,
         'The webhook refuses it: "Duplicate predictor name".', WEBHOOK),
    Rule("seldon/unknown-value", "error", SDEP, values,
         "The CRD has no lists of allowed values, so the API server accepts a misspelt value. The"
         " webhook refuses some; others are silently read as something else.", WEBHOOK),
    Rule("seldon/repeated-service", "error", SDEP, service_names,
         'The webhook refuses it: "Found duplicate service name".', WEBHOOK),
    Rule("seldon/kafka", "error", SDEP, kafka,
         'The webhook refuses it: "For kafka please supply".', WEBHOOK),
    Rule("seldon/endpoints", "error", SDEP, endpoints,
         'The webhook refuses it: "Multiple endpoint.types found", "Mixed transport types".',
         WEBHOOK),
    Rule("seldon/long-names", "warning", SDEP, long_names,
         "The operator joins deployment, predictor and containers to a name and replaces one of "
         "more than 63 characters by `seldon-` and a hash, which is hard to find again.",
         "SeldonIO/seldon-core v1.18.2 "
         "operator/apis/machinelearning.seldon.io/v1/seldondeployment_types.go"),
    Rule("seldon/java-engine", "warning", SDEP, java_engine,
         "Only the Java engine read it, which was removed in 1.3. Use `graph.logger`.",
         "SeldonIO/seldon-core v1.18.2 executor/logger/worker.go"),
    Rule("seldon/api-version", "warning", SDEP, api_version,
         "v1alpha2 and v1alpha3 are still served with the same schema, and stored as v1. Write "
         "`machinelearning.seldon.io/v1`.",
         "SeldonIO/seldon-core v1.18.2 helm-charts/seldon-core-operator"),
    Rule("seldon/kfserving", "warning", SDEP, kfserving,
         "Both names are still accepted.", WEBHOOK),
    Rule("seldon/spec-name", "warning", SDEP, spec_name,
         "It has no effect: the name of the deployment is `metadata.name`. Leave it out.",
         "SeldonIO/seldon-core v1.18.2 "
         "operator/apis/machinelearning.seldon.io/v1/seldondeployment_types.go"),
    Rule("seldon/version-annotation", "warning", SDEP, version_annotation,
         "The executor's metrics take their label predictor_version from this annotation (the "
         "docs say from a label); without it they cannot tell one revision from the next.",
         "SeldonIO/seldon-core v1.18.2 executor/api/metric/"),
    Rule("seldon/ignored-replicas", "warning", SDEP, replicas,
         "`hpaSpec` and `kedaSpec` take precedence.", CONTROLLER),
    Rule("seldon/hpa-requests", "warning", SDEP, hpa_requests,
         "Utilization is a share of what containers request. Unless a LimitRange of the namespace"
         " sets a request, the autoscaler does nothing (SeldonIO/seldon-core#1676).",
         "https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/"),
    Rule("seldon/licence", "warning", SDEP, licence,
         "From 1.18.0 on Seldon Core, images and charts included, is under the Business Source "
         "License 1.1: no production use without a commercial licence. 1.17.1 is the last under "
         "Apache-2.0.",
         "SeldonIO/seldon-core LICENSE at v1.17.1 and v1.18.0"),
)  # fmt: skip
