"""The REF of an endpoint: what it means, and what is refused."""

from __future__ import annotations

import pytest

from mlops.errors import UsageError
from mlops.spec.endpoint import ends_in_port, is_endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("ref", "url", "base", "model"),
    [
        ("v2+http://h:8/v2/models/w", "http://h:8/v2/models/w/infer", "http://h:8", "w"),
        ("v2+http://h/v2/models/infer", "http://h/v2/models/infer/infer", "http://h", "infer"),
        (
            "v2+https://h/p/v2/models/w/versions/3/infer",
            "https://h/p/v2/models/w/versions/3/infer",
            "https://h/p",
            "w",
        ),
        ("kserve+http://h/v1/models/w:predict", "http://h/v1/models/w:predict", "http://h", "w"),
        ("kserve+http://[::1]:80/v1/models/w", "http://[::1]:80/v1/models/w:predict",
         "http://[::1]:80", "w"),
        ("seldon+http://h:9/", "http://h:9/api/v1.0/predictions", "http://h:9", ""),
        (
            "seldon+http://gw/seldon/ns/w/api/v1.0/predictions",
            "http://gw/seldon/ns/w/api/v1.0/predictions",
            "http://gw/seldon/ns/w",
            "",
        ),
        ("mlflow+http://h:5000", "http://h:5000/invocations", "http://h:5000", ""),
        ("mlflow+https://h/p/invocations", "https://h/p/invocations", "https://h/p", ""),
    ],
)  # fmt: skip
def test_where_it_posts_to(ref: str, url: str, base: str, model: str) -> None:
    endpoint = parse_endpoint(ref)
    assert (endpoint.url, endpoint.base, endpoint.model) == (url, base, model)
    assert parse_endpoint(endpoint.ref) == endpoint
    assert is_endpoint(ref)


def test_a_token_is_named_not_held() -> None:
    endpoint = parse_endpoint("mlflow+http://h#token=WINE_TOKEN")
    assert endpoint.token == "WINE_TOKEN"
    assert endpoint.url == "http://h/invocations"
    assert endpoint.ref == "mlflow+http://h#token=WINE_TOKEN"


def test_seldon_routes_by_a_header() -> None:
    ref = "v2+http://seldon-mesh/v2/models/wine#token=T&seldon-model=wine.experiment"
    endpoint = parse_endpoint(ref)
    assert (endpoint.token, endpoint.seldon_model) == ("T", "wine.experiment")
    assert endpoint.url == "http://seldon-mesh/v2/models/wine/infer"
    assert endpoint.ref == ref


@pytest.mark.parametrize(
    ("ref", "part"),
    [
        ("mlflow+http://h/#seldon-model=a\nb: hunter2", "not a URL"),
        ("mlflow+http://h/#seldon-model=Hunter2", "seldon-model=NAME"),
        ("mlflow+http://h/#token=T&hunter2", "seldon-model=NAME"),
        ("mlflow+http://h/#token=T&token=Hunter", "seldon-model=NAME"),
        ("v2+http://h/", "does not name a model"),
        ("v2+http://h/v1/models/m", "does not name a model"),
        ("kserve+http://h/v2/models/m", "does not name a model"),
        ("v2+http://h:x/v2/models/m", "not a URL"),
        ("v2+http://h:0/v2/models/m", "not a URL"),
        ("v2+http://h/v2/models/m\r\nX: y", "not a URL"),
        ("v2+http://h/v2/models/m n", "not a URL"),
        ("v2+http://:80/v2/models/m", "not a URL"),
        ("mlflow+http://", "not a URL"),
        ("mlflow+http://h/?key=hunter2", "has a query"),
        ("mlflow+http://h/#hunter2", "token=VARIABLE"),
        ("mlflow+http://h/#token=hunter-2", "token=VARIABLE"),
        ("mlflow+http://ann:hunter2@h/", "holds credentials"),
        ("http://h/invocations", "not an endpoint"),
    ],
)
def test_refused(ref: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_endpoint(ref)
    assert part in caught.value.message
    assert "hunter" not in f"{caught.value.message}{caught.value.hint}"


def test_a_port_is_no_weight() -> None:
    assert ends_in_port("mlflow+http://h", "5000")
    assert ends_in_port("mlflow+http://[::1]", "5000")
    assert not ends_in_port("mlflow+http://h:5000", "50")
    assert not ends_in_port("mlflow+http://h", ".5")
    assert not ends_in_port("v2+http://h/v2/models/m", "50")
    assert not ends_in_port("s3://bucket", "50")
