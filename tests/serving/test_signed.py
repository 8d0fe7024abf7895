"""Signed tokens: of an issuer whose keys a real HTTP server gives, made by two libraries.

The attacks are those of RFC 8725, section 2, and what is known of implementations.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwt as joserfc
from joserfc.jwk import ECKey, OKPKey, RSAKey

from mlops.errors import InvalidInputError
from mlops.protocols.base import Kind, ProtocolError
from mlops.serving.access import Gate, watch
from mlops.serving.access.signed import Verifier
from mlops.serving.access.watch import IssuerWatch
from mlops.spec.access import ALGORITHMS, Access, Issuer
from tests.serving.grpc_client import GrpcClient
from tests.serving.models import ROWS, records
from tests.serving.server import make_launch, running, served

_RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
_OTHER = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
_EC = ec.generate_private_key(ec.SECP256R1())
ISSUER, AUDIENCE = "https://idp.example", "wine"


def _jwk(key: Any, kid: str, **more: str) -> dict[str, Any]:
    kind = (
        jwt.algorithms.RSAAlgorithm
        if isinstance(key, rsa.RSAPrivateKey)
        else jwt.algorithms.ECAlgorithm
    )
    document: dict[str, Any] = kind.to_jwk(key.public_key(), as_dict=True)
    return {**document, "kid": kid, "use": "sig", **more}


def _set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


KEYS = _set(_jwk(_RSA, "rsa"), _jwk(_EC, "ec"))


def _claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "azp": "shop", "iat": now, "nbf": now,
        "exp": now + 300, "scope": "openid predict",
    }  # fmt: skip
    return {name: value for name, value in {**claims, **more}.items() if value is not None}


def _token(key: Any = _RSA, algorithm: str = "RS256", kid: Any = "rsa", **claims: Any) -> bytes:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(_claims(**claims), key, algorithm, headers).encode()


@pytest.fixture
def verifier() -> Verifier:
    made = Verifier(Issuer(ISSUER, AUDIENCE, "keys.json"))
    assert made.load(KEYS)
    return made


def _refused(verifier: Verifier, token: bytes) -> str:
    with pytest.raises(ProtocolError) as refused:
        verifier.grant(token)
    assert refused.value.kind is Kind.UNAUTHENTICATED
    assert token.decode(errors="replace")[-40:] not in refused.value.message
    return refused.value.message


def test_tokens_of_two_libraries(verifier: Verifier) -> None:
    ours = [_token(), _token(_EC, "ES256", "ec")]
    pem = _RSA.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    theirs = [
        joserfc.encode({"alg": "RS256", "kid": "rsa"}, _claims(), RSAKey.import_key(pem)),
    ]
    elliptic = _EC.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    theirs.append(
        joserfc.encode({"alg": "ES256", "kid": "ec"}, _claims(), ECKey.import_key(elliptic))
    )
    for token in (*ours, *(each.encode() for each in theirs)):
        grant = verifier.grant(token)
        assert grant.scopes == {"predict"}
        assert grant.key_id == "jwt:shop"
        assert grant.until == pytest.approx(time.time() + 330, abs=5)


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_ed25519_of_another_library() -> None:
    key = OKPKey.generate_key("Ed25519", parameters={"kid": "ed"})
    made = Verifier(Issuer(ISSUER, AUDIENCE, "keys.json", ("EdDSA",)))
    made.load(_set({**key.as_dict(private=False), "kid": "ed"}))
    token = joserfc.encode({"alg": "EdDSA", "kid": "ed"}, _claims(), key, algorithms=["EdDSA"])
    assert made.grant(token.encode()).scopes == {"predict"}


def _part(document: Any) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=")


def _by_hand(header: dict[str, Any], secret: bytes | None) -> bytes:
    """Make a token as no honest library does."""
    signed = _part(header) + b"." + _part(_claims(scope="admin"))
    if secret is None:
        return signed + b"."
    signature = hmac.new(secret, signed, hashlib.sha256).digest()
    return signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")


def test_a_token_without_a_signature_is_refused(verifier: Verifier) -> None:
    for algorithm in ("none", "None", "NONE", "nOnE", "", None, ["RS256"], {"a": 1}, 5):
        assert "algorithm" in _refused(verifier, _by_hand({"alg": algorithm, "kid": "rsa"}, None))
    assert _refused(verifier, _by_hand({"alg": "RS256", "kid": "rsa"}, None))
    assert _refused(verifier, _token().rpartition(b".")[0] + b".")


def test_a_public_key_is_no_shared_secret(verifier: Verifier) -> None:
    """Algorithm confusion: HMAC with what everybody knows as its secret."""
    public = _RSA.public_key()
    forms = [
        public.public_bytes(serialization.Encoding.PEM, form)
        for form in (
            serialization.PublicFormat.SubjectPublicKeyInfo,
            serialization.PublicFormat.PKCS1,
        )
    ]
    forms += [public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)]
    forms += [json.dumps(_jwk(_RSA, "rsa")).encode(), _jwk(_RSA, "rsa")["n"].encode(), b""]
    for secret in forms:
        for algorithm in ("HS256", "HS384", "RS256", "ES256"):
            for kid in ("rsa", "ec", None):
                header = {"alg": algorithm} | ({"kid": kid} if kid else {})
                assert _refused(verifier, _by_hand(header, secret))


def test_a_key_counts_for_its_own_kind_only(verifier: Verifier) -> None:
    assert "no such key" in _refused(verifier, _token(kid="ec"))
    assert "no such key" in _refused(verifier, _token(_EC, "ES256", kid="rsa"))
    made = Verifier(Issuer(ISSUER, AUDIENCE, "keys.json", ("RS256", "PS256")))
    made.load(_set(_jwk(_RSA, "rsa", alg="RS256")))
    assert made.grant(_token())
    assert "no such key" in _refused(made, _token(algorithm="PS256"))
    # Not pinned, though the key would do.
    assert "algorithm" in _refused(verifier, _token(algorithm="RS512"))


def test_what_a_token_says_of_its_key_is_not_believed(verifier: Verifier) -> None:
    forged = jwt.encode(
        _claims(),
        _OTHER,
        "RS256",
        {"kid": "rsa", "jwk": _jwk(_OTHER, "rsa"), "jku": "http://127.0.0.1:9/keys",
         "x5u": "http://127.0.0.1:9/cert"},
    )  # fmt: skip
    assert "ignature" in _refused(verifier, forged.encode())
    for kid in ("../../../../dev/null", "' UNION SELECT 'x", "/etc/passwd", "x" * 5_000, "", "\0"):
        assert _refused(verifier, _token(_OTHER, kid=kid))
    for odd in (["rsa"], {"rsa": 1}, 7, None):
        raw = _part({"alg": "RS256", "kid": odd}) + b"." + _part(_claims()) + b".c2ln"
        assert _refused(verifier, raw)
    critical = jwt.encode(_claims(), _RSA, "RS256", {"kid": "rsa", "crit": ["exp"], "exp": 1})
    assert "crit" in _refused(verifier, critical.encode())


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": 1}, "expired"), ({"exp": None}, "exp"), ({"exp": "soon"}, "integer"),
        ({"exp": 1e400}, ""), ({"aud": "beer"}, "udience"), ({"aud": None}, "aud"),
        ({"aud": []}, "aud"), ({"iss": "https://evil.example"}, "ssuer"),
        ({"iss": None}, "iss"), ({"iss": ["https://idp.example"]}, "ssuer"),
        ({"nbf": time.time() + 3_600}, "not yet valid"),
        ({"iat": time.time() + 3_600}, "not yet valid"),
    ],
)  # fmt: skip
def test_claims_that_do_not_hold(verifier: Verifier, claims: dict[str, Any], why: str) -> None:
    header = {"alg": "RS256", "kid": "rsa"}
    body = _part(header) + b"." + _part(_claims(**claims))
    signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(body, _RSA)
    token = body + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")
    assert why in _refused(verifier, token)


def test_clocks_may_differ_a_little(verifier: Verifier) -> None:
    now = int(time.time())
    assert verifier.grant(_token(exp=now - 20, nbf=now + 20, iat=now + 20))
    assert "expired" in _refused(verifier, _token(exp=now - 40))


def test_what_is_no_token(verifier: Verifier) -> None:
    for noise in (
        b"..", b"a.b.c", b".".join([b"e30"] * 3), b"\xff.\xff.\xff", b"e30.e30.", b"W10.W10.W10",
        _part("x") + b"." + _part("x") + b".x", _part({"alg": "RS256", "kid": "rsa"}) + b".e30.x",
        b"." * 2 + b"x" * 8_000,
    ):  # fmt: skip
        _refused(verifier, noise)
    deep = base64.urlsafe_b64encode(b'{"a":' * 2_000 + b"1" + b"}" * 2_000).rstrip(b"=")
    _refused(verifier, deep[:8_000] + b".e30.x")
    huge = _token(scope="predict " * 10_000)
    began = time.process_time()
    assert "more than 8192" in _refused(verifier, huge)
    assert time.process_time() - began < 0.05


@pytest.mark.parametrize(
    ("claim", "prefix", "said", "scopes"),
    [
        ("scope", "", {"scope": "predict feedback nonsense"}, {"predict", "feedback"}),
        ("scp", "", {"scp": ["read", 7, None]}, {"read"}),
        ("scope", "mlops:", {"scope": "mlops:read predict"}, {"read"}),
        ("realm_access.roles", "", {"realm_access": {"roles": ["predict"]}}, {"predict"}),
        ("https://idp.example/roles", "", {"https://idp.example/roles": ["read"]}, {"read"}),
        ("scope", "", {"scope": None}, set()), ("scope", "", {"scope": 5}, set()),
        ("a.b", "", {"a": "read"}, set()), ("scope", "", {"scope": {"read": True}}, set()),
    ],
)  # fmt: skip
def test_scopes_are_where_the_settings_say(
    claim: str, prefix: str, said: dict[str, Any], scopes: set[str]
) -> None:
    issuer = Issuer(ISSUER, AUDIENCE, "keys.json", scope_claim=claim, scope_prefix=prefix)
    made = Verifier(issuer)
    made.load(KEYS)
    assert made.grant(_token(**{"scope": None, **said})).scopes == scopes


def test_a_caller_has_an_id_that_can_be_written_and_is_no_other_callers(
    verifier: Verifier,
) -> None:
    """The journal refused a lone surrogate, and with it what others had sent in that moment."""
    callers = [
        "shop", "a\ud800b", "a?b", "a\0b", "a\x1b[2Jb", "a\u202eb",
        "c" * 60, "c" * 61, "c" * 61 + "d", "c" * 4_000,
    ]  # fmt: skip
    ids = [verifier.grant(_token(azp=caller)).key_id or "" for caller in callers]
    assert len(set(ids)) == len(callers)
    assert ids[0] == "jwt:shop"
    for each in ids:
        assert each.isprintable()
        assert each.startswith("jwt:")
        assert len(each.encode()) <= 64


def test_who_administrates_may_do_all(verifier: Verifier) -> None:
    assert verifier.grant(_token(scope="admin")).may_force


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"algorithms": ("RS256", "HS256")}, "HS256"), ({"algorithms": ("none",)}, "none"),
        ({"algorithms": ()}, "algorithms"), ({"audience": ""}, "audience"),
        ({"issuer": ""}, "issuer"), ({"jwks": ""}, "jwks"),
        ({"jwks": "http://idp.example/keys"}, "a man in the middle"),
    ],
)  # fmt: skip
def test_settings_that_let_anybody_in(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        Verifier(replace(Issuer(ISSUER, AUDIENCE, "https://idp.example/keys"), **changes))
    assert not [each for each in ALGORITHMS if each.startswith("HS") or each == "none"]


def test_keys_that_are_none(verifier: Verifier) -> None:
    secret = {"kty": "oct", "kid": "s", "k": "c2VjcmV0", "alg": "HS256"}
    for text in (
        b"{", b"[]", b'{"keys": 5}', b'{"keys": []}', _set(secret),
        _set(_jwk(_RSA, "enc", use="enc")), _set({"kty": "RSA", "kid": "x", "n": "AQ", "e": "!"}),
        b'{"keys": [1, null, "x"]}',
    ):  # fmt: skip
        with pytest.raises(InvalidInputError):
            verifier.load(text)
    # Those from before count on.
    assert verifier.grant(_token())
    assert verifier.load(_set(secret, _jwk(_OTHER, "next"))) is True
    assert verifier.load(_set(secret, _jwk(_OTHER, "next"))) is False
    assert verifier.grant(_token(_OTHER, kid="next"))
    # The only key of its kind need not be named.
    assert verifier.grant(_token(_OTHER, kid=None))


@dataclass
class Idp:
    """An issuer's server of keys, which counts who asks."""

    keys: bytes = KEYS
    status: int = 200
    asked: int = 0
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@contextmanager
def _idp() -> Iterator[Idp]:
    idp = Idp()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            idp.asked += 1
            self.send_response(idp.status)
            for name, value in idp.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(idp.keys)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    idp.url = f"http://127.0.0.1:{server.server_port}/keys"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield idp
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_keys_are_asked_for_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[int] = []
    with _idp() as idp:
        made = Verifier(Issuer(ISSUER, AUDIENCE, idp.url, refresh_s=3_600))
        follower = IssuerWatch(made, lambda: changes.append(1))
        with pytest.raises(ProtocolError) as early:
            made.grant(_token())
        assert early.value.kind is Kind.NOT_READY
        asyncio.run(follower.look())
        assert made.grant(_token())
        # A flood of tokens with unknown keys makes one request for keys, not more.
        for number in range(500):
            _refused(made, _token(_EC, "ES256", kid=f"k{number % 3}"))
            asyncio.run(follower.look())
        assert idp.asked == 1
        monkeypatch.setattr(watch, "ASK_AGAIN_S", 0.0)
        asyncio.run(follower.look())
        assert idp.asked == 2
        asyncio.run(follower.look())
        assert idp.asked == 2  # no key was missing since
        # The issuer's next key.
        idp.keys = _set(_jwk(_OTHER, "next"))
        _refused(made, _token(_OTHER, kid="next"))
        asyncio.run(follower.look())
        assert made.grant(_token(_OTHER, kid="next"))
        _refused(made, _token())
        assert len(changes) == 2
        # It is away, answers an error, nonsense, or leads somewhere else.
        for status, keys in ((500, KEYS), (200, b"<html>"), (302, KEYS), (200, b" " * 2_000_000)):
            idp.status, idp.keys, idp.headers = status, keys, {"location": idp.url + "2"}
            made.misses = True
            asyncio.run(follower.look())
            assert made.grant(_token(_OTHER, kid="next"))
    made.misses = True
    asyncio.run(follower.look())
    assert made.grant(_token(_OTHER, kid="next"))


