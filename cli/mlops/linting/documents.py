"""YAML and JSON as Kubernetes reads them, with the line of every field."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import yaml

Path: TypeAlias = tuple[str | int, ...]

# More than any manifest has; aliases can make a few lines grow without end.
_MAX_NODES = 200_000
# Deeper than any manifest is, and far less than Python's functions may call themselves.
_MAX_DEPTH = 100
# The schemas in CustomResourceDefinitions are most of an install file, and nothing checks them.
_LARGE_CHUNK = 4_000
_CRD = re.compile(r"^kind:\s*[\"']?CustomResourceDefinition\b", re.MULTILINE)
_SEPARATOR = re.compile(r"^---(?=\s)", re.MULTILINE)
_CRD_STUB = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition}"
_DIRECTIVE = re.compile(
    r"^\s*(?:- +)*(?:[\"']?[\w./-]+[\"']?\s*:\s*)?(?:\{\{|\{%|<%|\{[\w -]+\}[\w/.:-])",
    re.MULTILINE,
)
_PLACEHOLDER = re.compile(
    r"\{\{.*\}\}|\$\{[^}]*\}|\$\([A-Za-z_][\w.\-]*\)|^\$[A-Za-z_]\w*$"
    r"|<(?:[A-Za-z][^<>]*)?>|\{%|^%\w+%$|^__\w+__$|^@\w+@$",
    re.DOTALL,
)


class UnreadableError(Exception):
    """Text that is not YAML, or not what Kubernetes accepts.

    Args:
        message: What is wrong.
        line: Where, from 1.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class TemplateError(UnreadableError):
    """Text that becomes a manifest only when a template engine has rendered it."""


class Spot(NamedTuple):
    """The position of a value.

    Attributes:
        line: Its line, from 1; for the value of a key, that of the key.
        inside: The spots of its fields or items.
    """

    line: int
    inside: Mapping[str | int, Spot]


_NOTHING: Mapping[str | int, Spot] = {}
_TOP = Spot(1, _NOTHING)


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a manifest.

    Attributes:
        file: The file it is in, as it was named.
        data: What it says; `structure.cleaned` leaves out what is not a field of its kind.
        spot: Where it and its fields are.
        repeated: Paths of keys that were given before in the same mapping.
        filled_in: Paths of numbers, lists and mappings that another program puts in.
    """

    file: str
    data: Mapping[str, Any]
    spot: Spot = _TOP
    repeated: tuple[Path, ...] = field(default=())
    filled_in: tuple[Path, ...] = field(default=())

    @property
    def folder(self) -> str:
        """The folder of its file; empty for standard input."""
        return self.file.rpartition("/")[0]

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone for Kubernetes' core."""
        return str(self.data.get("apiVersion") or "")

    @property
    def kind(self) -> str:
        """Its kind without its group."""
        return str(self.data.get("kind") or "")

    @property
    def is_object(self) -> bool:
        """Whether it says which kind it is, as every object of a cluster does."""
        return bool(self.api_version and self.kind)

    @property
    def group_kind(self) -> str:
        """`group/Kind` without the version; the kind alone for Kubernetes' core."""
        group, slash, _ = self.api_version.rpartition("/")
        return f"{group}{slash}{self.kind}"

    @property
    def name(self) -> str:
        """`metadata.name`, empty if there is none."""
        return str(self.at("metadata", "name") or "")

    @property
    def namespace(self) -> str:
        """`metadata.namespace`, empty if it is left to `kubectl`."""
        return str(self.at("metadata", "namespace") or "")

    @property
    def annotations(self) -> Mapping[str, str]:
        """`metadata.annotations`."""
        found = self.at("metadata", "annotations")
        return found if isinstance(found, Mapping) else {}

    def at(self, *path: str | int) -> Any:  # noqa: ANN401 - parsed YAML
        """Return the value at a path, None if there is none."""
        value: Any = self.data
        for step in path:
            if isinstance(value, Mapping):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def line(self, path: Path) -> int:
        """Return the line of a path, or of the nearest thing around it."""
        spot = self.spot
        for step in path:
            if step not in spot.inside:
                break
            spot = spot.inside[step]
        return spot.line


