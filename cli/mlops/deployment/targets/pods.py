"""What the settings say of pods on every platform: resources, images, and where they run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlops.deployment.targets.base import Refusal, RenderOptions
from mlops.errors import one_of
from mlops.linting.rules.pods import LABEL_KEY, LABEL_VALUE, amount
from mlops.settings.platforms import ClusterSettings

_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
# The grammar of github.com/distribution/reference: host, path, tag, digest.
_PART = r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*"
_HOST = (
    r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*(:[0-9]+)?"
)
_IMAGE = re.compile(
    rf"({_HOST}/)?{_PART}(/{_PART})*(:[A-Za-z0-9_][-A-Za-z0-9_.]{{0,127}})?"
    r"(@[A-Za-z][A-Za-z0-9+._-]*:[0-9a-fA-F]{32,})?"
)
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def refusals(options: RenderOptions) -> Iterator[Refusal]:
    """Refuse what no pod can have, and objects that are named by something else than a name."""
    cluster = options.cluster
    yield from quantity("cluster.cpu", cluster.cpu, "500m")
    yield from quantity("cluster.memory", cluster.memory)
    yield from quantity("cluster.ephemeral_storage", cluster.ephemeral_storage)
    yield from image("cluster.image", cluster.image)
    yield from image("cluster.router_image", cluster.router_image)
    yield from scheduling_refusals(cluster)
    yield from object_names(
        ("cluster.namespace", cluster.namespace),
        ("cluster.storage_secret", cluster.storage_secret),
        ("cluster.service_account", cluster.service_account),
    )


def quantity(setting: str, value: str, example: str = "1Gi") -> Iterator[Refusal]:
    """Refuse what is no quantity above zero; thousandths are for CPU alone."""
    number = amount(value) if _QUANTITY.fullmatch(value) else None
    if not number or (value.endswith("m") and not example.endswith("m")):
        yield Refusal(f"`{setting}` is `{value}`", f"Write a quantity such as `{example}`.")


def image(setting: str, value: str) -> Iterator[Refusal]:
    """Refuse what no image can be called."""
    if value and not _IMAGE.fullmatch(value):
        yield Refusal(
            f"`{setting}` is `{value}`, which is not the name of an image",
            "Write it as `registry.example.com/wine:1`.",
        )


def object_names(*settings: tuple[str, str]) -> Iterator[Refusal]:
    """Refuse settings that name objects and hold something else, such as a secret's value.

    So the value is not quoted.
    """
    for setting, value in settings:
        if value and not _OBJECT.fullmatch(value):
            yield Refusal(
                f"`{setting}` cannot be the name of an object",
                "Name the object, in lower-case letters, digits, `-` and `.`; what a Secret holds "
                "never goes into a manifest.",
            )


def scheduling_refusals(cluster: ClusterSettings) -> Iterator[Refusal]:
    """Refuse pull secrets that are no names, and nodes that are described wrongly."""
    yield from object_names(
        *(("cluster.image_pull_secrets", name) for name in cluster.image_pull_secrets)
    )
    seen: set[str] = set()
    for label in cluster.node_selector:
        key, equals, value = label.partition("=")
        if key in seen:
            yield Refusal(
                f"`cluster.node_selector` has `{key}` twice, and a node has one value of it",
                "Leave one of them out.",
            )
        seen.add(key)
        if not (equals and LABEL_KEY.fullmatch(key) and LABEL_VALUE.fullmatch(value)):
            yield Refusal(
                f"`cluster.node_selector` has `{label}`, which is not a label of a node",
                "Write labels as `disktype=ssd`.",
            )
    for taint in cluster.tolerations:
        parsed = _toleration(taint)
        value, effect = parsed.get("value", ""), parsed.get("effect", _EFFECTS[0])
        named = LABEL_KEY.fullmatch(parsed["key"]) and LABEL_VALUE.fullmatch(value)
        if not named or effect not in _EFFECTS:
            yield Refusal(
                f"`cluster.tolerations` has `{taint}`, which is not a taint",
                f"Write taints as `dedicated=ml:NoSchedule` or `gpu`; effects are "
                f"{one_of(_EFFECTS)}.",
            )


def scheduling(cluster: ClusterSettings) -> Mapping[str, Any]:
    """Return what `kubernetes/_scheduling` writes into a pod; empty if nothing is set.

    >>> scheduling(ClusterSettings(tolerations=("dedicated=ml:NoSchedule",)))["tolerations"]
    [{'key': 'dedicated', 'operator': 'Equal', 'value': 'ml', 'effect': 'NoSchedule'}]
    """
    if not (cluster.image_pull_secrets or cluster.node_selector or cluster.tolerations):
        return {}
    return {
        "pull_secrets": cluster.image_pull_secrets,
        "node_selector": [label.split("=", 1) for label in cluster.node_selector],
        "tolerations": [_toleration(taint) for taint in cluster.tolerations],
    }


def _toleration(taint: str) -> dict[str, str]:
    """Read a taint as `kubectl taint` writes it; without a value or effect, any is tolerated."""
    label, colon, effect = taint.partition(":")
    key, equals, value = label.partition("=")
    operator = {"operator": "Equal", "value": value} if equals else {"operator": "Exists"}
    return {"key": key, **operator, **({"effect": effect} if colon else {})}
