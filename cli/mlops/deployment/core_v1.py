"""The core Kubernetes objects that are rendered, with the rules the API server would apply."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

Name = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
        max_length=253,
    ),
]
Namespace = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)
]
DataKey = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
AnnotationKey = Annotated[str, StringConstraints(pattern=r"^([a-z0-9.-]{1,253}/)?[\w.-]{1,63}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)


class Metadata(_Strict):
    """Name and notes of an object."""

    name: Name
    namespace: Namespace | None = None
    annotations: dict[AnnotationKey, str] | None = None


class Secret(_Strict):
    """Values that containers get; as text, which the API server encodes."""

    api_version: Literal["v1"]
    kind: Literal["Secret"]
    metadata: Metadata
    type: Literal["Opaque"]
    string_data: Annotated[dict[DataKey, str], Field(min_length=1)]


class LocalReference(_Strict):
    """Another object of the same namespace."""

    name: Name


class ServiceAccount(_Strict):
    """Who a pod is."""

    api_version: Literal["v1"]
    kind: Literal["ServiceAccount"]
    metadata: Metadata
    secrets: list[LocalReference]
