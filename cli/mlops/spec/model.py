"""A model version, looked up and pinned."""

from __future__ import annotations

from dataclasses import dataclass

from mlops.spec.endpoint import Endpoint, is_endpoint, parse_endpoint


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One model version, pinned so that it means the same tomorrow.

    Attributes:
        ref: What the person wrote, for example `wine` or `modelA`.
        label: The pinned name for people, for example `wine/3`; for a model outside the registry
            its URI or path.
        source: Artifact URI of the model's folder: a path, `file:`, `s3://`, `gs://`, …;
            or the endpoint of a server that has the model, as `v2+http://…`.
        name: Registered model, empty outside the registry.
        version: Its version, 0 outside the registry.
        run_id: The run that logged it, empty if unknown.
        chosen_by: Why this version, where the reference left it open, for example
            "alias champion" or "newest version"; else empty.
    """

    ref: str
    label: str
    source: str
    name: str = ""
    version: int = 0
    run_id: str = ""
    chosen_by: str = ""

    @property
    def endpoint(self) -> Endpoint | None:
        """Where the model is, if another server answers for it; None for a folder with files."""
        return parse_endpoint(self.source) if is_endpoint(self.source) else None
