"""What renders the manifests of a platform on Kubernetes: the part in which such targets differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from mlops.errors import InvalidInputError
from mlops.settings.platforms import (
    ClusterSettings,
    KServeSettings,
    KubernetesSettings,
    MonitoringSettings,
    Seldon2Settings,
    SeldonSettings,
)
from mlops.settings.schema import AuthSettings
from mlops.spec.deployment import DeploymentSpec

if TYPE_CHECKING:
    # A status of this machine imports this module, and none of that.
    from mlops.registry.details import Details


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What a target needs beside the spec.

    Attributes:
        details: Name of an arm or shadow to what its model's files say; missing where they were not
            or could not be read.
        revision: Number of the revision.
        in_ledger: Whether the ledger has given it, as no files that are only rendered have.
        postgresql: Whether the journal is in PostgreSQL.
        client_ids: Whether feedback may name a request by its caller's own id.
        workers: Processes of an mlops server; 0 for as many as its pod has processors.
        journal_max_mb: Megabytes from which the journal is too large; 0 for never.
        features: What is kept of each decision's rows, as the setting `journal.features`.
        sinks: Where the request log of the bundled server goes, each as JSON.
        hashed: Features that the journal has as keyed hashes only.
        dropped: Features that it never has.
        watch_changed: What `[watch]` switches otherwise than by default, as `drift`.
        season: Period of the traffic, `day` or `week`; empty for none.
        tracking_uri: Address of the MLflow server, empty if a cluster could not reach it.
        endpoint_url: Address of the artifact store's server; empty for the provider's own.
        journal_url: Address of the journal's server; empty where it is not known.
        key_file: File with the key of its request ids on this machine; empty without one.
        keys_file: File with its API keys on this machine; empty without one.
        cluster: What all manifests have in common.
        auth: Whose signed tokens the bundled server takes.
        monitoring: For `--with monitoring`.
        kubernetes: For `kubernetes`.
        kserve: For `kserve`.
        seldon: For `seldon`.
        seldon2: For `seldon2`.
    """

    details: Mapping[str, Details] = field(default_factory=dict)
    revision: int = 1
    in_ledger: bool = True
    postgresql: bool = False
    journal_max_mb: int = 0
    client_ids: bool = True
    workers: int = 0
    features: str | tuple[str, ...] = "all"
    sinks: tuple[str, ...] = ()
    hashed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    watch_changed: tuple[str, ...] = ()
    season: str = ""
    tracking_uri: str = ""
    endpoint_url: str = ""
    journal_url: str = ""
    key_file: str = ""
    keys_file: str = ""
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    monitoring: MonitoringSettings = field(default_factory=MonitoringSettings)
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)
    kserve: KServeSettings = field(default_factory=KServeSettings)
    seldon: SeldonSettings = field(default_factory=SeldonSettings)
    seldon2: Seldon2Settings = field(default_factory=Seldon2Settings)


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a target rendered from a spec.

    Attributes:
        files: File name to manifest, in the order in which they are to be applied.
        notes: What the platform will not do or do differently, one sentence or two each.
        after_apply: Commands for when the manifests were applied.
        beside: File name to text of what goes with them and is not applied, such as a Dockerfile.
        before_apply: Commands for before they are applied; `{folder}` is where they are.
        first: Which of `files` must be ready before the others are applied.
        later: Which of `beside` are applied once all files are ready.
        image: The image of the model server.
        router_image: The image of the bundled server in front of such, if it is another.
    """

    files: Mapping[str, str]
    notes: tuple[str, ...]
    after_apply: tuple[str, ...]
    beside: Mapping[str, str] = field(default_factory=dict)
    before_apply: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    image: str = ""
    router_image: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why a platform cannot do what a spec wants.

    Attributes:
        fault: What it cannot do, an item of a list.
        hint: What to do instead, a sentence.
    """

    fault: str
    hint: str


@dataclass(frozen=True, slots=True)
class Platform:
    """What is known of a platform on Kubernetes, beside how its manifests look.

    Attributes:
        versions: What the linter calls the parts of the platform, to the option with their version
            as `section.key`.
        groups: API group of its kinds to the option with the version that provides it.
        own_server: Whether the bundled server loads the models, not one of the platform.
        routed: Whether the bundled server can be put in front of the platform's model servers.
        with_address: Kinds whose status has an address.
        shared_pods: How to read the log of pods that deployments share, with `{namespace}`; empty
            where each has pods of its own.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    own_server: bool = False
    routed: bool = False
    with_address: tuple[str, ...] = ()
    shared_pods: str = ""


def option(options: RenderOptions, name: str) -> str:
    """Return the option that `section.key` names.

    >>> option(RenderOptions(), "kserve.version")
    '0.20'
    """
    section, _, key = name.partition(".")
    return str(getattr(getattr(options, section), key))


class RenderTarget(Protocol):
    """Turns a spec into manifests. Pure: equal arguments, equal result, byte for byte.

    May have an attribute `platform`, a `Platform`, and `pins`: whether pods compare the models that
    they fetch with the digests of the spec. May have a static method `setting_refusals`: of
    `RenderOptions` it yields a `Refusal` for each setting that is wrong whatever is deployed.
    """

    #: Whether the manifests hold the revision's number, so that the ledger must be asked for it.
    numbered: ClassVar[bool]

    def check(self, spec: DeploymentSpec, options: RenderOptions) -> None:
        """Refuse what the platform cannot do, before any model is read.

        Raises:
            InvalidInputError: All reasons at once, and in the hint the alternatives.
        """
        ...

    def render(self, spec: DeploymentSpec, options: RenderOptions) -> Rendered:
        """Return the manifests of `spec`.

        Raises:
            InvalidInputError: As `check`, or the chosen image cannot load a model.
        """
        ...


def refuse(what: str, refusals: Iterable[Refusal]) -> None:
    """Raise all reasons against something as one error; do nothing if there are none.

    Args:
        what: For example "`wine` cannot be a SeldonDeployment".
        refusals: The reasons.

    Raises:
        InvalidInputError: There are reasons; of several, each has a line of its own.
    """
    found = list(refusals)
    if not found:
        return
    faults = list(dict.fromkeys(refusal.fault for refusal in found))
    hints = list(dict.fromkeys(refusal.hint for refusal in found))
    one = f" {faults[0]}." if len(faults) == 1 else "".join(f"\n- {fault}" for fault in faults)
    raise InvalidInputError(f"{what}:{one}", hint="\n".join(hints))
