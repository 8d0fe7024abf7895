"""Everything of the public port that is not a prediction or feedback."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import BaseRoute, Route

import mlops
from mlops.errors import MlopsError, NotFoundError, RemoteError
from mlops.journal.outage import OutageLog, for_callers
from mlops.protocols.base import Encoded, ProtocolError
from mlops.protocols.http_status import http_status
from mlops.protocols.json_body import shown
from mlops.protocols.open_inference_metadata import (
    ModelDescription,
    model_configuration,
    model_metadata,
    model_ready,
    repository_index,
    server_live,
    server_metadata,
    server_ready,
)
from mlops.resources import shipped
from mlops.serving.counting import Counts
from mlops.serving.dataplane import DataPlane
from mlops.serving.description import check_known, describe, is_ready
from mlops.serving.examples import Examples, example_outcome, make_examples
from mlops.serving.live_page.pages import LivePage
from mlops.serving.metrics import Metrics
from mlops.serving.report import VerdictGauge
from mlops.serving.revision import LiveRevision
from mlops.serving.routes import plain_path

# Prometheus' text format, version 0.0.4.
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# The documentation is one page: it loads nothing, and talks to this server only.
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)


class _Gateway:
    """Takes a Seldon gateway's prefix off the path, and a protocol's slash at its end."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - an ASGI application
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        if scope["type"] == "http":
            scope = {**scope, "path": plain_path(scope["path"])}
        await self._app(scope, receive, send)