class _Resolver(yaml.SafeLoader):
    """PyYAML without dates: Kubernetes knows none, and reads them as text."""


_Resolver.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_EXPONENT = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+")


@lru_cache(maxsize=20_000)
def _scalar(text: str, tag: str | None) -> Hashable:
    """Return the value of a scalar, resolved as Kubernetes does if it has no tag."""
    loader: Any = _Resolver("")
    if tag is None and ":" in text:
        # YAML 1.1 has numbers to the base of 60; Go's parser does not.
        return text
    if tag is None and _EXPONENT.fullmatch(text):
        return float(text)
    tag = tag or loader.resolve(yaml.ScalarNode, text, (True, False))
    if tag not in _Resolver.yaml_constructors:
        return text
    value: Hashable = loader.construct_object(yaml.ScalarNode(tag, text))
    return text if isinstance(value, bytes) else value


def read_documents(text: str, file: str) -> list[Document]:
    """Read every object of a YAML stream, or of JSON; a `List` becomes its items.

    What is not a mapping is left out, and so is an empty document.

    Raises:
        TemplateError: It has to be rendered first.
        UnreadableError: It is not YAML.
    """
    if text.lstrip()[:1] in ("{", "["):
        data = _json(text)
        if data is not None and not (isinstance(data, dict) and "kind" in data):
            return [Document(file, data)] if isinstance(data, dict) else []
        # A tab may be between the tokens of JSON, and nowhere else in it.
        text = text.replace("\t", " ")
    found: list[Document] = []
    try:
        for data, spot, repeated in _Reader(_without_crds(text)).documents():
            if isinstance(data, dict):
                found += _split(Document(file, data, spot, repeated))
    except (yaml.YAMLError, RecursionError) as error:
        raise _unreadable(text, error) from error
    return found


def is_placeholder(value: object) -> bool:
    """Return whether a value is put in by another program: Helm, envsubst, Jinja, a reader.

    >>> [is_placeholder(each) for each in ("v{{ .Values.tag }}", "${TAG}", "<your name>", "v1")]
    [True, True, True, False]
    """
    if isinstance(value, dict) and len(value) == 1:
        # `{name}` without quotes, which is a mapping for YAML.
        return next(iter(value.values())) is None
    return isinstance(value, str) and _PLACEHOLDER.search(value) is not None


