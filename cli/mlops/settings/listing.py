"""Every setting as it is in force, with where its value comes from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from mlops.settings.schema import SECTIONS, Settings
from mlops.settings.secrets import without_credentials


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One setting in force.

    Attributes:
        key: `section.key`, as in `mlops.toml`.
        value: What is used; credentials in a URI are left out.
        origin: Where it comes from.
        meaning: What it is for.
    """

    key: str
    value: Any
    origin: str
    meaning: str


def list_settings(settings: Settings) -> tuple[SettingLine, ...]:
    """Return every setting in the order of the schema."""
    used = _used_instead_of_empty(settings)
    lines = []
    for section, record in SECTIONS.items():
        for item in fields(record):
            key = f"{section}.{item.name}"
            value = getattr(getattr(settings, section), item.name)
            if value == "":
                value = used.get(key, value)
            shown = without_credentials(value) if isinstance(value, str) else value
            lines.append(SettingLine(key, shown, settings.origins[key], item.metadata["doc"]))
    return tuple(lines)


def _used_instead_of_empty(settings: Settings) -> dict[str, str]:
    return {
        "tracking.uri": settings.tracking_uri,
        "tracking.experiment": settings.project_name,
        "artifacts.root": settings.artifact_root,
        "deploy.name": settings.project_name,
    }
