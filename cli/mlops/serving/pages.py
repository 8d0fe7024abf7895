"""Everything of the public port that is not a prediction or feedback."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route

import mlops
from mlops.protocols import open_inference
from mlops.resources import shipped
from mlops.serving.engine import Engine
from mlops.serving.metrics import Metrics
from mlops.serving.models.signature import Signature
from mlops.serving.routes import strip_gateway

# Prometheus' text format, version 0.0.4.
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# MLflow's type names as Open Inference datatypes.
_DATATYPES = {
    "double": "FP64",
    "float": "FP32",
    "long": "INT64",
    "integer": "INT32",
    "boolean": "BOOL",
    "float64": "FP64",
    "float32": "FP32",
    "int64": "INT64",
    "int32": "INT32",
    "bool": "BOOL",
}


class _Gateway:
    """Takes a Seldon gateway's prefix off the path."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - an ASGI application
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        if scope["type"] == "http":
            scope = {**scope, "path": strip_gateway(scope["path"])}
        await self._app(scope, receive, send)


class Pages:
    """Health, metadata, metrics and documentation of one deployment.

    Args:
        engine: What is live.
        metrics: What to expose.
        example: Gives a request that works, for `/invocations`, or None.
    """

    def __init__(
        self, engine: Engine, metrics: Metrics, example: Callable[[], dict[str, Any] | None]
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._example = example
        self._templates = Environment(
            loader=FileSystemLoader(shipped("templates") / "serving"),
            undefined=StrictUndefined,
            autoescape=True,
        )

    def application(self) -> Starlette:
        """Return the ASGI application."""
        get = ["GET", "HEAD"]
        paths: dict[str, Callable[[Request], Any]] = {
            "/": self._home,
            "/health": self._line,
            "/ping": self._line,
            "/version": self._version,
            "/live": self._empty,
            "/ready": self._empty,
            "/api/v1.0/health/status": self._empty,
            "/api/v1.0/status": self._empty,
            "/v1/models": self._v1_models,
            "/v1/models/{model}": self._v1_model,
            "/v2": self._v2_server,
            "/v2/health/live": self._v2_live,
            "/v2/health/ready": self._v2_ready,
            "/v2/models/{model}": self._v2_model,
            "/v2/models/{model}/ready": self._v2_model_ready,
            "/v2/models/{model}/versions/{version}": self._v2_model,
            "/v2/models/{model}/versions/{version}/ready": self._v2_model_ready,
            "/metrics": self._expose,
            "/prometheus": self._expose,
            "/openapi.json": self._openapi,
            "/docs": self._docs,
        }
        routes = [Route(path, endpoint, methods=get) for path, endpoint in paths.items()]
        return Starlette(routes=routes, middleware=[Middleware(_Gateway)])

    @property
    def _name(self) -> str:
        return self._engine.live.served.revision.spec.name

    @property
    def _signature(self) -> Signature:
        return self._engine.live.arms[0].loaded.signature

    async def _home(self, request: Request) -> Response:
        return RedirectResponse("docs")

    async def _line(self, request: Request) -> Response:
        return PlainTextResponse("\n")

    async def _empty(self, request: Request) -> Response:
        return Response()

    async def _version(self, request: Request) -> Response:
        # MLflow's clients read its version here; it is in memory since the models were loaded.
        import mlflow

        return PlainTextResponse(mlflow.__version__)

    async def _expose(self, request: Request) -> Response:
        return Response(self._metrics.expose(), media_type=_METRICS_TYPE)

    async def _v1_models(self, request: Request) -> Response:
        return JSONResponse({"models": [self._name]})

    async def _v1_model(self, request: Request) -> Response:
        return self._if_known(request, {"name": self._name, "ready": True})

    async def _v2_server(self, request: Request) -> Response:
        return JSONResponse(open_inference.server_metadata("mlops", mlops.__version__))

    async def _v2_live(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _v2_ready(self, request: Request) -> Response:
        return JSONResponse({"ready": True})

    async def _v2_model_ready(self, request: Request) -> Response:
        return self._if_known(request, {"name": self._name, "ready": True})

    async def _v2_model(self, request: Request) -> Response:
        versions = [arm.arm.model.label for arm in self._engine.live.arms]
        document = open_inference.model_metadata(
            self._name, versions, _inputs(self._signature), _outputs(self._signature)
        )
        return self._if_known(request, document)

    def _if_known(self, request: Request, document: dict[str, Any]) -> Response:
        model = request.path_params["model"]
        if model != self._name:
            return JSONResponse({"error": f"Model {model} not found"}, status_code=404)
        return JSONResponse(document)

    async def _openapi(self, request: Request) -> Response:
        template = self._templates.get_template("openapi.json.j2")
        text = template.render(name=self._name, version=mlops.__version__, example=self._example())
        return JSONResponse(json.loads(text))

    async def _docs(self, request: Request) -> Response:
        revision = self._engine.live.served.revision
        template = self._templates.get_template("docs.html.j2")
        return HTMLResponse(template.render(name=self._name, revision=revision))


def _inputs(signature: Signature) -> list[tuple[str, str, list[int]]]:
    if signature.tensor:
        dtype, shape = signature.tensor
        return [("input-0", _DATATYPES.get(dtype, "FP64"), list(shape))]
    return [(c.name, _DATATYPES.get(c.type, "BYTES"), [-1, 1]) for c in signature.columns]


def _outputs(signature: Signature) -> list[tuple[str, str, list[int]]]:
    kind = _DATATYPES.get(signature.output_type, "BYTES")
    return [(name, kind, [-1, 1]) for name in signature.outputs or ("output-1",)]
