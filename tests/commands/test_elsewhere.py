"""Predictions and feedback by URL: our own server behind a gateway, as on a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.test_predict import _HEADER, _ROW
from tests.fixtures_deployment import Shop
from tests.gateway import Gateway, make_authority, open_gateway

_CSV = f"{_HEADER}\n{_ROW}\n"
_SELDON = "/seldon/shops/wine"


@pytest.fixture
def gateway(shop: Shop) -> Iterator[Gateway]:
    """Our server at the root, and as a SeldonDeployment is reached."""
    with open_gateway({_SELDON: shop.state.url, "": shop.state.url}) as opened:
        yield opened


def outcomes(shop: Shop) -> int:
    return sum(arm["n"] for arm in shop.ok("report", "--json").document["arms"])


def test_our_server_on_a_cluster(shop: Shop, gateway: Gateway) -> None:
    url = gateway.url
    answer = shop.ok("predict", "--url", url, "--data", "-", "--json", stdin=_CSV).document
    assert (answer["name"], answer["revision"], answer["response"]) == (url, 1, None)
    said = shop.ok("predict", "--url", url, "--data", "-", stdin=_CSV)
    command = next(line for line in said.err.splitlines() if line.startswith("next: "))
    words = command.removeprefix("next: mlops ").replace("VALUE", "6").split()
    before = outcomes(shop)
    assert shop.ok(*words).out.startswith("accepted: arm model")
    line = json.dumps({"request_id": answer["request_id"], "truth": 6})
    stream = shop.ok("feedback", "--url", url, "--data", "-", "--json", stdin=line)
    assert stream.document["counts"] == {"accepted": 1}
    played = shop.ok("feedback", "--url", url, "--once", "--limit", "3", "--json").document
    assert played["counts"] == {"accepted": 3}
    assert outcomes(shop) == before + 5


def test_a_gateway_that_comes_back_loses_nothing(shop: Shop, gateway: Gateway) -> None:
    answer = shop.ok("predict", "--url", gateway.url, "--data", "-", "--json", stdin=_CSV).document
    words = ("feedback", "--url", gateway.url, "--protocol", "mlops")
    gateway.away = 1
    said = shop.ok(*words, "--request-id", answer["request_id"], "--truth", "6", "--json")
    assert said.document["counts"] == {"accepted": 1}


def test_seldon_behind_istio(shop: Shop, gateway: Gateway, tmp_path: Path) -> None:
    url = f"{gateway.url}{_SELDON}"
    before = outcomes(shop)
    # The whole URL of a prediction does too.
    ours = ("--url", f"{gateway.url}/invocations", "--once", "--limit", "1", "--json")
    assert shop.ok("feedback", *ours).document["counts"] == {"accepted": 1}
    before += 1
    whole = f"{url}/api/v1.0/predictions"
    said = shop.ok("feedback", "--url", whole, "--once", "--limit", "3", "--json")
    assert said.document["counts"] == {"sent": 3}
    # Squared errors are negative.
    assert said.err.count("Prometheus counter") == 1
    kept = shop.ok("predict", "--url", url, "--data", "-", "--json", stdin=_CSV)
    answer = kept.document
    assert answer["arm"] in ("modelA", "modelB")
    assert answer["request"]["data"]["names"] == _HEADER.split(",")
    assert len(answer["request_id"]) == 48
    file = tmp_path / "answer.json"
    file.write_text(kept.out)
    words = ("feedback", "--url", url, "--response", str(file))
    later = shop.ok(*words, "--truth", "6", "--json")
    assert later.document["counts"] == {"sent": 1}
    line = json.dumps({**answer, "truth": 6})
    assert shop.ok("feedback", "--url", url, "--data", "-", stdin=line).out == "feedback: sent 1\n"
    # Ours remembers: the second is a duplicate, whatever the client may know of that.
    assert outcomes(shop) == before + 4
    refused = shop.run("feedback", "--url", url, "--request-id", "x", "--truth", "6", "--json")
    assert refused.code == 2
    assert "--response FILE" in refused.error["hint"]
    # Another reward of the same row contradicts the first; of a new answer it counts.
    assert shop.run(*words, "--truth", "6", "--shift", "36").code == 7
    file.write_text(shop.ok("predict", "--url", url, "--data", "-", "--json", stdin=_CSV).out)
    shifted = shop.ok(*words, "--truth", "6", "--shift", "36")
    assert "Prometheus" not in shifted.err


@pytest.mark.parametrize("path", ["/v2/models/wine", "/v1/models/wine", "/invocations"])
def test_other_protocols_predict_and_take_no_feedback(
    shop: Shop, gateway: Gateway, path: str
) -> None:
    # Ours names itself where MLflow's protocol is not said.
    said_so = ("--protocol", "mlflow") if path == "/invocations" else ()
    where = ("--url", f"{gateway.url}{path}", *said_so)
    forced = shop.ok("predict", "--data", "-", "--arm", "modelA", "--json", stdin=_CSV).document
    # Which arm answers is chance: none of 60 is modelA's once in 10^18 times.
    for _ in range(60):
        answer = shop.ok("predict", *where, "--data", "-", "--json", stdin=_CSV).document
        if answer["arm"] == "modelA":
            break
    assert answer["arm"] == "modelA"
    assert answer["predictions"] == pytest.approx(forced["predictions"])
    said = shop.run("feedback", *where, "--once", "--json")
    assert said.code == 3
    assert "no feedback" in said.error["message"]


def test_a_token_and_a_certificate(shop: Shop, tmp_path: Path) -> None:
    authority, tls = make_authority(tmp_path)
    with open_gateway({"": shop.state.url}, tls) as gateway:
        gateway.token = "s3cret-token"
        (tmp_path / "token").write_text("s3cret-token\n")
        words = ("predict", "--url", gateway.url, "--data", "-", "--ca-file", str(authority))
        anonymous = shop.run(*words, "--json", stdin=_CSV)
        assert (anonymous.code, "--token" in anonymous.error["hint"]) == (4, True)
        said = shop.ok(*words, "--token", f"file:{tmp_path / 'token'}", stdin=_CSV)
        assert 3 < float(said.out) < 8
        assert "s3cret" not in said.err
        (tmp_path / "header").write_text("Bearer s3cret-token")
        shop.ok(*words, "--header", f"Authorization=file:{tmp_path / 'header'}", stdin=_CSV)
        untrusted = shop.run(*words[:-2], "--json", stdin=_CSV)
        assert (untrusted.code, "--ca-file" in untrusted.error["hint"]) == (6, True)


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (("wine", "--url", "http://h"), 2, "`wine`"),
        (("--token", "env:T"), 2, "`--token`"),
        (("--header", "A=b"), 2, "`--header`"),
        (("--protocol", "seldon"), 2, "`--protocol`"),
        (("--insecure",), 2, "`--insecure`"),
        (("--shift", "1"), 2, "Seldon v1"),
        (("--one-model",), 2, "Seldon v1"),
        (("--response", "x", "--reward", "1"), 2, "Seldon v1"),
        (("--url", "http://h/feedback", "--shift", "1"), 2, "`--shift`"),
        (("--url", "http://h/feedback", "--reward", "exact"), 3, "`exact`"),
        (("--url", "http://h/feedback", "--response", "nowhere", "--reward", "1"), 5, "nowhere"),
        (
            ("--url", "http://h", "--response", "x", "--reward", "1", "--row", "0"),
            2,
            "whole request",
        ),
        (("--url", "http://h", "--token", "s3cret"), 2, "command line"),
    ],
)
def test_what_would_be_ignored_or_cannot_be(
    shop: Shop, words: tuple[str, ...], code: int, part: str
) -> None:
    said = shop.run("feedback", *words, "--json")
    assert (said.code, part in said.error["message"]) == (code, True), said.error
    assert "s3cret" not in said.out + said.err


def test_the_wrong_prefix_is_put_right(shop: Shop) -> None:
    with open_gateway({_SELDON: shop.state.url}) as gateway:
        said = shop.run("feedback", "--url", f"{gateway.url}/seldon/wine", "--once", "--json")
    assert said.code == 5
    assert f"{gateway.url}/seldon/NAMESPACE/NAME" in said.error["hint"]