class Pages:
    """Health, metadata, metrics and documentation of one deployment.

    Args:
        plane: What is live.
        metrics: What to expose.
        example: Gives a request that works, for `/invocations`, or None.
        secured: Says whether callers must send a key.
        report: Writes the page of the report; without it there is none.
        evidence: Writes the report as JSON; likewise.
        verdict: Writes the verdict in numbers, as JSON; likewise.
        counts: Gives what all processes have counted, where this is one of several.
        live_page: The pages under `/ui`; likewise.
        explains: Whether answers are explained.
        outage: Where this process says that the journal is away.
    """

    def __init__(
        self,
        plane: DataPlane,
        metrics: Metrics,
        example: Callable[[], dict[str, Any] | None],
        *,
        secured: Callable[[], bool] = lambda: False,
        report: Callable[[], Awaitable[str]] | None = None,
        evidence: Callable[[], Awaitable[str]] | None = None,
        verdict: Callable[[], Awaitable[str]] | None = None,
        counts: Callable[[], Awaitable[Counts]] | None = None,
        live_page: LivePage | None = None,
        explains: bool = False,
        outage: OutageLog | None = None,
    ) -> None:
        self._plane = plane
        self._metrics = metrics
        self._example = example
        self._secured = secured
        self._report = report
        self._evidence = evidence
        self._verdict = verdict
        self._outage = outage or OutageLog()
        self._gauge = (
            VerdictGauge(
                verdict,
                self._is_watched,
                lambda: plane.live.served.revision.number,
                outage=self._outage,
            )
            if verdict
            else None
        )
        self._counts = counts
        self._live_page = live_page
        self._explains = explains
        self._examples: tuple[LiveRevision, Examples] | None = None
        self._templates = Environment(
            loader=FileSystemLoader(shipped("templates") / "serving"),
            undefined=StrictUndefined,
            autoescape=True,
        )
        # In the order written; and an error sooner than NaN, which is not JSON.
        self._templates.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}

    def application(self) -> Starlette:
        """Return the ASGI application."""
        get = ["GET", "HEAD"]
        paths: dict[str, Callable[[Request], Any]] = {
            "/": self._home,
            "/health": self._line,
            "/ping": self._line,
            "/version": self._version,
            "/live": self._empty,
            "/ready": self._ready,
            "/api/v1.0/health/status": self._empty,
            "/api/v1.0/status": self._empty,
            "/v1/models": self._v1_models,
            "/v1/models/{model}": self._v1_model,
            "/v2": self._v2_server,
            "/v2/health/live": self._v2_live,
            "/v2/health/ready": self._v2_ready,
            "/v2/models/{model}": self._v2_model,
            "/v2/models/{model}/ready": self._v2_model_ready,
            "/v2/models/{model}/config": self._v2_config,
            "/v2/models/{model}/versions/{version}": self._v2_model,
            "/v2/models/{model}/versions/{version}/ready": self._v2_model_ready,
            "/v2/models/{model}/versions/{version}/config": self._v2_config,
            "/metrics": self._expose,
            "/prometheus": self._expose,
            "/openapi.json": self._openapi,
            "/docs": self._docs,
        }
        if self._report is not None:
            paths["/report"] = self._live_report
        if self._evidence is not None:
            paths["/report.json"] = self._live_evidence
        if self._verdict is not None:
            paths["/verdict.json"] = self._live_verdict
        routes: list[BaseRoute] = [Route(p, endpoint, methods=get) for p, endpoint in paths.items()]
        routes.append(Route("/v2/repository/index", self._v2_index, methods=["POST"]))
        if self._live_page is not None:
            routes += self._live_page.routes()
            # The same below the page, where the cookie of a browser that has signed in counts.
            routes += [
                Route(f"/ui{path}", self._live_page.readers_only(paths[path]), methods=get)
                for path in ("/report", "/docs")
                if path in paths
            ]
        application = Starlette(
            routes=routes,
            middleware=[Middleware(_Gateway)],
            exception_handlers={HTTPException: _unserved},
        )
        # A redirect from `/ping/` would lead to whatever host the caller names.
        application.router.redirect_slashes = False
        return application

    @property
    def _name(self) -> str:
        return self._plane.live.served.revision.spec.name

    async def _home(self, request: Request) -> Response:
        # KServe's own client asks here whether a V1 server lives; users come with a browser.
        headers = {"vary": "accept"}
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("docs", headers=headers)
        return JSONResponse({"status": "alive"}, headers=headers)

    async def _line(self, request: Request) -> Response:
        return PlainTextResponse("\n")

    async def _empty(self, request: Request) -> Response:
        return Response()

    async def _ready(self, request: Request) -> Response:
        faults = self._plane.faults
        return PlainTextResponse("\n".join(faults), 503 if faults else 200)

    async def _version(self, request: Request) -> Response:
        # MLflow's clients read its version here; it is in memory since the models were loaded.
        import mlflow

        return PlainTextResponse(mlflow.__version__)

    async def _expose(self, request: Request) -> Response:
        try:
            counts = await self._counts() if self._counts else None
        except RemoteError as error:
            return PlainTextResponse(f"{error.message}\n", 503)
        verdict = self._gauge() if self._gauge else None
        return Response(self._metrics.expose(counts, verdict), media_type=_METRICS_TYPE)

    def _is_watched(self) -> bool:
        """Whether guardrails are declared for what is live."""
        spec = self._plane.live.served.revision.spec
        return len(spec.arms) > 1 and bool(spec.analysis.guardrails)

    async def _v1_models(self, request: Request) -> Response:
        return JSONResponse({"models": [self._name]})

    async def _v1_model(self, request: Request) -> Response:
        return self._if_known(request, model_ready(self._name, ready=not self._plane.faults))

    async def _v2_server(self, request: Request) -> Response:
        return _response(server_metadata())

    async def _v2_live(self, request: Request) -> Response:
        return _response(server_live())

    async def _v2_ready(self, request: Request) -> Response:
        return _response(server_ready(ready=not self._plane.faults))

    async def _v2_model_ready(self, request: Request) -> Response:
        version = request.path_params.get("version", "")
        ready = is_ready(self._plane, version)
        return self._if_known(request, model_ready(self._name, ready=ready))

    async def _v2_model(self, request: Request) -> Response:
        return self._if_known(request, model_metadata(self._description))

    async def _v2_config(self, request: Request) -> Response:
        return self._if_known(request, model_configuration(self._description))

    async def _v2_index(self, request: Request) -> Response:
        return _response(repository_index(self._name, self._description.versions))

    @property
    def _description(self) -> ModelDescription:
        return describe(self._plane.live)

    def _if_known(self, request: Request, encoded: Encoded) -> Response:
        model, version = request.path_params["model"], request.path_params.get("version", "")
        try:
            check_known(self._plane.live, model, version)
        except ProtocolError as error:
            return JSONResponse({"error": error.message}, http_status(error.kind))
        return _response(encoded)

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(await self._document())

    async def _docs(self, request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        template = self._templates.get_template("docs.html.j2")
        up = ".." if request.url.path.endswith("/ui/docs") else "."
        page = template.render(document=await self._document(), nonce=nonce, up=up)
        policy = _POLICY.format(nonce=nonce)
        return HTMLResponse(page, headers={"content-security-policy": policy})

    async def _live_report(self, request: Request) -> Response:
        assert self._report is not None
        return await _fresh(self._report, "text/html", self._outage)

    async def _live_evidence(self, request: Request) -> Response:
        assert self._evidence is not None
        return await _fresh(self._evidence, "application/json", self._outage)

    async def _live_verdict(self, request: Request) -> Response:
        assert self._verdict is not None
        return await _fresh(self._verdict, "application/json", self._outage)

    async def _document(self) -> dict[str, Any]:
        """Return the OpenAPI document of what is live."""
        live = self._plane.live
        revision = live.served.revision
        examples = await self._current_examples(live)
        text = self._templates.get_template("openapi.json.j2").render(
            version=mlops.__version__,
            revision=revision,
            examples=examples,
            outcome=example_outcome(revision.spec.reward, examples.prediction),
            metadata=json.loads(model_metadata(self._description).body),
            configuration=json.loads(model_configuration(self._description).body),
            index=json.loads(repository_index(self._name, self._description.versions).body),
            secured=self._secured(),
            report=self._report is not None,
            evidence=self._evidence is not None,
            verdict=self._verdict is not None,
            explains=self._explains,
        )
        document: dict[str, Any] = json.loads(text)
        return document

    async def _current_examples(self, live: LiveRevision) -> Examples:
        """Return the examples of a revision, made once: that takes a prediction."""
        if self._examples is None or self._examples[0] is not live:
            made = await asyncio.to_thread(
                make_examples, live, self._example(), describe(live).inputs
            )
            self._examples = (live, made)
        return self._examples[1]


def _unserved(request: Request, error: Exception) -> Response:
    """Answer what no route takes, in JSON: Triton's client parses the body of every error."""
    assert isinstance(error, HTTPException)
    path, status = request.url.path, error.status_code
    if path.endswith((":explain", "/explain", "/explanations")):
        # A call of KServe V1 and of Seldon v1 that is known, and answered by neither here.
        status, reason = 501, "This server predicts; it has no explainer."
    elif status == 404:
        reason = f"There is no {shown(path)} here; `/docs` lists what there is."
    else:
        reason = f"{shown(path)} does not take {request.method}."
    return JSONResponse({"error": reason}, status, error.headers)


async def _fresh(
    write: Callable[[], Awaitable[str]], media_type: str, outage: OutageLog
) -> Response:
    """Answer with what is written now, not to be cached."""
    try:
        text = await write()
    except RemoteError as error:
        outage.met(error)
        return PlainTextResponse(for_callers(error), 503, {"retry-after": "10"})
    except MlopsError as error:
        status = 404 if isinstance(error, NotFoundError) else 409
        return PlainTextResponse(for_callers(error), status)
    return Response(text, media_type=media_type, headers={"cache-control": "no-store"})


def _response(encoded: Encoded) -> Response:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in encoded.headers}
    media_type = encoded.content_type.decode("latin-1")
    return Response(encoded.body, encoded.status, headers, media_type)