def test_a_token_is_checked_once(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(verifier=verifier)
    token = b"Bearer " + _token()
    assert gate.admit(token, "predict").key_id == "jwt:shop"
    monkeypatch.setattr(verifier, "grant", lambda _: pytest.fail("it is known"))
    assert gate.admit(token, "predict").key_id == "jwt:shop"
    with pytest.raises(ProtocolError) as refused:
        gate.admit(token, "read")
    assert refused.value.kind is Kind.FORBIDDEN
    gate.forget()
    with pytest.raises(pytest.fail.Exception):
        gate.admit(token, "predict")


def test_a_server_takes_them_while_its_issuer_is_away(
    models: dict[str, Path], tmp_path: Path
) -> None:
    with _idp() as idp:
        launch = make_launch(tmp_path, served(models), grpc=True)
        launch = replace(launch, access=Access(issuer=Issuer(ISSUER, AUDIENCE, idp.url)))
        with running(launch, tmp_path) as server:
            bearer: dict[str, Any] = {"authorization": f"Bearer {_token().decode()}"}
            deadline = time.monotonic() + 180
            while (reply := server.predict(records(ROWS[:1]), **bearer)).status != 200:
                assert reply.status == 503
                assert reply.headers["retry-after"]
                assert time.monotonic() < deadline
                time.sleep(0.05)
            idp.status = 500
            for _ in range(3):
                assert server.predict(records(ROWS[:1]), **bearer).status == 200
            assert server.get("/metrics", **bearer).status == 403
            assert server.predict(records(ROWS[:1])).status == 401
            grpc = GrpcClient(launch.grpc_port)
            assert grpc.call("ServerMetadata", **bearer).code == "OK"
            forged: dict[str, Any] = {"authorization": f"Bearer {_token(_OTHER).decode()}"}
            assert grpc.call("ServerMetadata", **forged).code == "UNAUTHENTICATED"
            assert server.predict(records(ROWS[:1]), **forged).status == 401
            grpc.close()
            short = _token(exp=int(time.time()) - 28)
            late: dict[str, Any] = {"authorization": f"Bearer {short.decode()}"}
            codes = []
            for _ in range(60):
                codes.append(server.predict(records(ROWS[:1]), **late).status)
                time.sleep(0.05)
            assert codes[-1] == 401  # it expired on a connection on which its head was known
