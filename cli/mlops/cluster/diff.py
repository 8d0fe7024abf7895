"""What applying would change, as a readable unified diff of YAML. Pure."""

from __future__ import annotations

import copy
import difflib

import yaml

from mlops.cluster.objects import Manifest, ref_of

#: What the server keeps beside what people write.
_NOISE = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink")
_HIDDEN = "(hidden)"
_CONTEXT_LINES = 3


def difference(before: Manifest | None, after: Manifest | None) -> tuple[str, ...]:
    """Tell two states of one object apart, without what only the server writes.

    Values of Secrets are never shown, only that they change.

    Args:
        before: As it is; None if it does not exist.
        after: As it would be; None if it would be gone.

    Returns:
        Lines of a unified diff without line ends; none if there is no difference.
    """
    old, new = _readable(before), _readable(after)
    if "Secret" in (each["kind"] for each in (before, after) if each):
        _hide(old or {}, new or {})
    lines = difflib.unified_diff(
        _lines(old),
        _lines(new),
        f"live/{ref_of(before)}" if before else "/dev/null",
        f"applied/{ref_of(after)}" if after else "/dev/null",
        lineterm="",
        n=_CONTEXT_LINES,
    )
    return tuple(lines)


def same(before: Manifest, after: Manifest) -> bool:
    """Whether two states of an object differ in nothing but what only the server writes."""
    return _readable(before) == _readable(after)


def _readable(manifest: Manifest | None) -> Manifest | None:
    if manifest is None:
        return None
    found = copy.deepcopy(manifest)
    found.pop("status", None)
    for key in _NOISE:
        found["metadata"].pop(key, None)
    return found


def _hide(old: Manifest, new: Manifest) -> None:
    """Put words in the place of values; different ones where they differ."""
    for field in ("data", "stringData"):
        before, after = old.get(field) or {}, new.get(field) or {}
        changed = {key for key in before if key in after and before[key] != after[key]}
        if before:
            old[field] = dict.fromkeys(before, _HIDDEN)
        if after:
            other = dict.fromkeys(changed, f"{_HIDDEN}, another value")
            new[field] = dict.fromkeys(after, _HIDDEN) | other


def _lines(manifest: Manifest | None) -> list[str]:
    if manifest is None:
        return []
    order = ("apiVersion", "kind", "metadata")
    first = {key: manifest[key] for key in order if key in manifest}
    text = yaml.dump(first | manifest, Dumper=_Dumper, sort_keys=False, width=100)
    return text.splitlines()


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
