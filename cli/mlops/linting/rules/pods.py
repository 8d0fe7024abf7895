"""Pods, wherever they are described, and the labels of objects."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from mlops.linting.addresses import is_loopback, is_loopback_block
from mlops.linting.base import Context, Problem, Rule, maps, twice
from mlops.linting.documents import Document, Path, is_placeholder

_RESOURCES = "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/"
_LABELS = "https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/"
#: Kinds whose pods are as written; operators add volumes and ports to those of others.
_WITH_PODS = (
    "Pod", "ReplicationController", "apps/Deployment", "apps/DaemonSet", "apps/ReplicaSet",
    "apps/StatefulSet", "batch/Job", "batch/CronJob",
)  # fmt: skip
_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]"
#: What a label may be called, and its value.
LABEL_KEY = re.compile(rf"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?{_NAME}")
LABEL_VALUE = re.compile(rf"({_NAME})?")
_PORT = re.compile(r"(?=.*[a-z])(?!.*--)(?=.{1,15}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal("1e3"), "M": Decimal("1e6"), "G": Decimal("1e9"), "T": Decimal("1e12"),
    "P": Decimal("1e15"), "E": Decimal("1e18"),
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkMGTPE]|[KMGTPE]i)?")


def amount(quantity: object) -> Decimal | None:
    """Return a quantity as a number, None if it is not one.

    >>> amount("512Mi") == 512 * 1024**2, amount("100m") == Decimal("0.1"), amount("2GB")
    (True, True, None)
    """
    match = _QUANTITY.fullmatch(str(quantity))
    try:
        return Decimal(match[1]) * _SUFFIXES[match[2] or ""] if match else None
    except ArithmeticError:
        return None


def requests(document: Document, context: Context) -> Iterator[Problem]:
    """Find containers that request more than they may use, or another number of devices."""
    for path, resources in _resources(document.data, ()):
        limits = resources.get("limits") or {}
        for name, quantity in (resources.get("requests") or {}).items():
            wanted, limit = amount(quantity), amount(limits.get(name))
            if wanted is None or limit is None:
                continue
            if wanted > limit:
                told = f"`{quantity}` is more than the limit, `{limits[name]}`"
            elif wanted < limit and _is_device(name):
                told = f"must equal the limit, `{limits[name]}`, not `{quantity}`"
            else:
                continue
            yield Problem((*path, "requests", name), told)


def _is_device(name: str) -> bool:
    """Whether a resource cannot be shared: requests and limits must agree."""
    return "/" in name and not name.startswith(("kubernetes.io/", "requests."))


def memory_unit(document: Document, context: Context) -> Iterator[Problem]:
    """Find memory in thousandths of a byte."""
    for path, resources in _resources(document.data, ()):
        for key in ("requests", "limits"):
            for name, quantity in (resources.get(key) or {}).items():
                if name in ("memory", "ephemeral-storage") and str(quantity).endswith("m"):
                    meant = str(quantity).removesuffix("m")
                    told = (
                        f"`{quantity}` is {meant} thousandths of a byte; did you mean `{meant}Mi`?"
                    )
                    yield Problem((*path, key, name), told)


def volumes(document: Document, context: Context) -> Iterator[Problem]:
    """Find mounts of volumes that the pod does not have, and volumes of one name."""
    claims = {
        str((claim.get("metadata") or {}).get("name"))
        for claim in maps(document.at("spec", "volumeClaimTemplates"))
    }
    for path, pod in _pods(document):
        names = [str(volume.get("name")) for volume in maps(pod.get("volumes"))]
        for index, name in twice(names):
            yield Problem((*path, "volumes", index, "name"), f"the name `{name}` is already used")
        for place, container in _containers(path, pod):
            for index, mount in enumerate(maps(container.get("volumeMounts"))):
                if mount.get("name") not in {*names, *claims}:
                    told = f"the pod has no volume `{mount.get('name')}`"
                    yield Problem((*place, "volumeMounts", index, "name"), told)


def names(document: Document, context: Context) -> Iterator[Problem]:
    """Find containers and ports of one name, and names that no port can have."""
    for path, pod in _pods(document):
        places = list(_containers(path, pod))
        for index, name in twice(str(container.get("name")) for _, container in places):
            yield Problem((*places[index][0], "name"), f"the name `{name}` is already used")
        for place, container in places:
            ports = [port.get("name") for port in maps(container.get("ports"))]
            for index, name in twice(str(port or f"\0{i}") for i, port in enumerate(ports)):
                told = f"the name `{name}` is already used"
                yield Problem((*place, "ports", index, "name"), told)
            for index, port in enumerate(ports):
                if port and not _PORT.fullmatch(str(port)):
                    told = f"`{port}` is not a valid name of a port"
                    yield Problem((*place, "ports", index, "name"), told)


def probe_ports(document: Document, context: Context) -> Iterator[Problem]:
    """Find probes of a named port that the container does not have."""
    for path, pod in _pods(document):
        for place, container in _containers(path, pod):
            named = {port.get("name") for port in maps(container.get("ports"))}
            for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
                for way in ("httpGet", "tcpSocket"):
                    port = ((container.get(probe) or {}).get(way) or {}).get("port")
                    if isinstance(port, str) and not port.isdigit() and port not in named:
                        told = f"the container has no port called `{port}`"
                        yield Problem((*place, probe, way, "port"), told)


def labels(document: Document, context: Context) -> Iterator[Problem]:
    """Find labels and annotations that the API server refuses."""
    for path, table in _tables(document.data, ()):
        for key, value in table.items():
            if not is_placeholder(key) and not LABEL_KEY.fullmatch(key):
                yield Problem((*path, key), f"`{key}` is not a valid key")
            elif path[-1] != "annotations" and not LABEL_VALUE.fullmatch(str(value)):
                told = (
                    "has more than 63 characters"
                    if len(str(value)) > 63
                    else "is not a valid value"
                )
                yield Problem((*path, key), f"`{value}` {told}")


def secret_data(document: Document, context: Context) -> Iterator[Problem]:
    """Find data of a Secret that is not in base64."""
    for key, value in _mapping(document.at("data")).items():
        try:
            base64.b64decode(re.sub(r"[\r\n]", "", str(value)), validate=True)
        except (binascii.Error, ValueError):
            yield Problem(("data", key), f"the value of `{key}` is not base64")


def loopback(document: Document, context: Context) -> Iterator[Problem]:
    """Find variables, settings and rules of policies that lead a pod to itself."""
    for path, pod in _pods(document):
        places = list(_containers(path, pod))
        for place, container in places:
            for index, variable in enumerate(maps(container.get("env"))):
                url = variable.get("value")
                if _calls_itself(url) and not _listens(places, url):
                    yield Problem((*place, "env", index, "value"), f"`{url}` {_POD_ITSELF}")
    if document.kind == "ConfigMap":
        for key, text in _mapping(document.at("data")).items():
            for url in _called(text):
                yield Problem(("data", key), f"`{url}` {_POD_ITSELF}")
    for number, rule in enumerate(maps(document.at("spec", "egress"))):
        for index, peer in enumerate(maps(rule.get("to"))):
            block = str(_mapping(peer.get("ipBlock")).get("cidr") or "")
            if is_loopback_block(block):
                where = ("spec", "egress", number, "to", index, "ipBlock", "cidr")
                yield Problem(where, f"`{block}` {_POD_ITSELF}")


def _mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping, an empty one in place of what is none."""
    return value if isinstance(value, Mapping) else {}


