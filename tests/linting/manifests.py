"""Manifests that are well, to be spoilt one field at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeAlias

import yaml

Object: TypeAlias = dict[str, Any]
#: A value in place of which the field is taken out.
GONE = object()


def _sdep(**spec: Any) -> Object:
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "wine"},
        "spec": spec,
    }


def _node(name: str, version: int) -> Object:
    return {
        "name": name,
        "type": "MODEL",
        "implementation": "MLFLOW_SERVER",
        "modelUri": f"s3://b/{version}",
    }


def _component(*names: str) -> Object:
    return {"spec": {"containers": [{"name": name, "image": "me/wine:1"} for name in names]}}


def _predictor(name: str, traffic: int, version: int = 1) -> Object:
    return {
        "name": name,
        "traffic": traffic,
        "annotations": {"version": "v1"},
        "graph": _node("wine", version),
        "componentSpecs": [_component("wine")],
    }


_AB = _sdep(
    protocol="seldon",
    predictors=[
        {
            "name": "default",
            "annotations": {"version": "v1"},
            "svcOrchSpec": {"env": [{"name": "SELDON_ENABLE_ROUTING_INJECTION", "value": "true"}]},
            "graph": {
                "name": "ab",
                "implementation": "RANDOM_ABTEST",
                "parameters": [{"name": "ratioA", "value": "0.5", "type": "FLOAT"}],
                "children": [_node("a", 1), _node("b", 2)],
            },
            "componentSpecs": [_component("a"), _component("b")],
        }
    ],
)
_BANDIT = _sdep(
    predictors=[
        {
            "name": "default",
            "replicas": 1,
            "annotations": {"version": "v1"},
            "svcOrchSpec": {"env": [{"name": "SELDON_ENABLE_ROUTING_INJECTION", "value": "true"}]},
            "componentSpecs": [_component("eg", "a", "b")],
            "graph": {
                "name": "eg",
                "type": "ROUTER",
                "parameters": [
                    {"name": "n_branches", "value": "2", "type": "INT"},
                    {"name": "epsilon", "value": "0.1", "type": "FLOAT"},
                ],
                "children": [_node("a", 1), _node("b", 2)],
            },
        }
    ],
)
_SPLIT = _sdep(protocol="v2", predictors=[_predictor("a", 50, 1), _predictor("b", 50, 2)])
_ONE = _sdep(protocol="v2", predictors=[_predictor("a", 100)])
_RCLONE = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "store"},
    "stringData": {"RCLONE_CONFIG_S3_TYPE": "s3"},
}


def _isvc(name: str = "wine") -> Object:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
        },
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "model": {
                    "modelFormat": {"name": "mlflow"},
                    "protocolVersion": "v2",
                    "runtime": "ours",
                    "storageUri": "s3://b/1",
                    "env": [{"name": "MLSERVER_MODEL_NAME", "value": "wine"}],
                },
            }
        },
    }


def _canary_isvc() -> Object:
    isvc = _isvc()
    isvc["spec"]["predictor"]["name"] = "old"
    predictor = copy.deepcopy(isvc["spec"]["predictor"])
    predictor["name"] = "new"
    predictor["model"]["name"] = "kserve-container"
    isvc["spec"]["canary"] = [{"trafficPercent": 10, "predictor": predictor}]
    return isvc


_RUNTIME = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "ServingRuntime",
    "metadata": {"name": "ours"},
    "spec": {
        "annotations": {"prometheus.kserve.io/port": "8082"},
        "supportedModelFormats": [{"name": "mlflow", "autoSelect": False}],
        "protocolVersions": ["v2"],
        "containers": [
            {"name": "kserve-container", "image": "seldonio/mlserver:1.7.1-mlflow"},
        ],
    },
}
_LLM = {
    "apiVersion": "serving.kserve.io/v1alpha2",
    "kind": "LLMInferenceService",
    "metadata": {"name": "llm"},
    "spec": {
        "model": {"uri": "hf://org/model", "name": "org/model"},
        "scaling": {"maxReplicas": 4, "wva": {"hpa": {}}},
    },
}
_GRAPH = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "InferenceGraph",
    "metadata": {"name": "wine"},
    "spec": {
        "nodes": {
            "root": {
                "routerType": "Splitter",
                "steps": [
                    {"name": "a", "serviceName": "wine-a", "weight": 50},
                    {"name": "b", "serviceName": "wine-b", "weight": 50},
                ],
            }
        }
    },
}
_ROUTE = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "wine"},
    "spec": {
        "parentRefs": [{"name": "gateway", "namespace": "kserve"}],
        "hostnames": ["wine.example.com"],
        "rules": [
            {
                "filters": [
                    {
                        "type": "RequestMirror",
                        "requestMirror": {
                            "backendRef": {"name": "wine-b-predictor", "port": 80},
                            "percent": 50,
                        },
                    }
                ],
                "backendRefs": [
                    {"name": "wine-a-predictor", "port": 80, "weight": 90},
                    {"name": "wine-b-predictor", "port": 80, "weight": 10},
                ],
            }
        ],
    },
}


def _model(name: str) -> Object:
    return {
        "apiVersion": "mlops.seldon.io/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {
            "storageUri": "s3://b/1",
            "secretName": "store",
            "requirements": ["mlflow"],
            "server": "ours",
            "memory": "200Mi",
        },
    }


_EXPERIMENT = {
    "apiVersion": "mlops.seldon.io/v1alpha1",
    "kind": "Experiment",
    "metadata": {"name": "wine"},
    "spec": {
        "default": "wine-a",
        "candidates": [{"name": "wine-a", "weight": 50}, {"name": "wine-b", "weight": 50}],
        "mirror": {"name": "wine-c", "percent": 10},
    },
}
_SERVER = {
    "apiVersion": "mlops.seldon.io/v1alpha1",
    "kind": "Server",
    "metadata": {"name": "ours"},
    "spec": {
        "serverConfig": "mlserver",
        "podSpec": {
            "containers": [{"name": "mlserver", "image": "seldonio/mlserver:1.7.1-mlflow"}]
        },
    },
}
_PIPELINE = {
    "apiVersion": "mlops.seldon.io/v1alpha1",
    "kind": "Pipeline",
    "metadata": {"name": "checked"},
    "spec": {
        "steps": [
            {"name": "clean"},
            {"name": "wine", "inputs": ["clean.outputs"], "triggers": ["clean"]},
            {"name": "drift", "batch": {"size": 20}},
        ],
        "input": {"externalInputs": ["other.outputs"]},
        "output": {"steps": ["wine"]},
    },
}
_STORE = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "store"},
    "stringData": {"remote": "type: s3\nname: s3\nparameters: {}\n"},
}
_LABELS = {"app": "wine"}
_DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "wine"},
    "spec": {
        "selector": {"matchLabels": _LABELS},
        "template": {
            "metadata": {"labels": _LABELS},
            "spec": {
                "containers": [
                    {
                        "name": "server",
                        "image": "me/wine:1",
                        "command": ["python", "-m", "mlops.serving.pod"],
                        "ports": [{"name": "http", "containerPort": 8080}],
                        "env": [{"name": "MLOPS_JOURNAL_URL", "value": "postgresql://db/wine"}],
                        "resources": {"requests": {"cpu": "500m"}},
                    }
                ]
            },
        },
    },
}
_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "wine"},
    "spec": {"selector": _LABELS, "ports": [{"port": 80, "targetPort": "http"}]},
}
_HPA = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "wine"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "wine"},
        "minReplicas": 2,
        "maxReplicas": 10,
        "metrics": [
            {
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 70},
                },
            }
        ],
    },
}
_PDB = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": {"name": "wine"},
    "spec": {"minAvailable": 1, "selector": {"matchLabels": _LABELS}},
}
_S3 = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {
        "name": "s3",
        "annotations": {"serving.kserve.io/s3-endpoint": "minio:9000"},
    },
}
_ACCOUNT = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "reader"},
    "secrets": [{"name": "s3"}],
}


def _monitoring(kind: str, name: str = "wine", **spec: Any) -> Object:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"release": "prometheus"}},
        "spec": spec,
    }


_SEEN_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "wine", "labels": _LABELS},
    "spec": {"selector": _LABELS, "ports": [{"name": "web", "port": 80, "targetPort": "http"}]},
}
_POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "wine"},
    "spec": {
        "podSelector": {"matchLabels": _LABELS},
        "ingress": [
            {
                "from": [
                    {"podSelector": {}},
                    {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}},
                ]
            }
        ],
    },
}
_SEEN = [
    _DEPLOYMENT,
    _SEEN_SERVICE,
    _monitoring(
        "PodMonitor",
        selector={"matchLabels": _LABELS},
        podMetricsEndpoints=[{"port": "http", "path": "/metrics"}],
    ),
    _monitoring("ServiceMonitor", selector={"matchLabels": _LABELS}, endpoints=[{"port": "web"}]),
    _monitoring(
        "PrometheusRule",
        groups=[
            {
                "name": "wine",
                "rules": [
                    {"record": "wine:up", "expr": "up"},
                    {"alert": "Down", "expr": "up == 0", "for": "5m"},
                ],
            }
        ],
    ),
    _POLICY,
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "wine", "labels": {"grafana_dashboard": "1"}},
        "data": {"wine.json": '{"panels": []}'},
    },
]

#: Sets of manifests that belong together. The first document of a set is `0` in a path.
SETS: Mapping[str, list[Object]] = {
    "seldon-ab": [_AB],
    "seldon-bandit": [_BANDIT],
    "seldon-split": [_SPLIT],
    "seldon-one": [_ONE],
    "seldon-store": [_ONE, _RCLONE],
    "kserve": [_isvc(), _RUNTIME],
    "kserve-canary": [_canary_isvc()],
    "kserve-graph": [_GRAPH, _isvc("wine-a"), _isvc("wine-b"), _RUNTIME],
    "kserve-route": [_ROUTE, _isvc("wine-a"), _isvc("wine-b"), _RUNTIME],
    "kserve-s3": [_isvc(), _RUNTIME, _S3, _ACCOUNT],
    "kserve-llm": [_LLM],
    "seldon2": [
        _EXPERIMENT, _model("wine-a"), _model("wine-b"), _model("wine-c"), _SERVER, _STORE,
    ],
    "seldon2-pipeline": [_PIPELINE],
    "kubernetes": [_DEPLOYMENT, _SERVICE, _HPA, _PDB],
    "monitoring": _SEEN,
}  # fmt: skip


def spoilt(name: str, *changes: tuple[str, Any]) -> str:
    """Return a set as YAML, after changes.

    Args:
        name: The set.
        changes: Dotted path, which begins with the document's number, and the value to put there;
            `GONE` takes the field out, and `+` as the last step adds to a list.
    """
    documents = copy.deepcopy(SETS[name])
    for path, value in changes:
        *parents, last = path.split(".")
        place: Any = documents
        for step in parents:
            key = step.replace("|", ".")
            place = place[int(key) if isinstance(place, list) else key]
        if last == "+":
            place.append(value)
        elif value is GONE:
            del place[int(last) if isinstance(place, list) else last.replace("|", ".")]
        elif isinstance(place, list):
            place[int(last)] = value
        else:
            place[last.replace("|", ".")] = value
    return yaml.safe_dump_all(documents, sort_keys=False)
