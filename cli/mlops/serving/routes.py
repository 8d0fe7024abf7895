"""Which path has which protocol.

Sources: Seldon Core v1 executor, Open Inference Protocol REST, KServe V1, MLflow scoring. A
gateway's prefix `/seldon/<namespace>/<deployment>` may precede any of them, since that is
where clients of a Seldon cluster send their requests; one that watches a single namespace leaves
the namespace out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from mlops.protocols import CODECS


@dataclass(frozen=True, slots=True)
class Route:
    """Where a POST goes.

    Attributes:
        protocol: Name of the codec; `mlops` for the feedback route.
        model: Model the path names; empty if it names none.
        version: Version of it that the path names, likewise.
        feedback: Whether it carries feedback rather than rows.
        score: Whether it asks all arms, outside of the statistics.
        explain: Whether it asks why the arms answer what they do.
        node: Whether the executor of a graph asks; the whole graph fails where a node does.
        branch: Whether only the position of the arm is answered, for a graph that asks it itself.
    """

    protocol: str
    model: str = ""
    version: str = ""
    feedback: bool = False
    score: bool = False
    explain: bool = False
    node: bool = False
    branch: bool = False


_FIXED = {
    "/invocations": Route("mlflow"),
    "/api/v1.0/predictions": Route("seldon-v1"),
    "/api/v0.1/predictions": Route("seldon-v1"),
    "/api/v1.0/feedback": Route("seldon-v1", feedback=True),
    "/api/v0.1/feedback": Route("seldon-v1", feedback=True),
    "/v2/models/infer": Route("open-inference"),
    "/feedback": Route("mlops", feedback=True),
}
# Paths that name a model, and the protocol they speak.
_NAMED = {
    "/v2/models/{model}/infer": "open-inference",
    "/v2/models/{model}/versions/{version}/infer": "open-inference",
    "/v1/models/{model}:predict": "kserve-v1",
}
# What Seldon Core's executor calls if this server is a node of its graph.
_NODE = {
    "/predict": Route("seldon-v1"),
    "/route": Route("seldon-v1", branch=True),
    "/send-feedback": Route("seldon-v1", feedback=True, node=True),
}
_SCORE = {"/score": Route("mlops", score=True)}
#: Every path that takes a POST from a client, as OpenAPI writes them.
POST_PATHS = (*_FIXED, *_NAMED)

_EXPLAIN = {
    "kserve-v1": re.compile(r"/v1/models/(?P<model>[^/]+):explain"),
    "open-inference": re.compile(r"/v2/models/(?P<model>[^/]+)/explain"),
}
_GATEWAY = re.compile(r"^/seldon/[^/]+(?:/[^/]+)?(?=/(?:api|v1|v2)(?:/|$))")
_PROTOCOLS = ("/api/", "/v1/", "/v2/", "/invocations/")
_PATTERNS = [
    (re.compile(path.format(model="(?P<model>[^/]+)", version="(?P<version>[^/]+)")), protocol)
    for path, protocol in _NAMED.items()
]


@lru_cache(maxsize=256)
def find_route(path: str) -> Route | None:
    """Return where a POST to `path` goes, or None if it is for a page."""
    path = plain_path(path)
    if path in _FIXED:
        return _FIXED[path]
    if path in _NODE:
        return _NODE[path]
    if path in _SCORE:
        return _SCORE[path]
    for pattern, protocol in _PATTERNS:
        match = pattern.fullmatch(path)
        if match:
            named = match.groupdict()
            return Route(protocol, named["model"], named.get("version", ""))
    for protocol, pattern in _EXPLAIN.items():
        if match := pattern.fullmatch(path):
            return Route(protocol, match["model"], explain=True)
    return _added().get(path)


@cache
def _added() -> dict[str, Route]:
    """Return the paths of protocols that other packages add."""
    codecs = CODECS.others()
    return {path: Route(name) for name in codecs for path in getattr(codecs[name], "paths", ())}


def plain_path(path: str) -> str:
    """Return `path` without a Seldon gateway's prefix, and without a protocol's slash at its end.

    >>> plain_path("/seldon/prod/wine/api/v1.0/predictions/")
    '/api/v1.0/predictions'
    """
    path = _GATEWAY.sub("", path, count=1)
    # Not of pages, whose links are relative.
    return path.rstrip("/") if path.startswith(_PROTOCOLS) else path
