"""A bad and a good example of every rule."""

from __future__ import annotations

from collections.abc import Mapping

from tests.linting import kserve_examples, seldon2_examples, seldon_examples
from tests.linting.example import PREDICTOR, PREDICTORS, Example
from tests.linting.manifests import GONE

_CONTAINER = "0.spec.template.spec.containers.0"
_ROUTE = "0.spec.rules.0"


def _config(rows: str) -> dict[str, object]:
    head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}}
    return {**head, "data": {"rows": rows}}


def _egress(*blocks: str) -> dict[str, object]:
    """Return a policy that lets pods call some blocks of addresses."""
    peers = [{"ipBlock": {"cidr": block}} for block in blocks]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "outside"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": peers}]},
    }


EXAMPLES: Mapping[str, Example] = {
    # general
    "unknown-field": Example(
        "seldon-one",
        ((f"{PREDICTORS}.0.graph.modelURI", "s3://b/1"),),
        path="spec.predictors[0].graph.modelURI",
    ),
    "wrong-type": Example(
        "seldon-ab",
        ((f"{PREDICTORS}.0.graph.parameters.0.value", 0.5),),
        path="spec.predictors[0].graph.parameters[0].value",
    ),
    "missing-field": Example("seldon2", (("0.spec.mirror", {"name": "wine-c"}),)),
    "wrong-value": Example("kserve-graph", (("0.spec.nodes.root.routerType", "Spliter"),)),
    "unknown-kind": Example(
        "kserve", (("0.apiVersion", "serving.kserve.io/v1"),), path="apiVersion"
    ),
    "not-a-manifest": Example("kubernetes", (("1.kind", GONE),)),
    "name": Example("kubernetes", (("1.metadata.name", "Wine_1"),)),
    "repeated-object": Example(
        "seldon2",
        (("2.metadata.name", "wine-a"),),
        (("2.metadata.name", "wine-a"), ("2.metadata.namespace", "other")),
    ),
    "local-path": Example(
        "kserve",
        ((f"{PREDICTOR}.model.storageUri", "/home/me/model"),),
        ((f"{PREDICTOR}.model.storageUri", "/mnt/models"),),
        path="spec.predictor.model.storageUri",
    ),
    "kubernetes/requests": Example(
        "kubernetes",
        ((f"{_CONTAINER}.resources.limits", {"cpu": "0.4"}),),
        ((f"{_CONTAINER}.resources.limits", {"cpu": 1}),),
        path="spec.template.spec.containers[0].resources.requests.cpu",
    ),
    "kubernetes/memory-unit": Example(
        "kubernetes",
        ((f"{_CONTAINER}.resources.requests.memory", "512m"),),
        ((f"{_CONTAINER}.resources.requests.memory", "512M"),),
    ),
    "kubernetes/volumes": Example(
        "kubernetes",
        ((f"{_CONTAINER}.volumeMounts", [{"name": "data", "mountPath": "/data"}]),),
        (
            (f"{_CONTAINER}.volumeMounts", [{"name": "data", "mountPath": "/data"}]),
            ("0.spec.template.spec.volumes", [{"name": "data", "emptyDir": {}}]),
        ),
    ),
    "kubernetes/names": Example(
        "kubernetes",
        ((f"{_CONTAINER}.ports.+", {"name": "http", "containerPort": 81}),),
        ((f"{_CONTAINER}.ports.+", {"name": "http-2", "containerPort": 81}),),
        path="spec.template.spec.containers[0].ports[1].name",
    ),
    "kubernetes/probe-port": Example(
        "kubernetes",
        ((f"{_CONTAINER}.readinessProbe", {"httpGet": {"port": "web"}}),),
        ((f"{_CONTAINER}.readinessProbe", {"httpGet": {"port": "http"}}),),
    ),
    "kubernetes/labels": Example(
        "kubernetes",
        (("0.metadata.labels", {"model": "org/wine"}),),
        (("0.metadata.annotations", {"model": "org/wine"}),),
        path="metadata.labels.model",
    ),
    "kubernetes/secret-data": Example(
        "seldon-store",
        (("1.data", {"user": "admin"}),),
        (("1.data", {"user": "YWRtaW4="}),),
        path="data.user",
    ),
    "secret-value": Example(
        "kubernetes",
        ((f"{_CONTAINER}.env.+", {"name": "AWS_SECRET_ACCESS_KEY", "value": "hunter2"}),),
        (
            (
                f"{_CONTAINER}.env.+",
                {
                    "name": "AWS_SECRET_ACCESS_KEY",
                    "valueFrom": {"secretKeyRef": {"name": "s3", "key": "secret"}},
                },
            ),
            (f"{_CONTAINER}.env.+", {"name": "TOKEN_FILE", "value": "/run/token"}),
        ),
    ),
    "mlflow-uri": Example(
        "kserve",
        ((f"{PREDICTOR}.model.storageUri", "models:/wine/3"),),
        ((f"{PREDICTOR}.model.storageUri", "gs://models/wine/3"),),
    ),
    "config-size": Example(
        "kubernetes",
        (("+", _config("x" * (1024 * 1024 - 3))),),
        (("+", _config("x" * (1024 * 1024 - 4))),),
    ),
    "image-tag": Example(
        "kubernetes",
        ((f"{_CONTAINER}.image", "localhost:5000/wine"),),
        ((f"{_CONTAINER}.image", "localhost:5000/wine@sha256:" + "0" * 64),),
    ),
    # kubernetes
    "kubernetes/loopback": Example(
        "kubernetes",
        ((f"{_CONTAINER}.env.+", {"name": "TRACKING", "value": "http://127.0.0.1:5755"}),),
        (
            (f"{_CONTAINER}.env.+", {"name": "TRACKING", "value": "http://mlflow.shop:5755"}),
            ("+", _egress("0.0.0.0/0", "::/0")),
        ),
        path="spec.template.spec.containers[0].env[1].value",
    ),
    "kubernetes/selector": Example(
        "kubernetes", (("0.spec.selector", {"matchLabels": {"app": "beer"}}),)
    ),
    "kubernetes/service-selector": Example("kubernetes", (("1.spec.selector", {"app": "beer"}),)),
    "kubernetes/service-port": Example(
        "kubernetes",
        (("1.spec.ports.0.targetPort", "web"),),
        (("1.spec.ports.0.targetPort", 8080),),
    ),
    "kubernetes/hpa-replicas": Example("kubernetes", (("0.spec.replicas", 2),)),
    "kubernetes/hpa-requests": Example("kubernetes", ((f"{_CONTAINER}.resources", {}),)),
    "kubernetes/hpa-bounds": Example("kubernetes", (("2.spec.minReplicas", 11),)),
    "kubernetes/disruption": Example(
        "kubernetes", (("3.spec.minAvailable", 2),), (("2.spec.minReplicas", 3),)
    ),
    "kubernetes/shared-sqlite": Example(
        "kubernetes",
        ((f"{_CONTAINER}.env", []),),
        (
            (f"{_CONTAINER}.env", []),
            ("0.spec.strategy", {"type": "Recreate"}),
            ("2.spec.scaleTargetRef.name", "other"),
        ),
    ),
    # gateway
    "gateway/mirror-share": Example(
        "kserve-route",
        ((f"{_ROUTE}.filters.0.requestMirror.fraction", {"numerator": 1}),),
        (
            (f"{_ROUTE}.filters.0.requestMirror.percent", GONE),
            (f"{_ROUTE}.filters.0.requestMirror.fraction", {"numerator": 1}),
        ),
    ),
    "gateway/mirror-version": Example(
        "kserve-route",
        ((f"{_ROUTE}.filters.0.requestMirror.percent", 50),),
        ((f"{_ROUTE}.filters.0.requestMirror.percent", GONE),),
        versions={"gateway-api": "1.2.1"},
    ),
    "gateway/weights": Example(
        "kserve-route",
        ((f"{_ROUTE}.backendRefs.0.weight", 0), (f"{_ROUTE}.backendRefs.1.weight", 0)),
        ((f"{_ROUTE}.backendRefs.0.weight", 0), (f"{_ROUTE}.backendRefs.1.weight", GONE)),
    ),
    "gateway/backend": Example("kserve-route", ((f"{_ROUTE}.backendRefs.0.name", "wine-a"),)),
    "gateway/served-names": Example("kserve-route", (("1.spec.predictor.model.env", []),)),
    # Prometheus and Grafana
    "monitoring/selector": Example(
        "monitoring",
        (("3.spec.selector.matchLabels", {"app": "wein"}),),
        (("1.metadata.labels", {"app": "wine", "tier": "front"}),),
        path="spec.selector",
    ),
    "monitoring/port": Example(
        "monitoring",
        # The name of the container's port where that of the Service is meant.
        (("3.spec.endpoints.0.port", "http"),),
        (("2.spec.selector.matchLabels", {"app": "elsewhere"}),),
        path="spec.endpoints[0].port",
    ),
    "monitoring/for": Example(
        "monitoring", (("4.spec.groups.0.rules.1.for", GONE),), path="spec.groups[0].rules[1]"
    ),
    "monitoring/release": Example(
        "monitoring",
        (("4.metadata.labels", {}),),
        tuple((f"{number}.metadata.labels", {}) for number in (2, 3, 4)),
    ),
    "monitoring/network": Example(
        "monitoring",
        (("5.spec.ingress.0.from.1", GONE),),
        (("5.spec.ingress.0.from", GONE),),
        path="spec.ingress",
    ),
    "monitoring/dashboard": Example(
        "monitoring",
        (("6.data", {"wine.json": "{panels: []}"}),),
        (("6.data", {"wine.json": "{}"}), ("6.metadata.labels", {})),
    ),
    **kserve_examples.EXAMPLES,
    **seldon_examples.EXAMPLES,
    **seldon2_examples.EXAMPLES,
}
