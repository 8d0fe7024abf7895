"""Inputs of models that the journal hides, and what cannot be done of such requests then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlops.errors import MlopsError
from mlops.registry.details import read_model_file
from mlops.settings.needs import RolloutSettings
from mlops.spec.deployment import DeploymentSpec
from mlops.tables.signature import read_signature

_MOST_NAMED = 4


def notes_on_hidden(settings: RolloutSettings, spec: DeploymentSpec) -> tuple[str, ...]:
    """Say which inputs of a deployment's models are hidden; nothing if none is."""
    hidden = (*settings.journal.hash, *settings.journal.drop)
    sources = (arm.model.source for arm in spec.arms if arm.model.endpoint is None)
    said = describe_hidden(hidden_inputs(hidden, sources))
    return (said,) if said else ()


def hidden_inputs(hidden: Iterable[str], sources: Iterable[str]) -> list[str]:
    """Return the hidden features that are inputs of models.

    Args:
        hidden: Features that are kept hashed, or not at all.
        sources: Artifact URIs or folders of the models; of one that cannot be read nothing is said.
    """
    names = dict.fromkeys(hidden)
    known = set().union(*map(_inputs, sources)) if names else set()
    return [name for name in names if name in known]


def describe_hidden(names: list[str]) -> str:
    """Return a sentence about hidden inputs; empty if there are none."""
    if not names:
        return ""
    listed = ", ".join(f"`{name}`" for name in names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return (
        f"The models take {listed}{more}, and `[journal] hash` or `drop` hides "
        f"{'it' if len(names) == 1 else 'them'}. So of these "
        "requests there is no `mlops explain`, no `mlops audit replay`, no `mlops evaluate MODEL`, "
        "and no paired comparison; drift does not compare what is hidden, and `mlops monitor "
        "outliers` needs models trained with that setting. To have all of it, leave such columns "
        "out of the models' signatures."
    )


def _inputs(source: str) -> Iterator[str]:
    import yaml

    try:
        document = yaml.safe_load(read_model_file(source, "MLmodel") or "") or {}
        yield from read_signature(document).names
    except (MlopsError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        return
