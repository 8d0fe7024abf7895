"""A model that another server answers for: where it is, and how to talk to it.

Written as a REF, the protocol precedes the URL's own scheme:

    v2+http://host:8080/v2/models/wine        Open Inference (MLServer, KServe, Triton, mlops)
    kserve+https://host/v1/models/wine        KServe V1
    seldon+http://host:9000                   Seldon Core v1
    mlflow+http://host:5000                   MLflow's scoring server
    v2+https://host/v2/models/wine#token=WINE_TOKEN
    v2+http://seldon-mesh/v2/models/wine#seldon-model=wine

The codec's name of a protocol (`open-inference+http://…`) means the same.

What comes after `#` is not part of the URL, and settings there are joined by `&`. `token` names an
environment variable of the server that holds a bearer token; the token itself is nowhere.
`seldon-model` is what Seldon Core v2 routes by: its value is sent as the header of that name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from mlops.errors import UsageError
from mlops.spec.wire import V2, WIRES, Wire, find_wire

_PREFIX = re.compile(r"([a-z0-9-]+)\+(https?://.*)", re.DOTALL)
_SETTINGS = {
    "token": re.compile(r"[A-Za-z_][A-Za-z0-9_]*"),
    # A model, or an experiment or pipeline with the suffix of its kind.
    "seldon-model": re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"),
}
_AUTHORITY_ONLY = re.compile(r"([a-z0-9-]+)\+https?://(\[[^\]]*\]|[^/:\[\]]+)")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a remote model is.

    Attributes:
        protocol: What it speaks, the short name of a `mlops.spec.wire.Wire`.
        url: Where predictions are posted to, complete; without credentials, query and fragment.
        base: The part of `url` before the protocol's own path, without a `/` at its end.
        model: The model's name in the path; empty where the protocol has none.
        token: Environment variable that holds a bearer token; empty for none.
        seldon_model: Value of the header `Seldon-Model`; empty for none.
    """

    protocol: str
    url: str
    base: str
    model: str = ""
    token: str = ""
    seldon_model: str = ""

    @property
    def wire(self) -> Wire:
        """What is known of its protocol."""
        return WIRES.load(self.protocol)

    @property
    def ref(self) -> str:
        """The REF that means this endpoint."""
        url = self.url.removesuffix(self.wire.end)
        settings = (("token", self.token), ("seldon-model", self.seldon_model))
        written = "&".join(f"{name}={value}" for name, value in settings if value)
        return f"{self.protocol}+{url}{'#' if written else ''}{written}"


def is_endpoint(text: str) -> bool:
    """Whether a REF or a source names an endpoint, be it well formed or not."""
    prefix = _PREFIX.fullmatch(text)
    return prefix is not None and find_wire(prefix[1]) is not None


def ends_in_port(text: str, number: str) -> bool:
    """Whether `:number` after `text` is the port of an endpoint, rather than a weight.

    >>> ends_in_port("seldon+http://host", "9000"), ends_in_port("seldon+http://host:9000", "50")
    (True, False)
    """
    return number.isdigit() and is_endpoint(text) and bool(_AUTHORITY_ONLY.fullmatch(text))


def parse_endpoint(text: str) -> Endpoint:
    """Read the REF of an endpoint.

    Raises:
        UsageError: It has none of the forms above.

    >>> parse_endpoint("seldon+http://host:9000").url
    'http://host:9000/api/v1.0/predictions'
    >>> parse_endpoint("v2+http://host/v2/models/wine#token=T").ref
    'v2+http://host/v2/models/wine#token=T'
    """
    prefix = _PREFIX.fullmatch(text)
    wire = find_wire(prefix[1]) if prefix else None
    if prefix is None or wire is None:
        raise UsageError("This is not an endpoint.", hint=f"Write `{V2.example}`.")
    protocol = wire.short
    parts = urlsplit(prefix[2])
    if "@" in parts.netloc:
        raise UsageError(
            f"The URL of `{protocol}+{parts.scheme}://…@{parts.netloc.rpartition('@')[2]}` holds "
            "credentials.",
            hint="Put a token into an environment variable of the server, and write "
            "`#token=VARIABLE` after the URL.",
        )
    example = f"Write `{wire.example}`."
    if not re.fullmatch(r"[\x21-\x7e]+", text) or not _has_host(prefix[2]):
        # What is after the `#` may be a token, though it should not.
        raise UsageError(f"`{text.partition('#')[0]}` is not a URL.", hint=example)
    if parts.query or "?" in text:
        raise UsageError(f"`{text.partition('?')[0]}` has a query after it.", hint=example)
    settings = _read_settings(text)
    path = wire.path.fullmatch(parts.path.rstrip("/"))
    if path is None:
        raise UsageError(f"`{text}` does not name a model.", hint=example)
    base = f"{parts.scheme}://{parts.netloc}{path['base']}"
    return Endpoint(
        protocol=protocol,
        url=base + path["path"] + wire.end,
        base=base,
        model=path["model"],
        token=settings.get("token", ""),
        seldon_model=settings.get("seldon-model", ""),
    )


def _read_settings(text: str) -> dict[str, str]:
    url, mark, written = text.partition("#")
    pairs = [part.partition("=") for part in written.split("&")] if mark else []
    known = {
        name: value
        for name, _, value in pairs
        if name in _SETTINGS and _SETTINGS[name].fullmatch(value)
    }
    # What is wrong may be a token, put where its variable should be.
    if len(known) < len(pairs):
        raise UsageError(
            f"`{url}` has something other than `token=VARIABLE` or `seldon-model=NAME` after the "
            "`#`.",
            hint="VARIABLE is the name of an environment variable that holds the token. Two "
            "settings are joined by `&`.",
        )
    return known


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
