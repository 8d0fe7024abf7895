"""The records of a check: what a rule sees, what it says, what a reader gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from packaging.version import Version

from mlops.linting.documents import Document, Path

Severity: TypeAlias = Literal["error", "warning", "note"]

#: The version of each platform that is assumed where the caller names none.
VERSIONS: Mapping[str, str] = {
    "gateway-api": "1.5",
    "kserve": "0.20",
    "seldon": "1.17.1",
    "seldon2": "2.6.0",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What a rule found.

    Attributes:
        path: Where in the document; the nearest line that exists is shown.
        message: What is wrong with the value, a clause or a sentence with it in it.
    """

    path: Path
    message: str


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may know beside its document.

    Files of one folder belong together, as for `kubectl apply -f FOLDER`. What another folder has
    may be of another environment: it only answers whether something exists.

    Attributes:
        documents: All documents that are checked, the rule's own among them.
        versions: Platform to version, for those the caller knows; see `VERSIONS`.
        feedback: Whether feedback is meant to be sent to what is deployed.
    """

    documents: Sequence[Document] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    feedback: bool = False
    by_kind: Mapping[str, Sequence[Document]] = field(init=False, repr=False)
    by_place: Mapping[tuple[str, str], Sequence[Document]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_kind: dict[str, list[Document]] = {}
        by_place: dict[tuple[str, str], list[Document]] = {}
        for each in self.documents:
            by_kind.setdefault(each.kind, []).append(each)
            by_place.setdefault((each.folder, each.kind), []).append(each)
        object.__setattr__(self, "by_kind", by_kind)
        object.__setattr__(self, "by_place", by_place)

    @property
    def has_router(self) -> bool:
        """Whether an mlops server is among them, which takes the feedback in their place."""
        for document in self.of_kind("Deployment"):
            for container in maps(document.at("spec", "template", "spec", "containers")):
                words = [*(container.get("command") or ()), *(container.get("args") or ())]
                if words[-2:] == ["mlops.serving.pod", "serve"]:
                    return True
        return False

    def version(self, platform: str) -> Version:
        """Return the version of a platform that the cluster has, or is assumed to have."""
        return Version(self.versions.get(platform) or VERSIONS[platform])

    def of_kind(self, *kinds: str) -> list[Document]:
        """Return the documents of some kinds."""
        return [each for kind in kinds for each in self.by_kind.get(kind, ())]

    def beside(self, document: Document, *kinds: str) -> list[Document]:
        """Return the documents of some kinds that are applied together with one."""
        return [each for kind in kinds for each in self.by_place.get((document.folder, kind), ())]

    def named(self, kind: str, name: str, beside: Document) -> Document | None:
        """Return the document of a kind and name in the namespace of one beside it, if any."""
        for document in self.beside(beside, kind):
            if (document.name, document.namespace) == (name, beside.namespace):
                return document
        return None


Check: TypeAlias = Callable[[Document, Context], Iterator[Problem]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing to look at.

    Attributes:
        id: Its name, `platform/what`.
        severity: `error` for what a cluster refuses or what cannot work, `note` for what was not
            checked, else `warning`.
        kinds: Kinds of documents it looks at, `group/Kind` without the version.
        check: Yields what is wrong.
        explanation: Why it matters and what to do.
        reference: Where the platform's behaviour can be read.
    """

    id: str
    severity: Severity
    kinds: tuple[str, ...]
    check: Check
    explanation: str
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, for a user.

    Attributes:
        rule: Id of the rule.
        severity: How bad.
        file: The file, as it was named.
        line: Its line, from 1.
        object: `Kind name`, empty if the text could not be read.
        path: Where in the document, `spec.predictors[0].traffic`.
        message: What is wrong.
        explanation: Why it matters and what to do.
        reference: Where the platform's behaviour can be read, may be empty.
    """

    rule: str
    severity: Severity
    file: str
    line: int
    object: str
    path: str
    message: str
    explanation: str
    reference: str


def maps(value: object) -> list[Mapping[str, Any]]:
    """Return the mappings of a list, an empty one in place of what is none."""
    if not isinstance(value, list):
        return []
    return [item if isinstance(item, Mapping) else {} for item in value]


def twice(names: Iterable[str]) -> list[tuple[int, str]]:
    """Return position and name of every name that was there before.

    >>> twice(["a", "b", "a"])
    [(2, 'a')]
    """
    seen: set[str] = set()
    found = []
    for index, name in enumerate(names):
        if name in seen:
            found.append((index, name))
        seen.add(name)
    return found
