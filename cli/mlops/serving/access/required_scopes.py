"""What a call needs: the one table of all transports.

Predictions and feedback have many paths, which `mlops.serving.routes` knows; whatever is not in
`PAGES` and is neither needs a key, of any scope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from mlops.serving.routes import Route
from mlops.spec.access import Scope

#: `open` admits every caller, `any` every caller with a key.
Need: TypeAlias = Scope | Literal["open", "any"]

#: Probes need no key; they only show that the server runs.
PROBES = frozenset({"/health", "/ping", "/ready", "/live", "/v2/health/live", "/v2/health/ready"})
#: Paths of pages.
PAGES: Mapping[str, Need] = {
    **dict.fromkeys(PROBES, "open"),
    "/report": "read",
    "/report.json": "read",
    "/verdict.json": "read",
    "/metrics": "read",
    "/prometheus": "read",
    "/": "any",
    "/version": "any",
    "/docs": "any",
    "/openapi.json": "any",
    "/api/v1.0/health/status": "any",
    "/api/v1.0/status": "any",
    "/v1/models": "any",
    "/v1/models/{model}": "any",
    "/v2": "any",
    "/v2/models/{model}": "any",
    "/v2/models/{model}/ready": "any",
    "/v2/models/{model}/config": "any",
    "/v2/models/{model}/versions/{version}": "any",
    "/v2/models/{model}/versions/{version}/ready": "any",
    "/v2/models/{model}/versions/{version}/config": "any",
    "/v2/repository/index": "any",
}
#: The live page, and where a browser gets what it needs before it has signed in.
LIVE_PAGE = "/ui"
OPEN_PAGES = (f"{LIVE_PAGE}/static/", f"{LIVE_PAGE}/sign-in")
#: Single requests; to have one explained needs `score` as well, which the page itself checks.
REQUESTS_PAGE = f"{LIVE_PAGE}/requests"
_INFERENCE = "/inference.GRPCInferenceService"
#: Methods of gRPC.
METHODS: Mapping[str, Need] = {
    f"{_INFERENCE}/ServerLive": "open",
    f"{_INFERENCE}/ServerReady": "open",
    f"{_INFERENCE}/ServerMetadata": "any",
    f"{_INFERENCE}/ModelReady": "any",
    f"{_INFERENCE}/ModelMetadata": "any",
    f"{_INFERENCE}/ModelInfer": "predict",
    "/mlops.v1.Feedback/Send": "feedback",
}


def need_of(path: str, route: Route | None) -> Need:
    """Return what a request over HTTP needs.

    Args:
        path: As it was sent.
        route: Where a POST to it goes; None if it is for a page.
    """
    if route is not None:
        if route.score or route.explain:
            # What all arms answer; and shares tell the features of the newest requests.
            return "score"
        return "feedback" if route.feedback else "predict"
    if is_live_page(path):
        if path.startswith(OPEN_PAGES):
            return "open"
        is_of_requests = path == REQUESTS_PAGE or path.startswith(f"{REQUESTS_PAGE}/")
        return "requests" if is_of_requests else "read"
    return PAGES.get(path, "any")


def is_live_page(path: str) -> bool:
    """Whether a path is of the live page, where a cookie counts."""
    return path == LIVE_PAGE or path.startswith(f"{LIVE_PAGE}/")
