"""TLS and mutual TLS with real clients, and certificates that change under open connections."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from mlops.errors import InvalidInputError
from mlops.protocols.protobuf import methods
from mlops.serving.tls import ServerTls
from mlops.spec.access import Access, Tls, new_key, write_keys
from mlops.spec.revocations import now, read_revocations
from mlops.spec.tls import own_client_context, read_validity, server_context
from tests.serving.certificates import Authority
from tests.serving.grpc_client import INFERENCE
from tests.serving.models import ROWS, records
from tests.serving.server import Server, make_launch, running, served
from tests.waiting import wait_until

BODY = json.dumps({"dataframe_records": records(ROWS[:1])}).encode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def _client(authority: Authority, name: str = "", *, of: Authority | None = None) -> ssl.SSLContext:
    """Trust one authority; have a certificate of it, or of another."""
    context = ssl.create_default_context(cafile=str((of or authority).file))
    if name:
        context.load_cert_chain(authority.folder / f"{name}.pem", authority.folder / f"{name}.key")
    return context


class Connection:
    """A kept connection, and the certificate that the server showed on it."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        try:
            self.socket = context.wrap_socket(raw, server_hostname="localhost")
        except BaseException:
            raw.close()
            raise

    @property
    def serial(self) -> str:
        certificate = self.socket.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])

    def predict(self, *headers: str) -> int:
        lines = ["POST /invocations HTTP/1.1", "host: localhost", *headers]
        lines += ["content-type: application/json", f"content-length: {len(BODY)}", "", ""]
        self.socket.sendall("\r\n".join(lines).encode() + BODY)
        answer = self.socket.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 ")
        return int(answer[9:12])

    def close(self) -> None:
        self.socket.close()


def _grpc_shows(port: int, client: ssl.SSLContext) -> str:
    """Return the serial number of the certificate that the port of gRPC shows now."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as raw,
        client.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        certificate = connection.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


def _call_grpc(port: int, authority: Authority, name: str = "") -> tuple[str, str]:
    """Call over a new channel; return the code of the answer and its details."""
    files = [authority.file.read_bytes()]
    if name:
        files += [(authority.folder / f"{name}.{end}").read_bytes() for end in ("key", "pem")]
    credentials = grpc.ssl_channel_credentials(*files)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    with grpc.secure_channel(f"localhost:{port}", credentials, options) as channel:
        request, response = methods(INFERENCE)["ServerMetadata"]
        call = channel.unary_unary(
            f"/{INFERENCE}/ServerMetadata", response_deserializer=response.FromString
        )
        try:
            call(request().SerializeToString(), timeout=60)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", ""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_renewed_certificate_is_shown_to_who_connects(
    models: dict[str, Path], tmp_path: Path, workers: int
) -> None:
    authority = Authority(tmp_path)
    cert = authority.issue("server")
    tls = Tls(str(cert), str(cert.with_suffix(".key")))
    launch = replace(make_launch(tmp_path, served(models), grpc=True), tls=tls, workers=workers)
    with running(launch, tmp_path) as server:
        assert server.state.url.startswith("https://")
        client = _client(authority)
        old = [Connection(server, client) for _ in range(4)]
        assert {each.predict() for each in old} == {200}
        (serial,) = {each.serial for each in old}
        code, said = _call_grpc(launch.grpc_port, authority)
        assert code == "OK", said
        h2 = _client(authority)
        h2.set_alpn_protocols(["h2"])
        assert _grpc_shows(launch.grpc_port, h2) == serial

        authority.issue("server")
        deadline = time.monotonic() + 180
        while True:
            # All connections may go to the one worker that has read it already.
            read = set(re.findall(r"INFO (worker \d+: )?TLS: .* is read again", server.log))
            new = [Connection(server, client) for _ in range(6)]
            serials = {each.serial for each in new}
            assert {each.predict() for each in new} == {200}
            for each in new:
                each.close()
            if serial not in serials and len(read) == workers:
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert len(serials) == 1
        # Connections from before go on, as they are.
        for each in old:
            assert each.predict() == 200
            assert each.serial == serial
        assert _call_grpc(launch.grpc_port, authority)[0] == "OK"
        assert {_grpc_shows(launch.grpc_port, h2)} == serials

        # Half a renewal: a certificate without its key.
        (tmp_path / "other").mkdir()
        Authority(tmp_path / "other").issue("server").replace(cert)
        wait_until(lambda: server.log.count("the previous certificate stays in use") >= workers)
        last = Connection(server, client)
        assert last.serial in serials
        assert last.predict() == 200
        assert _call_grpc(launch.grpc_port, authority)[0] == "OK"
        last.close()
        for each in old:
            each.close()


def test_authorities_are_replaced_too(models: dict[str, Path], tmp_path: Path) -> None:
    authority, next_one = Authority(tmp_path), Authority(tmp_path, "next")
    cert = authority.issue("server")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.file.read_bytes())
    tls = Tls(str(cert), str(cert.with_suffix(".key")), str(trusted))
    launch = replace(make_launch(tmp_path, served(models), grpc=True), tls=tls)
    any_of_them, _ = new_key("all", ["predict"], subject="*")
    (tmp_path / "wine.keys").write_text(write_keys([any_of_them]))
    launch = replace(launch, access=Access(str(tmp_path / "wine.keys")))
    authority.issue("old")
    next_one.issue("new")
    with running(launch, tmp_path) as server:
        old = Connection(server, _client(authority, "old"))
        assert old.predict() == 200
        trusted.write_bytes(next_one.file.read_bytes())
        wait_until(lambda: _is_let_in(server, _client(next_one, "new", of=authority)))
        assert not _is_let_in(server, _client(authority, "old"))
        # It was let in when it connected.
        assert old.predict() == 200
        old.close()
        # The clients of gRPC check the server by the same authority as before.
        for name, code in (("new", "OK"), ("old", "UNAVAILABLE")):
            assert _call_grpc(launch.grpc_port, authority, name)[0] == code


def test_files_that_change_while_models_load_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who watches them begins when the server is ready, which may take minutes."""
    authority = Authority(tmp_path)
    cert = authority.issue("server", days=0.1)

    def replaced_next(tls: Tls) -> Any:
        found = read_validity(tls)
        authority.issue("server", days=300)
        return found

    with monkeypatch.context() as patch:
        patch.setattr("mlops.serving.tls.read_validity", replaced_next)
        tls = ServerTls(Tls(str(cert), str(cert.with_suffix(".key"))))
    assert "ends" in tls.warnings[0]
    tls.watch.look()
    assert not tls.warnings
    assert _admits(tls, _client(authority))