_POD_ITSELF = "in a pod is the pod itself"
_URL = re.compile(r"(?:https?|postgres\w*)://\S+")


def _calls_itself(url: object) -> TypeGuard[str]:
    return isinstance(url, str) and bool(_URL.fullmatch(url)) and is_loopback(url)


def _listens(places: Sequence[tuple[Path, Mapping[str, Any]]], url: str) -> bool:
    """Whether a container of the pod may listen at a URL; one that names no port may at any."""
    try:
        port = urlsplit(url).port
    except ValueError:
        return False
    named = [
        {each.get("containerPort") for each in maps(container.get("ports"))}
        for _, container in places
    ]
    others = len(places) > 1 and any(not ports for ports in named)
    return others or any(port in ports for ports in named)


def _called(text: object) -> Iterator[str]:
    """Yield where the bundled server's revision has sinks and arms that lead to its own pod."""
    try:
        document = json.loads(str(text))
        sinks, arms = document.get("sinks") or (), document["spec"]["arms"]
        found = [sink["to"] for sink in sinks] + [arm["model"]["source"] for arm in arms]
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    yield from filter(is_loopback, (part for each in found for part in str(each).split(",")))


def _resources(value: object, path: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield what containers ask for, wherever it is."""
    if isinstance(value, Mapping):
        given = value.get("resources")
        if isinstance(given, Mapping) and all(
            isinstance(given.get(key) or {}, Mapping) for key in ("requests", "limits")
        ):
            yield (*path, "resources"), given
        for key, item in value.items():
            yield from _resources(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _resources(item, (*path, index))


def _tables(value: object, path: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the labels and annotations of the object and of what it makes."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _tables(item, (*path, index))
    if not isinstance(value, Mapping):
        return
    for key, item in value.items():
        here = (*path, key)
        named = key in ("labels", "annotations") and path[-1:] == ("metadata",)
        if isinstance(item, Mapping) and (named or key == "matchLabels"):
            yield here, item
        elif key != "data":
            yield from _tables(item, here)


def _pods(document: Document) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for path in (
        ("spec",),
        ("spec", "template", "spec"),
        ("spec", "jobTemplate", "spec", "template", "spec"),
    ):
        pod = document.at(*path)
        if isinstance(pod, Mapping) and pod.get("containers"):
            yield path, pod


def _containers(path: Path, pod: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(maps(pod.get(kind))):
            yield (*path, kind, index), container


RULES = (
    Rule(
        "kubernetes/loopback",
        "warning",
        (*_WITH_PODS, "ConfigMap", "networking.k8s.io/NetworkPolicy"),
        loopback,
        "`localhost`, 127.0.0.1 and ::1 are the pod that calls them. Write the address that the "
        "server has in the cluster, such as `http://mlflow.shop:5000`. A sidecar of the pod may be "
        "meant: name its port among the `ports` of its container.",
        "https://kubernetes.io/docs/concepts/workloads/pods/#pod-networking",
    ),
    Rule(
        "kubernetes/requests",
        "error",
        (),
        requests,
        "The API server refuses pods that request more than their limit, and devices (GPUs) whose"
        " request is not their limit. In a resource of KServe or Seldon Core this shows only when"
        " the pod is created.",
        _RESOURCES,
    ),
    Rule(
        "kubernetes/memory-unit",
        "warning",
        (),
        memory_unit,
        "`m` means a thousandth. Kubernetes accepts it and rounds up to one byte: the container "
        "does not start, or is scheduled as if it needed no memory. Write `Mi` or `M`.",
        _RESOURCES,
    ),
    Rule(
        "kubernetes/volumes",
        "error",
        _WITH_PODS,
        volumes,
        "The API server refuses a pod that mounts a volume it does not have, or that has two "
        "volumes of one name.",
        "https://kubernetes.io/docs/concepts/storage/volumes/",
    ),
    Rule(
        "kubernetes/names",
        "error",
        _WITH_PODS,
        names,
        "The API server refuses containers of one name in a pod and ports of one name in a "
        "container. The name of a port has up to 15 lower-case letters, digits and `-`.",
        "https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports",
    ),
    Rule(
        "kubernetes/probe-port",
        "error",
        _WITH_PODS,
        probe_ports,
        "A named port is looked up among the container's `ports`. Without it every probe fails, "
        "and the container is restarted or gets no traffic.",
        "https://kubernetes.io/docs/tasks/configure-pod-container/"
        "configure-liveness-readiness-startup-probes/",
    ),
    Rule(
        "kubernetes/labels",
        "error",
        (),
        labels,
        "The API server refuses it. A key is an optional DNS name and `/`, then up to 63 letters,"
        " digits, `-`, `_` and `.`; the value of a label is empty or like the second part. Keep "
        "URIs and names of models in annotations.",
        _LABELS,
    ),
    Rule(
        "kubernetes/secret-data",
        "error",
        ("Secret",),
        secret_data,
        "The API server refuses it. Plain text belongs under `stringData`.",
        "https://kubernetes.io/docs/concepts/configuration/secret/",
    ),
)
