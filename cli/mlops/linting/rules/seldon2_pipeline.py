"""Seldon Core v2: Pipelines.

Behaviour is that of SeldonIO/seldon-core v2.10.2, `scheduler/pkg/store/pipeline/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlops.linting.base import Context, Problem, Rule, maps, twice
from mlops.linting.documents import Document, Path
from mlops.linting.rules.seldon2 import PIPELINE

_VALIDATE = "SeldonIO/seldon-core v2.10.2 scheduler/pkg/store/pipeline/validate.go"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_EXTERNAL = re.compile(
    r"[^.]+\.(inputs|outputs)(\.[^.]+)?|[^.]+\.step\.[^.]+\.(inputs|outputs)(\.[^.]+)?"
)


def steps(document: Document, context: Context) -> Iterator[Problem]:
    """Find a Pipeline without steps, or with steps of the same name."""
    found = _steps(document)
    if document.at("spec", "steps") == []:
        yield Problem(("spec", "steps"), "must have at least one step")
    for index, name in twice(str(step.get("name")) for step in found):
        yield Problem(("spec", "steps", index, "name"), f"the name `{name}` is already used")
    for index, step in enumerate(found):
        if step.get("name") == document.name:
            yield Problem(("spec", "steps", index, "name"), "must not be the name of the Pipeline")
    if document.name and not _NAME.fullmatch(document.name):
        yield Problem(("metadata", "name"), f"`{document.name}` is not a valid name")


def references(document: Document, context: Context) -> Iterator[Problem]:
    """Find inputs that are malformed or have no source."""
    known = {str(step.get("name")) for step in _steps(document)}
    for path, text in _inputs(document):
        parts = text.split(".")
        if len(parts) > 3 or (len(parts) > 1 and parts[1] not in ("inputs", "outputs")):
            yield Problem(path, f"`{text}`: write STEP, STEP.outputs or STEP.outputs.TENSOR")
        elif parts[0] not in known and parts[0] != document.name:
            yield Problem(path, f"step `{parts[0]}` does not exist")


def triggers(document: Document, context: Context) -> Iterator[Problem]:
    """Find triggers without a source, which nothing checks."""
    known = {str(step.get("name")) for step in _steps(document)} | {document.name}
    for index, step in enumerate(_steps(document)):
        for number, text in enumerate(step.get("triggers") or ()):
            if str(text).partition(".")[0] not in known:
                yield Problem(
                    ("spec", "steps", index, "triggers", number),
                    f"step `{str(text).partition('.')[0]}` does not exist",
                )


def cycles(document: Document, context: Context) -> Iterator[Problem]:
    """Find steps that wait for themselves."""
    if document.at("spec", "allowCycles"):
        return
    before = {
        str(step.get("name")): [
            str(text).partition(".")[0]
            for text in (*(step.get("inputs") or ()), *(step.get("triggers") or ()))
        ]
        for step in _steps(document)
    }
    for index, name in enumerate(before):
        seen: set[str] = set()
        waiting = list(before[name])
        while waiting:
            found = waiting.pop()
            if found == name:
                yield Problem(("spec", "steps", index), f"`{name}` is part of a cycle")
                break
            if found not in seen:
                seen.add(found)
                waiting += before.get(found, [])


def external(document: Document, context: Context) -> Iterator[Problem]:
    """Find an input from other pipelines that names none."""
    given = document.at("spec", "input")
    if not isinstance(given, Mapping):
        return
    inputs = given.get("externalInputs") or []
    if not inputs:
        yield Problem(("spec", "input"), "`externalInputs` is empty")
    for index, text in enumerate(inputs):
        if not _EXTERNAL.fullmatch(str(text)):
            yield Problem(
                ("spec", "input", "externalInputs", index),
                f"`{text}`: write PIPELINE.outputs or PIPELINE.step.STEP.outputs",
            )


def output(document: Document, context: Context) -> Iterator[Problem]:
    """Find a Pipeline that answers nothing."""
    if len(_steps(document)) > 1 and not document.at("spec", "output", "steps"):
        yield Problem(("spec",), "`output` is missing")


def drift(document: Document, context: Context) -> Iterator[Problem]:
    """Find an answer that waits for a batch."""
    batched = {
        str(step.get("name"))
        for step in _steps(document)
        if ((step.get("batch") or {}).get("size") or 0) > 1
    }
    for index, text in enumerate(document.at("spec", "output", "steps") or ()):
        if str(text).partition(".")[0] in batched:
            yield Problem(("spec", "output", "steps", index), f"`{text}` waits for a whole batch")


def _steps(document: Document) -> list[Mapping[str, Any]]:
    return maps(document.at("spec", "steps"))


def _inputs(document: Document) -> Iterator[tuple[Path, str]]:
    for index, step in enumerate(_steps(document)):
        for number, text in enumerate(step.get("inputs") or ()):
            yield ("spec", "steps", index, "inputs", number), str(text)
    for index, text in enumerate(document.at("spec", "output", "steps") or ()):
        yield ("spec", "output", "steps", index), str(text)


RULES = (
    Rule(
        "seldon2/steps",
        "error",
        PIPELINE,
        steps,
        "The scheduler refuses it; the object is created and never becomes ready.",
        _VALIDATE,
    ),
    Rule(
        "seldon2/step-inputs",
        "error",
        PIPELINE,
        references,
        "The scheduler refuses it; the object is created and never becomes ready.",
        _VALIDATE,
    ),
    Rule(
        "seldon2/step-triggers",
        "error",
        PIPELINE,
        triggers,
        "The scheduler looks at inputs only, and its search for cycles then follows a step that "
        "does not exist.",
        _VALIDATE,
    ),
    Rule(
        "seldon2/step-cycle",
        "error",
        PIPELINE,
        cycles,
        "The scheduler refuses cycles unless `allowCycles` is set.",
        _VALIDATE,
    ),
    Rule(
        "seldon2/external-inputs",
        "error",
        PIPELINE,
        external,
        "The scheduler refuses it; the object is created and never becomes ready.",
        _VALIDATE,
    ),
    Rule(
        "seldon2/no-output",
        "warning",
        PIPELINE,
        output,
        "Without an output, clients of the Pipeline get no answer.",
        _VALIDATE,
    ),
    Rule(
        "seldon2/batched-output",
        "warning",
        PIPELINE,
        drift,
        "The answer waits until the batch is full. Keep drift detectors out of `output`.",
        "SeldonIO/seldon-core v2.10.2 docs-gb/",
    ),
)
