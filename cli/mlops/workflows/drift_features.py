"""What is known of the features of a model: its reference profile, or else their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mlops.errors import MlopsError
from mlops.monitoring.drift import Features
from mlops.registry.details import read_model_file
from mlops.spec.model import ModelVersion
from mlops.stats.profile_document import PROFILE_FILE, from_json
from mlops.tables.signature import read_signature


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the features of a model.

    Attributes:
        features: By name; none where there are no names.
        why_not: Why there is no profile of them; empty if there is.
    """

    features: Features = field(default_factory=dict)
    why_not: str = ""


def features_of(model: ModelVersion, folder: Path | None = None) -> Known:
    """Return what is known of the features of a model.

    Args:
        model: The model.
        folder: Where its files are on this machine; None to ask the registry.
    """
    if model.endpoint or (folder and not folder.is_dir()):
        return Known(why_not="another server has the model")
    try:
        return _read(
            (lambda name: _text(folder / name))
            if folder
            else (lambda name: read_model_file(model.source, name))
        )
    except MlopsError as error:
        return Known(why_not=error.message.removesuffix("."))


def _read(read: Callable[[str], str | None]) -> Known:
    profile = read(PROFILE_FILE)
    if profile is not None:
        found = from_json(profile)
        more = {name: each for name, each in found.joint.items() if name not in found.features}
        return Known({**found.features, **more})
    import yaml

    try:
        mlmodel = yaml.safe_load(read("MLmodel") or "") or {}
        names = read_signature(mlmodel).names
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        names = ()
    return Known(dict.fromkeys(names), "its model has no reference profile")


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
