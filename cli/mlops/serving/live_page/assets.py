"""The files that the live page loads: its style and script, and uPlot, which draws its charts.

uPlot 1.6.32 is by Leon Sorokin, under the MIT licence in `static/uPlot.LICENSE.txt`; its files are
those of the npm package, as they are.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from mlops.resources import page_templates

_FOLDER = Path(__file__).with_name("static")
_TYPES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "uPlot.iife.min.js": "text/javascript; charset=utf-8",
    "uPlot.min.css": "text/css; charset=utf-8",
    "uPlot.LICENSE.txt": "text/plain; charset=utf-8",
}
#: What a page may do: load its own files, talk to this server, and send its own forms there.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: Headers of every answer.
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
#: Those of pages, which are never kept.
NO_STORE = {**HEADERS, "cache-control": "no-store"}


@cache
def whole_pages() -> Environment:
    """Return the templates of whole pages."""
    return page_templates("live_page")


@cache
def version() -> str:
    """Return what changes with the files, for their addresses."""
    texts = (_FOLDER.joinpath(name).read_bytes() for name in _TYPES)
    return hashlib.sha256(b"".join(texts)).hexdigest()[:12]


async def asset(request: Request) -> Response:
    """Answer with one of the files."""
    name = request.path_params["name"]
    if name not in _TYPES:
        return PlainTextResponse("There is no such file.", 404, HEADERS)
    # Their addresses have the version in them.
    kept = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(_read(name), headers={**HEADERS, **kept}, media_type=_TYPES[name])


@cache
def _read(name: str) -> bytes:
    return _FOLDER.joinpath(name).read_bytes()
