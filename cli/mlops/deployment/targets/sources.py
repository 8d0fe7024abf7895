"""Sources from which a cluster can fetch a model, and errors for all others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import SplitResult, urlsplit

from mlops.deployment.targets.base import Refusal, RenderOptions
from mlops.deployment.targets.names import models_of
from mlops.linting.rules.pods import amount
from mlops.settings.secrets import without_credentials
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.model import ModelVersion

_ONLY_MLFLOW = ("models", "runs", "mlflow-artifacts", "dbfs", "databricks")

#: Says why a platform cannot fetch from a URI that is otherwise valid; None if it can.
Fetcher = Callable[[SplitResult], Refusal | None]


def push_hint(ref: str) -> str:
    """Say how to copy a model from this machine to a store."""
    place = re.sub(r"[^A-Za-z0-9._-]+", "-", ref).strip("-")
    return (
        f"`mlops models push {ref} s3://BUCKET/{place}` copies it to where the cluster can reach "
        "it; then the same `mlops deploy` finds it there."
    )


def refusals(
    spec: DeploymentSpec,
    fetch: Fetcher,
    among: Callable[[ModelVersion], bool] = lambda _: True,
) -> Iterator[Refusal]:
    """Say why models cannot be fetched, and what would help; once for all of whom the same holds.

    Args:
        spec: Has the models.
        fetch: Says why a URI cannot be fetched.
        among: Whether a model is fetched at all.
    """
    faults: dict[str, list[tuple[str, str, str]]] = {}
    for name, model in models_of(spec).items():
        found = refusal(model, fetch) if among(model) else None
        if found is not None:
            shown = without_credentials(model.source).partition("?")[0]
            faults.setdefault(found.fault, []).append((name, shown, found.hint))
    for fault, those in faults.items():
        named = " and ".join(f"`{name}` (`{shown}`)" for name, shown, _ in those)
        whose = "the model of" if len(those) == 1 else "each model of"
        hint = "\n".join(dict.fromkeys(hint for *_, hint in those))
        yield Refusal(f"{whose} {named} {fault}", hint)


def refusal(model: ModelVersion, fetch: Fetcher) -> Refusal | None:
    """Say why one model cannot be fetched; None if it can."""
    source = model.source
    hint = push_hint(without_credentials(model.ref).partition("?")[0])
    parts = _split(source)
    if parts is None or not source.isprintable() or source != source.strip():
        return Refusal("is not a URI", hint)
    if _is_local(parts):
        return Refusal("is on this machine", hint)
    if "@" in parts.netloc or parts.query:
        return Refusal(
            "may carry a secret, which must not be in a manifest",
            "Leave out what comes before `@` and after `?`; credentials belong in a Secret.",
        )
    found = fetch(parts)
    if found is not None and parts.scheme in _ONLY_MLFLOW:
        return Refusal(found.fault, f"{hint}\n{found.hint}")
    if found is None and not parts.netloc and parts.scheme != "mlflow-artifacts":
        return Refusal("names no bucket", hint)
    return found


def stays_here(source: str) -> bool:
    """Whether no cluster can fetch from a URI: it is on this machine, or MLflow's own."""
    parts = _split(source)
    return parts is not None and (_is_local(parts) or parts.scheme in _ONLY_MLFLOW)


def _is_local(parts: SplitResult) -> bool:
    # A single letter is a drive, not a scheme.
    return parts.scheme == "file" or len(parts.scheme) < 2


def only_mlflow(parts: SplitResult, hint: str) -> Refusal | None:
    """Refuse schemes that only MLflow's own client supports."""
    if parts.scheme not in _ONLY_MLFLOW:
        return None
    return Refusal(f"can be fetched by MLflow only, as `{parts.scheme}:` is its own scheme", hint)


def remote_name(parts: SplitResult) -> bool:
    """Whether a scheme can be the name of an rclone remote."""
    return re.fullmatch(r"[a-z][a-z0-9]*", parts.scheme) is not None


def _split(source: str) -> SplitResult | None:
    try:
        return urlsplit(source)
    except ValueError:
        return None


def disk_refusals(
    spec: DeploymentSpec, options: RenderOptions, *, together: bool
) -> Iterator[Refusal]:
    """Refuse models of known size that do not fit on the disk that their pod may use.

    Args:
        spec: Has the models.
        options: What their files say, and how much a pod may use.
        together: Whether one pod holds all of them.
    """
    sizes = {
        model.source: options.details[name].size_bytes or 0
        for name, model in models_of(spec).items()
        if name in options.details
    }
    needed = sum(sizes.values()) if together else max(sizes.values(), default=0)
    allowed = amount(options.cluster.ephemeral_storage)
    if allowed is not None and needed > allowed:
        yield Refusal(
            f"the models of a pod take {needed / 2**30:.1f} GiB, and `cluster.ephemeral_storage` "
            f"is `{options.cluster.ephemeral_storage}`",
            "Allow them more, and as much again for temporary files.",
        )
