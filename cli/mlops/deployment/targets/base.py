"""The contract of a target that renders manifests for a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mlops.registry.details import Details
from mlops.spec.deployment import DeploymentSpec


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What a target needs to know beside the spec.

    Attributes:
        details: Arm name to what its model's files say; an arm is missing where they were not or
            could not be read.
        env_secret: Name of the Kubernetes secret with the artifact store's credentials, empty for
            the platform's own default. Never the credentials themselves.
    """

    details: Mapping[str, Details] = field(default_factory=dict)
    env_secret: str = ""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a target has made of a spec.

    Attributes:
        files: File name to text, in the order in which they are to be applied.
        notes: What the platform will not do or do differently, one sentence or two each.
        after_apply: Commands for when the files were applied.
    """

    files: Mapping[str, str]
    notes: tuple[str, ...]
    after_apply: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why a platform cannot do what a spec wants.

    Attributes:
        fault: What it cannot do, to stand in a list of such.
        hint: What to do instead, a sentence.
    """

    fault: str
    hint: str


class RenderTarget(Protocol):
    """Turns a spec into manifests. Pure: equal arguments, equal result, byte for byte."""

    def check(self, spec: DeploymentSpec) -> None:
        """Refuse what the platform cannot do, before any model is looked at.

        Raises:
            InvalidInputError: All reasons at once, and in the hint the alternatives.
        """
        ...

    def render(self, spec: DeploymentSpec, options: RenderOptions) -> Rendered:
        """Return the manifests of `spec`, checked against the platform's rules.

        Raises:
            InvalidInputError: As `check`, or an option is wrong.
        """
        ...
