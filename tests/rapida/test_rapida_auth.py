"""Who may call Rapida's service: JWTs of the platform, and the native way where there is no secret."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.protobuf.message import Message

from caller.errors import CallerUnauthenticated
from integration_api import unified_provider_pb2 as pb
from integration_api.rapida.auth import HEADER, authenticate_rapida, origin
from integration_api.sandbox import Sandbox
from integration_api.settings import Settings
from tests.rapida.talk import ask, chat_request, talk

SECRET = "the platform's shared secret, long enough for HS256"
_BEARER = "a token of the native kind"
GOOD = {"userId": 1, "organizationId": 2, "projectId": 3}


def newer(*without: str, **claims: object) -> dict[str, object]:
    """What the platform's newest tokens say: of a service, for five minutes, without a user."""
    now = time.time()
    said = {
        "actor_type": "service",
        "actor_id": "assistant-api",
        "iss": "rapida",
        "aud": "rapida-internal",
        "iat": now,
        "exp": now + 300,
        "organizationId": 2,
        "projectId": 3,
    }
    return {name: value for name, value in (said | claims).items() if name not in without}


def token(claims: dict[str, object] | None = None, *, secret: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode({"exp": time.time() + 60, **(GOOD if claims is None else claims)}, secret, algorithm=algorithm)


def unsigned() -> str:
    """A token that says of itself that it needs no signature."""
    parts = ({"alg": "none", "typ": "JWT"}, {**GOOD, "exp": time.time() + 60})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, ""])


def foreign() -> str:
    """A token signed with a private key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return jwt.encode({**GOOD, "exp": time.time() + 60}, pem, algorithm="RS256")


# Made when they are asked for: a run of all tests lasts longer than such a token.
BAD: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "no token": lambda: "not.a.token",
    "expired": lambda: token({**GOOD, "exp": time.time() - 1}),
    "never expires": lambda: jwt.encode(GOOD, SECRET, algorithm="HS256"),
    "not valid yet": lambda: token({**GOOD, "nbf": time.time() + 600}),
    "another secret": lambda: token(secret="another secret, as long as the first, but not it"),
    "another hash": lambda: token(algorithm="HS512", secret=SECRET * 2),
    "unsigned": unsigned,
    "RS256": foreign,
    "no project": lambda: token({"userId": 1, "organizationId": 2}),
    "project zero": lambda: token({**GOOD, "projectId": 0}),
    "project in words": lambda: token({**GOOD, "projectId": "3"}),
    "project is true": lambda: token({**GOOD, "projectId": True}),
    "user in words": lambda: token({**GOOD, "userId": "one"}),
    "endless number": lambda: token({**GOOD, "projectId": float("inf")}),
    "for somebody else": lambda: token(newer(aud="another")),
    "for others only": lambda: token(newer(aud=["another", "third"])),
    "for nobody": lambda: token(newer(aud=None)),
    "the older kind for somebody else": lambda: token({**GOOD, "aud": "another"}),
    "of a person": lambda: token(newer(actor_type="user")),
    "of nothing": lambda: token(newer(actor_type=None)),
    "of a person, for nobody in particular": lambda: token(newer("aud", actor_type="user")),
    "lives six minutes": lambda: token(newer(exp=time.time() + 360)),
    "lives a second too long": lambda: token(newer(iat=time.time() - 240, exp=time.time() + 61)),
    "lives for an hour, without an audience": lambda: token(newer("aud", exp=time.time() + 3600)),
    "issued in the future": lambda: token(newer(iat=time.time() + 3600, exp=time.time() + 3700)),
    "issued nobody knows when": lambda: token(newer("iat")),
    "issued at true": lambda: token(newer(iat=True)),
    "issued in words": lambda: token(newer(iat="now")),
    "expires in words": lambda: token(newer(exp=str(int(time.time()) + 60))),
    "a service that expired": lambda: token(newer(iat=time.time() - 200, exp=time.time() - 1)),
    "a service without an organization": lambda: token(newer("organizationId")),
    "a service of organization zero": lambda: token(newer(organizationId=0)),
    "a service, project in words": lambda: token(newer(projectId="3")),
    "a service, another secret": lambda: token(newer(), secret="another secret, as long as the first, but not it"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_refused_without_repeating_it(name: str) -> None:
    """Expired, of another algorithm, wrongly signed, without a project, or no token at all."""
    bad = BAD[name]()
    with pytest.raises(CallerUnauthenticated) as caught:
        authenticate_rapida([(HEADER, bad)], SECRET)

    assert HEADER in caught.value.message
    assert not bad or bad not in caught.value.message


@pytest.mark.parametrize("metadata", [None, [], [(HEADER, b"bytes")], [(HEADER, token()), (HEADER, token())]])
def test_there_must_be_exactly_one_token(metadata: list[tuple[str, str | bytes]] | None) -> None:
    """None at all, bytes, and two are refused."""
    with pytest.raises(CallerUnauthenticated):
        authenticate_rapida(metadata, SECRET)


@pytest.mark.parametrize(
    ("claims", "identity"),
    [
        (lambda: GOOD, "rapida/2/3"),
        (lambda: {"projectId": 3}, "rapida/0/3"),
        (lambda: {**GOOD, "projectId": 3.0, "sub": 7, "iss": "anybody", "iat": time.time() + 30}, "rapida/2/3"),
        (lambda: {**GOOD, "exp": time.time() + 86_400}, "rapida/2/3"),
        (newer, "rapida/2/3"),
        (lambda: newer("projectId"), "rapida/2"),
        (lambda: newer(projectId=None), "rapida/2"),
        (lambda: newer("aud"), "rapida/2/3"),
        (lambda: newer("actor_type", "actor_id", "iss"), "rapida/2/3"),
        (lambda: newer(aud=["another", "rapida-internal"]), "rapida/2/3"),
        (
            lambda: newer(delegation={"actor_type": "user", "userId": 9, "organizationId": 8, "projectId": 7}),
            "rapida/2/3",
        ),
        (lambda: newer("projectId", delegation={"projectId": 7}), "rapida/2"),
        (lambda: newer(iat=int(time.time()) + 5, exp=int(time.time()) + 305), "rapida/2/3"),
    ],
)
def test_a_good_token_names_the_project(claims: Callable[[], dict[str, object]], identity: str) -> None:
    """Organization and project are the identity, of both kinds of tokens; a service may have no project, and on whose
    behalf it acts is not looked at. Claims that are not the platform's business are not ours."""
    assert authenticate_rapida([("other", "x"), (HEADER, token(claims()))], SECRET) == identity


