"""`mlops deploy --tls-cert …` and `--insecure-no-auth`, and every command that calls the server."""

from __future__ import annotations

import json
import ssl
import subprocess

import httpx
import pytest
import yaml

import mlops
from mlops import Client
from mlops.client.remote_endpoint import RemoteServer, reach
from mlops.errors import NotAllowedError, RemoteError
from tests.fixtures_deployment import Shop
from tests.serving.certificates import Authority
from tests.waiting import wait_until


def test_a_deployment_with_tls(wine_shop: Shop) -> None:
    shop = wine_shop
    (shop.folder / "tls").mkdir()
    authority = Authority(shop.folder / "tls")
    cert = authority.issue("server")
    files = ("--tls-cert", "tls/server.pem", "--tls-key", "tls/server.key")
    deploy = ("deploy", "--ab", "modelA", "modelB")
    half = shop.run(*deploy, *files[:2], "--json")
    assert "needs a certificate and its key" in half.error["message"]
    assert half.code == 2
    wrong = shop.run(*deploy, "--tls-cert", "tls/server.key", "--tls-key", "tls/server.pem")
    assert wrong.code == 3

    made = shop.ok(*deploy, *files, "--with", "monitoring", "--json").document
    assert made["url"].startswith("https://127.0.0.1:")
    curl = made["curl"].replace(f"--cacert {cert}", f"--cacert {authority.file}")
    done = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True)
    assert "predictions" in json.loads(done.stdout)
    (prometheus,) = [path for path in made["monitoring"] if path.endswith("prometheus.yml")]
    job = yaml.safe_load((shop.folder / prometheus).read_text())["scrape_configs"][0]
    assert job["scheme"] == "https"
    assert job["tls_config"] == {"ca_file": str(cert)}

    # By name, with nothing said: it is known by its very certificate.
    (shop.folder / "row.json").write_text(json.dumps(shop.state.request))
    answer = shop.ok("predict", "--data", "row.json", "--json").document
    shop.ok("feedback", "--request-id", answer["request_id"], "--reward", "1")
    assert shop.ok("status", "--exit-code").code == 0
    with mlops.connect(project=shop.folder) as own:
        assert own.feedback(own.predict(shop.state.request).request_id, reward=1).counts
    # By its URL, as anybody else: the authority has to be known.
    there = ("--url", made["url"], "--ca", "tls/test-ca.pem")
    shop.ok("predict", "--data", "row.json", *there)
    shop.ok("report", *there)
    unknown = shop.run("predict", "--data", "row.json", "--url", made["url"], "--json")
    assert unknown.error["code"] == "remote"
    assert "certificate" in unknown.error["message"]
    context = ssl.create_default_context(cafile=str(authority.file))
    with Client(made["url"], tls=context) as client:
        assert client.predict(shop.state.request).values

    # What a start settles is kept, and said no to while the server runs.
    moved = shop.run("deploy", "--tls-cert", "row.json", "--tls-key", "row.json", "--json")
    assert moved.code in (3, 7)
    shop.ok("stop")
    shop.ok("start")
    assert shop.state.url == made["url"]
    shop.ok("predict", "--data", "row.json")
    shop.ok("stop")
    plain = shop.ok(*deploy, "--reset", "tls", "--json").document
    assert plain["url"].startswith("http://")


def test_a_client_certificate_from_the_command_line(wine_shop: Shop) -> None:
    shop = wine_shop
    (shop.folder / "tls").mkdir()
    authority = Authority(shop.folder / "tls")
    cert = authority.issue("server")
    authority.issue("shop", "shop")
    made = shop.ok(
        "deploy", "--ab", "modelA", "modelB", "--json", "--tls-cert", str(cert), "--tls-key",
        str(cert.with_suffix(".key")), "--tls-client-ca", str(authority.file),
    ).document  # fmt: skip
    url, curl = made["url"], made["curl"]
    assert f"--cert CERT --key KEY --cacert {cert}" in curl
    shop.ok("keys", "create", "shop", "--subject", "CN=shop", "--scope", "predict")
    (shop.folder / "row.json").write_text(json.dumps(shop.state.request))
    there = ("--url", url, "--ca", "tls/test-ca.pem")
    mine = ("--client-cert", "tls/shop.pem,tls/shop.key")
    # The key is known within a second.
    wait_until(lambda: not shop.run("predict", "--data", "row.json", *there, *mine).code)
    assert shop.run("report", *there, *mine).code == 4
    without = shop.run("predict", "--data", "row.json", *there, "--json")
    assert without.code == 6
    assert "--client-cert" in without.error["hint"]
    by_name = shop.run("predict", "--data", "row.json", "--json")
    assert by_name.code == 4
    assert f"--url {url} --ca FILE --client-cert CERT,KEY" in by_name.error["hint"]
    with pytest.raises(NotAllowedError) as caught:
        mlops.connect(project=shop.folder)
    assert f'mlops.Client("{url}", tls=context)' in (caught.value.hint or "")
    context = ssl.create_default_context(cafile=str(authority.file))
    context.load_cert_chain(shop.folder / "tls/shop.pem", shop.folder / "tls/shop.key")
    with Client(url, tls=context) as client:
        assert client.predict(shop.state.request).values
    mine_of_curl = curl.replace("CERT --key KEY", "tls/shop.pem --key tls/shop.key")
    mine_of_curl = mine_of_curl.replace(f"--cacert {cert}", f"--cacert {authority.file}")
    done = subprocess.run(
        ["sh", "-c", mine_of_curl], cwd=shop.folder, capture_output=True, text=True, check=True
    )
    assert "predictions" in json.loads(done.stdout)
    broken = shop.run("predict", "--data", "row.json", *there, "--client-cert", "row.json")
    assert broken.code == 3
    with pytest.raises(RemoteError):
        reach(RemoteServer(url, ca_file=str(authority.file))).connection.get("/health")


def test_a_server_of_the_network_without_keys(wine_shop: Shop) -> None:
    shop = wine_shop
    wide = ("deploy", "--ab", "modelA", "modelB", "--host", "0.0.0.0", "--json")
    url = shop.ok(*wide, "--insecure-no-auth").document["url"]
    assert httpx.get(f"{url}/metrics").status_code == 200
    [status] = shop.ok("status", "--json").document["deployments"]
    assert any("--insecure-no-auth" in each for each in status["warnings"])
    assert "insecure-no-auth" in shop.ok(*wide, "--split", "60/40").err
    shop.ok("stop")
    shop.ok("start")
    assert httpx.get(f"{url}/metrics").status_code == 200
    shop.ok("keys", "create", "web", "--scope", "read")
    shop.ok("stop")
    refused = shop.run("start", "--json")
    assert refused.error["code"] == "usage"
    assert "API keys" in refused.error["message"]
    again = shop.ok(*wide, "--reset", "insecure-no-auth").document["url"]
    assert httpx.get(f"{again}/metrics").status_code == 401
    (shop.folder / "row.json").write_text(json.dumps(shop.state.request))
    shop.ok("predict", "--data", "row.json")
