"""The Secret by which a platform reaches the artifact store, in the platform's own shape.

Each wants the same keys in another form, and one wrong letter is a crash loop: KServe reads
annotations beside them, Seldon v1 variables of an rclone remote, Seldon v2 a remote as a document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError

from mlops.deployment.core_v1 import Secret, ServiceAccount
from mlops.deployment.yaml_templates import render_template
from mlops.errors import InvalidInputError, did_you_mean, one_of
from mlops.linting.addresses import is_loopback
from mlops.registry.stores import Access, access_for, parse_location
from mlops.registry.stores.values import Values, read_values

if TYPE_CHECKING:
    from mlops.settings.needs import RolloutSettings

PLATFORMS = ("kserve", "seldon", "seldon2", "kubernetes")
_KINDS: Mapping[str, type[Secret] | type[ServiceAccount]] = {
    "Secret": Secret,
    "ServiceAccount": ServiceAccount,
}
# The default of S3's own clients, which MinIO accepts.
_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class StoreSecret:
    """A rendered Secret.

    Attributes:
        platform: Whose shape it has.
        store: Root of the store.
        filled: Whether it holds values.
        manifest: The YAML; not in the `repr`, as it may hold values.
        notes: What to mind.
        next_commands: What to do with it.
    """

    platform: str
    store: str
    filled: bool
    manifest: str = field(repr=False)
    notes: tuple[str, ...]
    next_commands: tuple[str, ...]


def store_secret(
    settings: RolloutSettings,
    platform: str,
    *,
    name: str = "",
    namespace: str = "",
    store: str = "",
    with_values: bool = False,
) -> StoreSecret:
    """Render the Secret for a store.

    Args:
        settings: Say where the store is and where its credentials are.
        platform: One of `PLATFORMS`.
        name: The Secret's name; empty means the platform's usual one.
        namespace: Empty leaves it to kubectl.
        store: Its root; empty means `artifacts.root`.
        with_values: Put the credentials in, from the source that the settings name.

    Raises:
        InvalidInputError: The platform is unknown, the store is on this machine, or a name is bad.
        UsageError: Values were asked for and no source is named.
        NotAllowedError: There are no credentials at the source.
    """
    if platform not in PLATFORMS:
        hint = did_you_mean(platform, PLATFORMS) or f"Use {one_of(PLATFORMS)}."
        raise InvalidInputError(f"There is no platform called `{platform}`.", hint=hint)
    root = store or settings.artifact_root
    location = parse_location(root)
    if location.scheme not in ("s3", "gs"):
        raise InvalidInputError(
            f"`{root}` is not a store that a cluster can reach with credentials.",
            hint="Set `root` of [artifacts] to an s3:// or gs:// URI, or name one with `--store`.",
        )
    access = access_for(location.scheme, settings)
    values = read_values(access, str(location)) if with_values else Values()
    name = name or _usual_name(settings, platform, location.scheme)
    facts = _facts(access, values, filled=with_values)
    manifest = render_template(
        f"stores/{platform}.yaml", {**facts, "name": name, "namespace": namespace}
    )
    _check(manifest)
    return StoreSecret(
        platform, str(location), with_values, manifest, _notes(access), _next(platform, with_values)
    )


def _usual_name(settings: RolloutSettings, platform: str, scheme: str) -> str:
    if platform == "seldon":
        return settings.seldon.env_secret or "seldon-rclone-secret"
    return f"mlops-{scheme}"


def _facts(access: Access, values: Values, *, filled: bool) -> dict[str, object]:
    parts = urlsplit(access.endpoint)
    return {
        "scheme": access.scheme,
        "filled": filled,
        "endpoint": access.endpoint,
        "host": parts.netloc,
        "tls": parts.scheme == "https",
        "region": access.region or _REGION,
        "provider": "Minio" if access.endpoint else "AWS",
        "access_key": values.access_key,
        "secret_key": values.secret_key,
        "key_file": values.key_file,
    }


def _notes(access: Access) -> tuple[str, ...]:
    if is_loopback(access.endpoint):
        return (
            f"the endpoint {access.endpoint} is this machine, which no pod reaches by that name",
        )
    return ()


def _next(platform: str, filled: bool) -> tuple[str, ...]:
    if filled:
        return ()
    return (f"mlops stores secret --for {platform} --with-values | kubectl apply -f -",)


def _check(manifest: str) -> None:
    """Validate every object, with messages that hold no value."""
    for document in yaml.safe_load_all(manifest):
        kind: Any = document.get("kind")
        try:
            _KINDS[kind].model_validate(document)
        except ValidationError as error:
            faults = [
                f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
                for fault in error.errors(include_input=False, include_url=False)
            ]
            raise InvalidInputError(
                f"The {kind} is refused by Kubernetes:\n" + "\n".join(faults),
                hint="`--name` and `--namespace` are lower-case letters, digits and dashes.",
            ) from None
