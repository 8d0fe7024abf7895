"""YAML as Kubernetes reads it, with the line of every field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

Path: TypeAlias = tuple[str | int, ...]

# More than any manifest has; aliases can make a few lines grow without end.
_MAX_NODES = 200_000


class UnreadableError(Exception):
    """Text that is no YAML, or none that Kubernetes takes.

    Args:
        message: What is wrong.
        line: Where, from 1.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a manifest.

    Attributes:
        file: The file it is in, as it was named.
        data: What it says; `structure.cleaned` leaves out what has no place in its kind.
        lines: Path of every field and item to its line, from 1.
        repeated: Paths of keys that were given before in the same mapping.
    """

    file: str
    data: Mapping[str, Any]
    lines: Mapping[Path, int]
    repeated: tuple[Path, ...] = field(default=())

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
        while path not in self.lines:
            if not path:
                return 1
            path = path[:-1]
        return self.lines[path]


class _Loader(yaml.SafeLoader):
    """PyYAML without dates: Kubernetes knows none, and reads them as text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_documents(text: str, file: str) -> list[Document]:
    """Read every object of a YAML stream; a `List` becomes its items.

    What is no mapping is left out, and so is an empty document.

    Raises:
        UnreadableError: It is no YAML.
    """
    loader = _Loader(text)
    found: list[Document] = []
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            found += _split(_Builder(loader).document(node, file))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = " ".join(part for part in (error.context, error.problem) if part)
        raise UnreadableError(told, mark.line + 1 if mark else 1) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UnreadableError(str(error) or type(error).__name__, 1) from error
    finally:
        loader.dispose()
    return found


def shown(path: Path) -> str:
    """Write a path for a person.

    >>> shown(("spec", "predictors", 0, "traffic"))
    'spec.predictors[0].traffic'
    """
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


class _Builder:
    """Turns the nodes of one document into plain data, and notes their lines."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self._lines: dict[Path, int] = {}
        self._repeated: list[Path] = []
        self._open: set[int] = set()
        self._count = 0

    def document(self, node: yaml.Node, file: str) -> Document | None:
        data = self._build(node, ())
        if not isinstance(data, dict):
            return None
        return Document(file, data, self._lines, tuple(self._repeated))

    def _build(self, node: yaml.Node, path: Path) -> Any:  # noqa: ANN401 - parsed YAML
        self._lines.setdefault(path, node.start_mark.line + 1)
        self._count += 1
        if self._count > _MAX_NODES or id(node) in self._open:
            raise UnreadableError("aliases make it grow without end", node.start_mark.line + 1)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self._build(item, (*path, i)) for i, item in enumerate(node.value)]
            return self._loader.construct_object(node)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        own = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        self._loader.flatten_mapping(node)
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            here = (*path, key)
            if key in built and own.count(key) > 1:
                self._repeated.append(here)
            self._lines[here] = key_node.start_mark.line + 1
            built[key] = self._build(value_node, here)
        return built


def _split(document: Document | None) -> Iterator[Document]:
    if document is None:
        return
    items = document.data.get("items")
    if document.kind != "List" or not isinstance(items, list):
        yield document
        return
    for index, item in enumerate(items):
        if isinstance(item, Mapping):
            start: Path = ("items", index)
            yield Document(
                document.file,
                item,
                {p[2:]: line for p, line in document.lines.items() if p[:2] == start},
                tuple(p[2:] for p in document.repeated if p[:2] == start),
            )