def _is_let_in(server: Server, client: ssl.SSLContext) -> bool:
    with (
        contextlib.suppress(OSError, AssertionError),
        contextlib.closing(Connection(server, client)) as connection,
    ):
        return connection.predict() == 200
    return False


@pytest.fixture(scope="module")
def mutual(
    authority: Authority, models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that asks for certificates of the authority, two of which have scopes."""
    folder = tmp_path_factory.mktemp("mutual")
    cert = authority.issue("server")
    authority.issue("shop", "shop")
    authority.issue("robot", uri="spiffe://shop/robot")
    authority.issue("till", "none", dns="till.shop.example", uri="spiffe://shop/till")
    authority.issue("stranger", "stranger")
    keys = [
        new_key("shop", ["predict"], subject="CN=shop")[0],
        new_key("robot", ["read"], subject="URI:spiffe://shop/robot")[0],
        new_key("till", ["predict"], subject="DNS:till.shop.example")[0],
    ]
    (folder / "wine.keys").write_text(write_keys(keys))
    tls = Tls(str(cert), str(cert.with_suffix(".key")), str(authority.file))
    launch = make_launch(folder, served(models), grpc=True, token="the-owner's-own-token")
    launch = replace(launch, tls=tls, access=Access(str(folder / "wine.keys")))
    with running(launch, folder) as server:
        yield server


def _curl(server: Server, authority: Authority, path: str, *more: str) -> tuple[int, str]:
    done = subprocess.run(
        ["curl", "-sS", "--cacert", authority.file, "-w", "\n%{http_code}", *more,
         f"https://localhost:{server.port}{path}"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_a_certificate_has_the_scopes_of_its_key(mutual: Server, authority: Authority) -> None:
    def status(path: str, name: str, *more: str) -> str:
        files = (authority.folder / f"{name}.pem", authority.folder / f"{name}.key")
        code, said = _curl(
            mutual, authority, path, "--cert", str(files[0]), "--key", str(files[1]), *more
        )
        assert code == 0, said
        return said.splitlines()[-1]

    data = ("--data-binary", BODY.decode(), "-H", "content-type: application/json")
    assert status("/invocations", "shop", *data) == "200"
    assert status("/metrics", "shop") == "403"
    assert status("/metrics", "robot") == "200"
    assert status("/invocations", "robot", *data) == "403"
    assert status("/invocations", "till", *data) == "200"
    assert status("/invocations", "stranger", *data) == "401"
    token = ("-H", "authorization: Bearer the-owner's-own-token")
    assert status("/invocations", "stranger", *data, *token) == "200"
    assert status("/health", "stranger") == "200"
    wrong = ("-H", "authorization: Bearer wrong")
    assert status("/invocations", "shop", *data, *wrong) == "401"


def test_a_client_without_a_certificate_is_refused(
    mutual: Server, authority: Authority, tmp_path: Path
) -> None:
    code, said = _curl(mutual, authority, "/health")
    assert code != 0
    assert "200" not in said
    others = Authority(tmp_path, "others")
    cert = others.issue("shop", "shop")
    more = ("--cert", str(cert), "--key", str(cert.with_suffix(".key")))
    assert _curl(mutual, authority, "/health", *more)[0] != 0
    expired = authority.issue("late", "shop", days=-1)
    more = ("--cert", str(expired), "--key", str(expired.with_suffix(".key")))
    assert _curl(mutual, authority, "/health", *more)[0] != 0
    # Plain HTTP is answered by nothing that could be taken for an answer.
    with socket.create_connection(("127.0.0.1", mutual.port), timeout=60) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"200" not in plain.recv(1_000)


def test_a_known_head_is_not_lent_to_another_certificate(
    mutual: Server, authority: Authority
) -> None:
    for _ in range(3):
        shop = Connection(mutual, _client(authority, "shop"))
        assert [shop.predict() for _ in range(3)] == [200] * 3
        for name, status in (("robot", 403), ("stranger", 401)):
            other = Connection(mutual, _client(authority, name))
            assert other.predict() == status
            other.close()
        shop.close()


def test_the_same_over_grpc(mutual: Server, authority: Authority) -> None:
    port = mutual.launch.grpc_port
    assert _call_grpc(port, authority, "shop")[0] == "OK"
    # By a name of each kind: DNS and URI.
    assert _call_grpc(port, authority, "till") == ("OK", "")
    assert _call_grpc(port, authority, "robot") == ("OK", "")
    code, said = _call_grpc(port, authority, "stranger")
    assert code == "UNAUTHENTICATED"
    assert "CN=stranger" in said
    assert _call_grpc(port, authority)[0] == "UNAVAILABLE"


def test_old_versions_of_tls_are_refused(mutual: Server, authority: Authority) -> None:
    context = _client(authority, "shop")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Connection(mutual, context)


def _admits(tls: ServerTls, context: ssl.SSLContext) -> bool:
    """Shake hands with what listens with this TLS, and read what it says afterwards."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        raw, _ = listener.accept()
        with raw, contextlib.suppress(ssl.SSLError, OSError):
            raw.settimeout(10)
            with tls.context.wrap_socket(raw, server_side=True) as connection:
                connection.sendall(b"welcome")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with (
            socket.create_connection(listener.getsockname(), timeout=60) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as connection,
        ):
            return connection.recv(100) == b"welcome"
    except (ssl.SSLError, OSError):
        return False
    finally:
        thread.join()
        listener.close()


def test_revoked_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, shop, robot = (authority.issue(name) for name in ("server", "shop", "robot"))
    lists = authority.revoke(shop)
    tls = ServerTls(Tls(str(cert), str(cert.with_suffix(".key")), str(authority.file), str(lists)))
    assert lists in tls.paths

    def admitted() -> list[bool]:
        return [_admits(tls, _client(authority, name)) for name in ("shop", "robot")]

    assert admitted() == [False, True]
    authority.revoke(robot)
    assert admitted() == [False, True]
    tls.reload()
    assert admitted() == [True, False]
    # What is no list changes nothing; with one that is out of date every client is refused.
    lists.write_bytes(authority.file.read_bytes())
    tls.reload()
    assert admitted() == [True, False]
    assert "holds no certificate revocation list" in tls.warnings[0]
    authority.revoke(days=-1)
    tls.reload()
    assert admitted() == [False, False]
    assert "out of date" in tls.warnings[0]


@pytest.mark.parametrize(("days", "due"), [(28, 3), (3, 1)])
def test_a_revocation_list_is_announced_before_it_ends(
    tmp_path: Path, days: int, due: float
) -> None:
    authority, begin = Authority(tmp_path), now()
    cert = authority.issue("server")
    lists = str(authority.revoke(days=days))
    tls = Tls(str(cert), str(cert.with_suffix(".key")), str(authority.file), lists)
    found = read_revocations(server_context(tls), lists)
    assert found.warnings(begin + timedelta(days - due - 0.01)) == []
    (soon,) = found.warnings(begin + timedelta(days - due + 0.01))
    assert "`CN=test-ca` ends" in soon
    assert not found.faults(begin + timedelta(days - 0.01))
    assert found.faults(begin + timedelta(days + 0.01))


def test_a_list_brings_no_authority(tmp_path: Path) -> None:
    authority, evil = Authority(tmp_path), Authority(tmp_path, "evil")
    cert, lists = authority.issue("server"), authority.revoke()
    tls = Tls(str(cert), str(cert.with_suffix(".key")), str(authority.file), str(lists))
    text = lists.read_bytes()
    # The authority's own is nothing new.
    lists.write_bytes(text + authority.file.read_bytes())
    assert len(server_context(tls).get_ca_certs()) == 1
    lists.write_bytes(text + evil.file.read_bytes())
    with pytest.raises(InvalidInputError, match="a certificate that is not in the file of"):
        server_context(tls)


def test_lists_are_fetched_without_protection(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was replaced on its way holds up no server, whatever is in it."""
    cert, lists = authority.issue("long"), authority.revoke()
    files = (str(cert), str(cert.with_suffix(".key")), str(authority.file))
    text = lists.read_bytes()
    # Where OpenSSL sees no begin of a list: none of these has an end.
    odd = b"# -----BEGIN X509 CRL-----\n-----BEGIN X509 CRL-----x\n" * 40_000
    (tmp_path / "odd.pem").write_bytes(text + odd)
    began = time.process_time()
    tls = ServerTls(Tls(*files, str(tmp_path / "odd.pem")))
    assert time.process_time() - began < 10
    assert tls.warnings == []
    (tmp_path / "many.pem").write_bytes(text * 2_001)
    with pytest.raises(InvalidInputError, match="more than 2,000 lists"):
        server_context(Tls(*files, str(tmp_path / "many.pem")))
    monkeypatch.setattr("mlops.spec.tls._MAX_BYTES", 100_000)
    server_context(Tls(*files, str(lists)))
    with pytest.raises(InvalidInputError, match="at most 0 MiB are read"):
        server_context(Tls(*files, str(tmp_path / "odd.pem")))
    # Files that go while they are read change nothing.
    monkeypatch.setattr("mlops.serving.tls.read_validity", lambda _: Path("gone").read_bytes())
    tls.reload()
    (fault,) = tls.warnings
    assert "the previous certificate stays in use" in fault
    monkeypatch.undo()
    tls.reload()
    assert tls.warnings == []


@pytest.mark.parametrize("what", ["cert", "key", "client_ca", "client_crl"])
def test_files_that_are_none(authority: Authority, tmp_path: Path, what: str) -> None:
    cert = authority.issue("fine")
    files: dict[str, Any] = {"cert": str(cert), "key": str(cert.with_suffix(".key"))}
    files["client_ca"] = str(authority.file)
    files["client_crl"] = str(authority.revoke())
    for wrong in (tmp_path / "missing", tmp_path / "noise"):
        (tmp_path / "noise").write_text("noise")
        with pytest.raises(InvalidInputError, match=wrong.name):
            server_context(Tls(**{**files, what: str(wrong)}))


def test_a_machine_knows_its_own_server_by_its_certificate(
    authority: Authority, tmp_path: Path
) -> None:
    cert = authority.issue("own")
    assert own_client_context(Tls(str(cert), "")).verify_mode is ssl.CERT_REQUIRED
    assert ServerTls(Tls(str(cert), str(cert.with_suffix(".key")))).paths[0] == cert
