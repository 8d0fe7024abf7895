"""`mlops deploy --grpc-port`: one more port, as stable as the URL."""

from __future__ import annotations

import socket

import pytest

from tests.fixtures_deployment import Shop
from tests.servers import unused_port

pytest.importorskip("grpc")


def live(shop: Shop) -> bool:
    from tests.serving.grpc_client import GrpcClient

    client = GrpcClient(shop.state.launch.grpc_port)
    try:
        return bool(client.call("ServerLive").message.live)
    finally:
        client.close()


def test_a_port_for_grpc_is_kept(wine_shop: Shop) -> None:
    port = unused_port()
    deploy = ("deploy", "--ab", "modelA", "modelB", "--json")
    with socket.create_server(("127.0.0.1", port)):
        taken = wine_shop.run(*deploy, "--grpc-port", str(port))
        assert taken.error["code"] == "conflict"
        assert taken.code == 7
        assert "add `--grpc-port " in taken.error["hint"]
    same = wine_shop.run(*deploy, "--port", str(port), "--grpc-port", str(port))
    assert "both for HTTP and for gRPC" in same.error["message"]
    address = f"127.0.0.1:{port}"
    assert wine_shop.ok(*deploy, "--grpc-port", str(port)).document["grpc"] == address
    assert live(wine_shop)
    [status] = wine_shop.ok("status", "--json").document["deployments"]
    assert status["grpc"] == address
    moved = wine_shop.run(*deploy, "--grpc-port", str(unused_port()))
    assert moved.code == 7
    assert f"listens for gRPC on port {port}" in moved.error["message"]
    assert wine_shop.ok(*deploy, "--split", "90/10").document["grpc"] == address
    wine_shop.ok("stop", "wine")
    wine_shop.ok("deploy", "--model", "modelA", "--json")
    assert wine_shop.state.grpc == address
    assert live(wine_shop)
    wine_shop.ok("stop", "wine")
    again = wine_shop.ok("deploy", "--model", "modelA", "--reset", "grpc-port", "--json")
    assert again.document["grpc"] == ""