def shown(path: Path) -> str:
    """Write a path for a user.

    >>> shown(("spec", "predictors", 0, "traffic"))
    'spec.predictors[0].traffic'
    """
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def _json(text: str) -> Any:  # noqa: ANN401 - parsed JSON
    """Return what a text says as JSON, None if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _unreadable(text: str, error: Exception) -> UnreadableError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    parts = (getattr(error, "context", None), getattr(error, "problem", None))
    told = " ".join(part for part in parts if part) or str(error) or type(error).__name__
    directive = _DIRECTIVE.search(text)
    if directive:
        return TemplateError(told, text.count("\n", 0, directive.end()) + 1)
    return UnreadableError(told, mark.line + 1 if mark else 1)


def _without_crds(text: str) -> str:
    """Put a stub for each large CustomResourceDefinition; lines keep their numbers."""
    if len(text) < _LARGE_CHUNK or not _CRD.search(text):
        return text
    starts = [0, *(match.end() for match in _SEPARATOR.finditer(text)), len(text)]
    parts = []
    for start, end in pairwise(starts):
        part = text[start:end]
        if len(part) > _LARGE_CHUNK and _CRD.search(part):
            separator = "---" if part.endswith("---") else ""
            part = f" {_CRD_STUB}" + "\n" * part.count("\n") + separator
        parts.append(part)
    return "".join(parts)


class _Built(NamedTuple):
    """A value that has been read, with its number of nodes and of levels below it."""

    data: Any
    spot: Spot
    nodes: int
    levels: int


class _Reader:
    """Turns the events of a YAML stream into plain data, and notes lines.

    The events are those of libyaml where PyYAML has it, several times faster than PyYAML's own.
    """

    def __init__(self, text: str) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[Any] = yaml.parse(text, loader)
        self._anchors: dict[str, _Built | None] = {}
        self._repeated: list[Path] = []
        self._count = self._deepest = 0

    def documents(self) -> Iterator[tuple[Any, Spot, tuple[Path, ...]]]:
        """Yield each document's data, its position, and the keys that it repeats."""
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors, self._repeated = {}, []
                self._count = self._deepest = 0
                built = self._build(next(self._events), ())
                yield built.data, built.spot, tuple(self._repeated)

    def _build(self, event: Any, path: Path) -> _Built:  # noqa: ANN401 - PyYAML has no types
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            anchor = str(event.anchor)
            built = self._anchors.get(anchor)
            if built is None:
                raise UnreadableError(_alias_fault(anchor, self._anchors), line)
            self._counted(built.nodes, len(path) + built.levels, line)
            return built
        if event.anchor:
            self._anchors[event.anchor] = None
        before, deepest, self._deepest = self._count, self._deepest, len(path)
        self._counted(1, len(path), line)
        data: Any
        spot = Spot(line, _NOTHING)
        if isinstance(event, yaml.MappingStartEvent):
            data, spot = self._mapping(line, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            items = self._items(path)
            data = [item.data for item in items]
            spot = Spot(line, {index: item.spot for index, item in enumerate(items)})
        else:
            plain = event.implicit[0] and not event.tag
            tag = event.tag if event.tag and event.tag.startswith("tag:yaml.org") else None
            data = _scalar(event.value, tag) if plain or tag else event.value
        built = _Built(data, spot, self._count - before, self._deepest - len(path))
        self._deepest = max(self._deepest, deepest)
        if event.anchor:
            self._anchors[event.anchor] = built
        return built

    def _counted(self, nodes: int, depth: int, line: int) -> None:
        self._count += nodes
        self._deepest = max(self._deepest, depth)
        if depth > _MAX_DEPTH:
            raise UnreadableError(f"it is nested more than {_MAX_DEPTH} levels deep", line)
        if self._count > _MAX_NODES:
            raise UnreadableError("aliases make it grow without end", line)

    def _items(self, path: Path) -> list[_Built]:
        items: list[_Built] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._build(event, (*path, len(items))))
        return items

    def _mapping(self, line: int, path: Path) -> tuple[dict[str, Any], Spot]:
        data: dict[str, Any] = {}
        spots: dict[str | int, Spot] = {}
        merged: list[_Built] = []
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                mark: Any = event.start_mark
                raise yaml.MarkedYAMLError(problem="found a mapping as a key", problem_mark=mark)
            aliased = isinstance(event, yaml.AliasEvent)
            key = str(self._build(event, path).data) if aliased else event.value
            here = (*path, key)
            value = self._build(next(self._events), here)
            if key == "<<" and isinstance(value.data, dict | list):
                merged.append(value)
                continue
            if key in data:
                self._repeated.append(here)
            data[key] = value.data
            spots[key] = Spot(event.start_mark.line + 1, value.spot.inside)
        for each in merged:
            _merge(data, spots, each)
        return data, Spot(line, spots)


def _alias_fault(anchor: str, anchors: Mapping[str, object]) -> str:
    if anchor in anchors:
        return "aliases make it grow without end"
    return f"found undefined alias '{anchor}'"


def _merge(data: dict[str, Any], spots: dict[str | int, Spot], merged: _Built) -> None:
    """Add what a merge key adds, except keys that are there already."""
    if isinstance(merged.data, list):
        for index, item in enumerate(merged.data):
            _merge(data, spots, _Built(item, merged.spot.inside[index], 0, 0))
    elif isinstance(merged.data, dict):
        for key, value in merged.data.items():
            if key not in data:
                data[key] = value
                spots[key] = merged.spot.inside[key]


def _split(document: Document) -> Iterator[Document]:
    items = document.data.get("items")
    if document.kind != "List" or not isinstance(items, list):
        yield document
        return
    for index, item in enumerate(items):
        if isinstance(item, Mapping):
            yield Document(
                document.file,
                item,
                document.spot.inside["items"].inside[index],
                tuple(p[2:] for p in document.repeated if p[:2] == ("items", index)),
            )
