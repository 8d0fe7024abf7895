"""The grammar of a REF: how a user names one model version.

    wine                 the alias `champion` of the registered model, else its newest version;
                         if no such model exists, an alias of the project's own model
    wine/3               a version
    wine@champion        an alias
    models:/wine/3       MLflow's way of writing either
    runs:/ID/model       a model of a run
    ./m  ../m  /m        a folder with an MLmodel file
    s3://…  gs://…       such a folder in an artifact store
    v2+http://…          an endpoint of another server, see `mlops.spec.endpoint`

This module only reads the text; `mlops.registry` looks the model up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from mlops.errors import UsageError
from mlops.spec.endpoint import is_endpoint, parse_endpoint

_NAME = re.compile(r"[^/:@\s]+(?: [^/:@\s]+)*")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_EXAMPLES = "Write `wine`, `wine/3`, `wine@champion`, `runs:/ID/model`, `./folder` or `s3://…`."

Kind = Literal["name", "version", "alias", "model_id", "run", "path", "uri", "endpoint"]


@dataclass(frozen=True, slots=True)
class Ref:
    """One parsed REF.

    Attributes:
        text: What the user wrote.
        kind: Which form of the grammar it has.
        name: Registered model, for `name`, `version` and `alias`; else empty.
        version: Version number, for `version`; else 0.
        alias: Alias, for `alias`; else empty.
    """

    text: str
    kind: Kind
    name: str = ""
    version: int = 0
    alias: str = ""


def parse_ref(text: str) -> Ref:
    """Read a REF.

    Raises:
        UsageError: The text has none of the forms above.

    >>> parse_ref("wine/3")
    Ref(text='wine/3', kind='version', name='wine', version=3, alias='')
    >>> parse_ref("models:/wine@champion").alias
    'champion'
    """
    if not text or text.startswith("-"):
        raise UsageError(f"`{text}` is not a model reference.", hint=_EXAMPLES)
    if text in (".", "..") or text.startswith(("./", "../", "/")):
        return Ref(text, "path")
    if text.startswith("runs:/"):
        return _run(text)
    if text.startswith("models:/"):
        return _registered(text, text.removeprefix("models:/").strip("/"))
    if is_endpoint(text):
        return Ref(parse_endpoint(text).ref, "endpoint")
    if _URI.fullmatch(text):
        return Ref(text, "uri")
    return _registered(text, text)


def _run(text: str) -> Ref:
    run_id, _, path = text.removeprefix("runs:/").partition("/")
    if not run_id or not path:
        raise UsageError(
            f"`{text}` lacks the run's id or the model's path.", hint="Write `runs:/ID/model`."
        )
    return Ref(text, "run")


def _registered(text: str, body: str) -> Ref:
    if re.fullmatch(r"m-[0-9a-f]{32}", body):
        return Ref(text, "model_id")
    name, separator, rest = _split(body)
    if not _NAME.fullmatch(name):
        raise UsageError(f"`{text}` is not a model reference.", hint=_EXAMPLES)
    if not separator:
        return Ref(text, "name", name)
    if separator == "@":
        if not _NAME.fullmatch(rest):
            raise UsageError(f"`{text}` names no alias after the `@`.", hint=_EXAMPLES)
        return Ref(text, "alias", name, alias=rest)
    if not re.fullmatch(r"[0-9]{1,18}", rest) or int(rest) < 1:
        raise UsageError(
            f"`{rest}` in `{text}` is not a version number.",
            hint=f"Write `{name}/3` for a version or `{name}@champion` for an alias; stages such "
            "as Production are aliases now.",
        )
    return Ref(text, "version", name, version=int(rest))


def _split(body: str) -> tuple[str, str, str]:
    for separator in "@/":
        if separator in body:
            name, _, rest = body.partition(separator)
            return name, separator, rest
    return body, "", ""
