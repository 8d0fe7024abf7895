"""Names that Kubernetes takes, made from names of arms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from mlops.spec.deployment import DeploymentSpec, unique_names
from mlops.spec.model import ModelVersion

#: Longest name of a Service or a label.
MAX_NAME = 63


def dns_label(name: str) -> str:
    """Turn an arm's name into a DNS label.

    >>> dns_label("modelA"), dns_label("wine_v1.2")
    ('model-a', 'wine-v1-2')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-")


def models_of(spec: DeploymentSpec) -> dict[str, ModelVersion]:
    """Return the models of arms and shadows by name, in the spec's order."""
    found = {arm.name: arm.model for arm in spec.arms}
    return found | {shadow.name: shadow.model for shadow in spec.shadows}


def labels_of(spec: DeploymentSpec, taken: Iterable[str] = ()) -> dict[str, str]:
    """Name arms and shadows as DNS labels, unique among each other and what is `taken`.

    Of names that differ in spelling only, one that is a label keeps it, whatever their order.

    Returns:
        Name of the arm or shadow to its label, in the spec's order.
    """
    names = list(models_of(spec))
    before = list(taken)
    ordered = sorted(names, key=lambda name: (dns_label(name) != name, name))
    labels = unique_names([*before, *(dns_label(name) for name in ordered)])[len(before) :]
    found = dict(zip(ordered, labels, strict=True))
    return {name: found[name] for name in names}


def label_notes(spec: DeploymentSpec) -> Iterator[str]:
    """Say how arms and shadows are called whose names differ in spelling only."""
    for name, label in labels_of(spec).items():
        if label != dns_label(name):
            yield (
                f"`{name}` is called `{label}` in the cluster, as `{dns_label(name)}` is another "
                "arm's or shadow's name there."
            )


def begins_with_letter(name: str) -> bool:
    """Whether a name can be that of a Service."""
    return name[:1].isalpha()
