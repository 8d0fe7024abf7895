"""A model version, looked up and pinned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePath

from mlops.spec.endpoint import Endpoint, is_endpoint, parse_endpoint


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One model version, pinned so that it means the same tomorrow.

    Attributes:
        ref: What the user wrote, for example `wine` or `modelA`.
        label: The pinned name for display, for example `wine/3`; for a model outside the registry
            its URI or path.
        source: Artifact URI of the model's folder: a path, `file:`, `s3://`, `gs://`, …;
            or the endpoint of a server that has the model, as `v2+http://…`.
        name: Registered model, empty outside the registry.
        version: Its version, 0 outside the registry.
        run_id: The run that logged it, empty if unknown.
        chosen_by: Why this version, where the reference left it open, for example
            "alias champion" or "newest version"; else empty.
        digest: What is at the source, where that can change: `sha256:…` of a pushed model and of
            a folder of this machine, else `listing:…`, made from the names, sizes and tags of what
            a store lists. Empty where the source means the same forever, as that of a registered
            version, and where it was not looked at yet.
        remote: Endpoint of a server that has loaded the model from its source, where the
            deployment's own server only asks it; else empty. Where a model is loaded does not
            make it another one.
    """

    ref: str
    label: str
    source: str
    name: str = ""
    version: int = 0
    run_id: str = ""
    chosen_by: str = ""
    digest: str = ""
    remote: str = ""

    @property
    def endpoint(self) -> Endpoint | None:
        """Where the model is, if another server answers for it; None for a folder with files."""
        where = self.remote or self.source
        return parse_endpoint(where) if is_endpoint(where) else None

    @property
    def public_label(self) -> str:
        """The label that callers of a deployment see: of a folder its name, not its path.

        >>> ModelVersion("./m", "/home/ann/models/good", "/home/ann/models/good").public_label
        'good'
        """
        is_path = not self.name and "://" not in self.label
        return PurePath(self.label).name if is_path else self.label

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes it another model: two deployments of equal identity serve the same.

        A registered version is the same whether or not its store could be asked for a digest.

        >>> ModelVersion("wine/3", "wine/3", "s3://b/m", "wine", 3, digest="listing:1").identity
        ('wine/3', 's3://b/m')
        >>> ModelVersion("s3://b/m", "s3://b/m", "s3://b/m", digest="listing:1").identity
        ('s3://b/m', 's3://b/m', 'listing:1')
        """
        named = (self.label, self.source)
        return (*named, self.digest) if self.digest and not self.name else named

    @property
    def unpinned(self) -> ModelVersion:
        """The same model without a digest that is no part of its identity."""
        return replace(self, digest="") if self.name else self