def test_a_short_secret_of_the_platform_works_without_a_warning() -> None:
    """Its length was decided where the platform was set up."""
    claims = base64.urlsafe_b64encode(json.dumps({**GOOD, "exp": time.time() + 60}).encode()).rstrip(b"=")
    header = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
    signature = hmac.digest(b"short", header + b"." + claims, hashlib.sha256)
    signed = b".".join([header, claims, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()

    assert authenticate_rapida([(HEADER, signed)], "short") == "rapida/2/3"


def test_the_origin_is_short_and_printable() -> None:
    """Only the known entries, cut to a bound."""
    metadata: list[tuple[str, str | bytes]] = [
        ("x-client-source", "s" * 100),
        ("x-rapida-region", "a\nb"),
        ("x-rapida-environment", b"b"),
        ("x", "y"),
    ]

    assert origin(metadata) == {"client_source": "s" * 64}
    assert origin(None) == {}


REQUESTS: dict[str, Callable[[], Message]] = {
    "VerifyCredential": pb.VerifyCredentialRequest,
    "Embedding": pb.EmbeddingRequest,
    "Reranking": pb.RerankingRequest,
}


class TestWithASecret:
    """A server that knows the platform's secret."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(port=0, shutdown_grace=2.0, rapida_jwt_secret=SECRET)

    async def test_who_shows_no_good_token_is_refused_as_the_contract_says(
        self, sandbox: Sandbox, channel: grpc.aio.Channel
    ) -> None:
        """Chat inside of its answer with its request id, StreamChat by status; the endpoint hears nothing."""
        answer = await ask(channel, "Chat", chat_request(sandbox.url, "echo"), metadata=[(HEADER, BAD["expired"]())])
        async with talk(channel) as stream:
            code = await stream.call.code()

        assert (answer.code, answer.success, answer.requestId) == (401, False, "request-1")
        assert "expired" in answer.error.errorMessage
        assert answer.error.humanMessage
        assert code == grpc.StatusCode.UNAUTHENTICATED
        assert not sandbox.requests

    @pytest.mark.parametrize("claims", [lambda: GOOD, lambda: newer("projectId")])
    async def test_who_shows_a_good_token_is_served(
        self, sandbox: Sandbox, channel: grpc.aio.Channel, claims: Callable[[], dict[str, object]]
    ) -> None:
        """Chat and StreamChat, with tokens of both kinds."""
        metadata = [(HEADER, token(claims()))]
        answer = await ask(channel, "Chat", chat_request(sandbox.url, "echo"), metadata=metadata)
        async with talk(channel, metadata=metadata) as stream:
            configured = await stream.configure(sandbox.url)

        assert answer.success
        assert configured.success

    @pytest.mark.parametrize("method", ["VerifyCredential", "Embedding", "Reranking"])
    @pytest.mark.parametrize("number", ["9" * 40, "9" * 20, "seven"])
    async def test_a_number_that_does_not_fit_is_made_anew(
        self, channel: grpc.aio.Channel, method: str, number: str
    ) -> None:
        """What the client's metadata calls the call is no number of the contract: it is refused as others are."""
        answer = await ask(channel, method, REQUESTS[method](), metadata=[("x-request-id", number)])

        assert (answer.code, answer.success) == (401, False)
        assert answer.requestId > 0

    def test_the_secret_is_in_no_repr(self, settings: Settings) -> None:
        """Settings are logged; the secret is not."""
        assert SECRET not in repr(settings)


class TestNatively:
    """A server without the platform's secret, whose callers have tokens."""

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        tokens = tmp_path / "tokens"
        tokens.write_text(f"platform sha256:{hashlib.sha256(_BEARER.encode()).hexdigest()}\n")
        tokens.chmod(0o600)
        return Settings(port=0, shutdown_grace=2.0, auth_tokens_file=str(tokens))

    async def test_without_a_secret_the_native_way_holds(self, sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
        """A bearer token opens it; the platform's header does not."""
        good = [("authorization", f"Bearer {_BEARER}")]
        served = await ask(channel, "Chat", chat_request(sandbox.url, "echo"), metadata=good)
        refused = await ask(channel, "Chat", chat_request(sandbox.url, "echo"), metadata=[(HEADER, token())])

        assert served.success
        assert (refused.code, refused.success) == (401, False)
