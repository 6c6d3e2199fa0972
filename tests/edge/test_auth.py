"""Who may call: bearer tokens and JWTs, alone and together, and files of them that change."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from integration_api.auth.access import clear_text, exposed, problem_of
from integration_api.auth.authenticator import is_authenticated_setup
from integration_api.auth.jwt_check import parse_key
from integration_api.auth.tokens import MAX_TOKENS, parse_tokens
from integration_api.sandbox import Sandbox
from integration_api.settings import Settings
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.access_world import (
    UNKNOWN_CALLER,
    MountedSecrets,
    TokenClient,
    bearer,
    eventually,
    replaced,
    serving,
    token_line,
)
from tests.edge.reading import fail, listen

SECRET = "a shared secret of more than sixty-four bytes, as the longest of the three hashes wants it"
TOKEN = "token-CANARY-of-billing"


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"# who may call\n\n{token_line('billing', TOKEN)}{token_line('voice', 'token-of-voice')}")
    return path


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "jwt.key"
    path.write_text(SECRET + "\n")
    return path


@pytest.fixture
async def guarded(tokens_file: Path) -> AsyncIterator[ChatServiceStub]:
    async with serving(auth_tokens_file=str(tokens_file)) as (_, stub):
        yield stub


def claims(**changes: Any) -> dict[str, Any]:
    fields = {"sub": "agent-7", "exp": int(time.time()) + 60, "iat": int(time.time()), **changes}
    return {name: value for name, value in fields.items() if value is not None}


def signed(key: Any = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm)


# -- tokens ------------------------------------------------------------------------------------------------------------


async def test_a_known_token_is_admitted(guarded: ChatServiceStub, sandbox: Sandbox) -> None:
    """Each of the file's tokens is let in."""
    client = TokenClient(guarded, sandbox)
    await client.ask(TOKEN)
    await client.ask("token-of-voice")


async def test_without_a_token_the_answer_says_what_to_send(guarded: ChatServiceStub, sandbox: Sandbox) -> None:
    """A nameless call is refused with the remedy, and clients are told not to retry."""
    failure = await TokenClient(guarded, sandbox).refused()
    assert failure.said == UNKNOWN_CALLER
    assert "authorization: Bearer" in failure.message
    assert failure.info.metadata["fault"] == "client"
    assert failure.trailers["grpc-retry-pushback-ms"] == "-1"
    assert not sandbox.requests


@pytest.mark.parametrize(
    "values",
    [
        ["Bearer not-CANARY-known"],
        ["Bearer"],
        ["Bearer   "],
        ["Basic CANARY"],
        [TOKEN],
        [f"Bearer {TOKEN} "[:-2]],
        [f"Bearer {TOKEN}", f"Bearer {TOKEN}"],
        ["Bearer " + hashlib.sha256(TOKEN.encode()).hexdigest()],
        ["Bearer a.b.c"],
        ["Bearer " + "x" * 7_000],
    ],
)
@pytest.mark.parametrize("anonymous", [False, True])
async def test_a_wrong_token_is_refused_and_not_repeated(
    tokens_file: Path, sandbox: Sandbox, values: list[str], anonymous: bool
) -> None:
    """Whatever else stands in the header is refused, also where nobody need say who they are."""
    async with serving(auth_tokens_file=str(tokens_file), allow_anonymous=anonymous) as (_, stub):
        with structlog.testing.capture_logs() as logs:
            call = stub.Chat(
                chat_request(sandbox.url, "echo"), metadata=[("authorization", value) for value in values], timeout=10
            )
            failure = await fail(call)
    assert failure.said == UNKNOWN_CALLER
    assert "CANARY" not in f"{failure}{logs}"
    assert not sandbox.requests


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_read_in_any_case(guarded: ChatServiceStub, sandbox: Sandbox, scheme: str) -> None:
    """HTTP schemes have no case."""
    metadata = [("authorization", f"{scheme}  {TOKEN}")]
    answer = await guarded.Chat(chat_request(sandbox.url, "echo", "x"), metadata=metadata, timeout=10)
    assert answer.choices[0].message.text == "x"


async def test_with_allow_anonymous_both_are_let_in(tokens_file: Path, sandbox: Sandbox) -> None:
    """allow_anonymous beside tokens: nameless callers and known ones."""
    async with serving(auth_tokens_file=str(tokens_file), allow_anonymous=True) as (_, stub):
        await TokenClient(stub, sandbox).ask()
        await TokenClient(stub, sandbox).ask(TOKEN)


async def test_the_platforms_secret_alone_keeps_the_native_service_shut(sandbox: Sandbox) -> None:
    """What proves a caller to Rapida's service proves nothing here, and nothing else was set up."""
    async with serving(rapida_jwt_secret="a secret of the platform, long enough") as (_, stub):
        failure = await fail(stub.Chat(chat_request(sandbox.url, "echo")))

    assert failure.said == UNKNOWN_CALLER
    assert not sandbox.requests


async def test_without_authentication_a_header_means_nothing(sandbox: Sandbox) -> None:
    """A server that asks nobody ignores what proxies put into the metadata."""
    async with serving() as (_, stub):
        await TokenClient(stub, sandbox).ask("whatever")


@pytest.mark.parametrize("method", ["Chat", "StreamChat", "VerifyCredential", "ListModels", "Prewarm"])
async def test_every_method_asks_before_it_reads(tokens_file: Path, method: str) -> None:
    """Bytes that are no message at all are refused for the missing token: nothing of a stranger's is parsed."""
    async with (
        serving(auth_tokens_file=str(tokens_file)) as (server, _),
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        path = f"/integration_api.v1.ChatService/{method}"

        async def sent(metadata: tuple[tuple[str, str], ...]) -> tuple[grpc.StatusCode, str]:
            if method == "StreamChat":
                received = await listen(channel.unary_stream(path)(b"\xff\xff", timeout=10, metadata=metadata))
                assert received.failure is not None
                return received.failure.said
            return (await fail(channel.unary_unary(path)(b"\xff\xff", timeout=10, metadata=metadata))).said

        assert await sent(()) == UNKNOWN_CALLER
        assert await sent(bearer(TOKEN)) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")


async def test_a_stream_knows_its_caller(guarded: ChatServiceStub, sandbox: Sandbox) -> None:
    """StreamChat is let in by the same token."""
    received = await listen(guarded.StreamChat(chat_request(sandbox.url, "echo", "a b"), metadata=bearer(TOKEN)))
    assert received.text == "a b"


async def test_health_and_reflection_ask_nobody(tokens_file: Path) -> None:
    """Probes and grpcurl's listing need no token."""
    async with (
        serving(auth_tokens_file=str(tokens_file)) as (server, _),
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service="integration_api.v1.ChatService"), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        listing = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(timeout=10)
        await listing.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        found = await listing.read()
        await listing.done_writing()
        assert "integration_api.v1.ChatService" in {each.name for each in found.list_services_response.service}


async def test_reflection_can_be_switched_off() -> None:
    """With the setting off there is no reflection service."""
    async with (
        serving(reflection=False) as (server, _),
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        listing = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await listing.read()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_log_lines_say_who_called(guarded: ChatServiceStub, sandbox: Sandbox) -> None:
    """A failed call is logged with its caller's name, and without its token."""
    with structlog.testing.capture_logs() as logs:
        await fail(guarded.Chat(chat_request(sandbox.url, "http-error:status=500"), metadata=bearer(TOKEN)))
    line = next(entry for entry in logs if entry["event"] == "call.finished")
    assert line["identity"] == "billing"
    assert "CANARY" not in str(logs)


# -- files that change -------------------------------------------------------------------------------------------------


async def test_a_changed_file_holds_without_a_restart(tokens_file: Path, sandbox: Sandbox) -> None:
    """A new token works and an old one is refused, within seconds of the file's change."""
    async with serving(auth_tokens_file=str(tokens_file)) as (_, stub):
        client = TokenClient(stub, sandbox)
        await client.ask(TOKEN)
        replaced(tokens_file, token_line("billing", "the-new-one"))
        await eventually(lambda: client.knows("the-new-one"))
        assert (await client.refused(TOKEN)).said == UNKNOWN_CALLER
        assert any(thread.name == "file-watcher" for thread in threading.enumerate())
    assert not any(thread.name == "file-watcher" for thread in threading.enumerate())


async def test_a_mounted_secret_is_followed_through_its_links(tmp_path: Path, sandbox: Sandbox) -> None:
    """Kubernetes swaps a link above the file: the new content holds."""
    mounted = MountedSecrets(tmp_path / "secret")
    mounted.swap({"tokens": token_line("billing", "one")})
    async with serving(auth_tokens_file=str(mounted.place / "tokens")) as (_, stub):
        client = TokenClient(stub, sandbox)
        await client.ask("one")
        mounted.swap({"tokens": token_line("billing", "two")})
        await eventually(lambda: client.knows("two"))
        assert not await client.knows("one")


@pytest.mark.parametrize("broken", [b"", b"billing: not a hash CANARY", b"\xff\xfe", None])
async def test_a_broken_file_leaves_the_old_tokens(tokens_file: Path, sandbox: Sandbox, broken: bytes | None) -> None:
    """A file that was emptied, spoiled or removed locks nobody out; the log says so once, without its content."""
    with structlog.testing.capture_logs() as logs:
        async with serving(auth_tokens_file=str(tokens_file)) as (_, stub):
            client = TokenClient(stub, sandbox)
            replaced(tokens_file, broken)

            async def complained() -> bool:
                await client.ask(TOKEN)
                return any(entry["log_level"] == "error" for entry in logs)

            await eventually(complained)
            replaced(tokens_file, token_line("billing", "mended"))
            await eventually(lambda: client.knows("mended"))
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert [entry["setting"] for entry in errors] == ["auth_tokens_file"]
    assert "CANARY" not in str(errors)


# -- JWT ---------------------------------------------------------------------------------------------------------------


def public(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


RSA_KEY = rsa.generate_private_key(65537, 2048)
KEYS: dict[str, Any] = {
    "HS256": SECRET,
    "HS512": SECRET,
    "RS256": RSA_KEY,
    "PS384": RSA_KEY,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def shared(key: Any) -> bytes:
    """What the server gets of a key."""
    return key.encode() if isinstance(key, str) else public(key)


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_good_jwt_names_the_caller(tmp_path: Path, sandbox: Sandbox, algorithm: str) -> None:
    """The `sub` of a JWT is the caller, with each algorithm."""
    (tmp_path / "key").write_bytes(shared(KEYS[algorithm]))
    async with serving(auth_jwt_key_file=str(tmp_path / "key"), auth_jwt_algorithms=algorithm) as (_, stub):
        token = signed(KEYS[algorithm], algorithm)
        await TokenClient(stub, sandbox).ask(token)
        with structlog.testing.capture_logs() as logs:
            await fail(stub.Chat(chat_request(sandbox.url, "http-error:status=500"), metadata=bearer(token)))
    assert logs[-1]["identity"] == "agent-7"


def nested(depth: int) -> str:
    """A token whose header is nothing but brackets."""
    return jwt.utils.base64url_encode(b"[" * depth).decode() + ".e30.e30"


BAD: dict[str, Callable[[], str]] = {
    "expired": lambda: signed(exp=int(time.time()) - 1),
    "no exp": lambda: signed(exp=None),
    "exp is a word": lambda: signed(exp="never"),
    "exp is infinite": lambda: signed(exp=float("inf")),
    "no sub": lambda: signed(sub=None),
    "empty sub": lambda: signed(sub=""),
    "sub is a number": lambda: signed(sub=7),
    "sub with a line break": lambda: signed(sub="a\nb"),
    "long sub": lambda: signed(sub="x" * 257),
    "not yet": lambda: signed(nbf=int(time.time()) + 60),
    "nbf is a word": lambda: signed(nbf="soon"),
    "for another service": lambda: signed(aud="other"),
    "other key": lambda: signed("CANARY" * 10),
    "no signature": lambda: signed(None, "none"),
    "other algorithm": lambda: signed(SECRET, "HS512"),
    "cut": lambda: signed()[:-5],
    "changed": lambda: signed().replace(".", ".e", 1),
    "empty parts": lambda: "..",
    "not base64": lambda: "%.%.%",
    "not JSON": lambda: "AAAA.AAAA.AAAA",
    "deep": lambda: nested(5_000),
    "no JWT": lambda: "CANARY",
}


@pytest.mark.parametrize("how", BAD)
async def test_a_bad_jwt_is_refused(key_file: Path, sandbox: Sandbox, how: str) -> None:
    """Expired, unsigned, foreign or spoiled tokens are refused, and say nothing of themselves in errors or logs."""
    token = BAD[how]()
    async with serving(auth_jwt_key_file=str(key_file)) as (_, stub):
        with structlog.testing.capture_logs() as logs:
            failure = await TokenClient(stub, sandbox).refused(token)
    assert failure.said == UNKNOWN_CALLER
    assert token not in f"{failure}{logs}"
    assert "call.bug" not in str(logs)
    assert not sandbox.requests


async def test_a_public_key_is_no_secret(tmp_path: Path, sandbox: Sandbox) -> None:
    """A token signed by HMAC with the public key, which everybody has, is refused."""
    pem = public(RSA_KEY)
    (tmp_path / "key").write_bytes(pem)
    body = jwt.utils.base64url_encode(json.dumps(claims()).encode())
    head = jwt.utils.base64url_encode(b'{"alg":"HS256","typ":"JWT"}')
    signature = jwt.utils.base64url_encode(hmac.digest(pem, head + b"." + body, "sha256"))
    forged = b".".join((head, body, signature)).decode()
    async with serving(auth_jwt_key_file=str(tmp_path / "key")) as (_, stub):
        assert (await TokenClient(stub, sandbox).refused(forged)).said == UNKNOWN_CALLER
        await TokenClient(stub, sandbox).ask(signed(RSA_KEY, "RS256"))


async def test_audience_and_issuer_are_held_where_set(key_file: Path, sandbox: Sandbox) -> None:
    """With the settings, only tokens for this service from this issuer."""
    names = {"auth_jwt_audience": "integration-api", "auth_jwt_issuer": "https://id.example"}
    async with serving(auth_jwt_key_file=str(key_file), **names) as (_, stub):
        client = TokenClient(stub, sandbox)
        await client.ask(signed(aud=["x", "integration-api"], iss="https://id.example"))
        for wrong in (
            signed(),
            signed(aud="x", iss="https://id.example"),
            signed(aud="integration-api"),
            signed(aud="integration-api", iss="https://id.example.org"),
        ):
            assert (await client.refused(wrong)).said == UNKNOWN_CALLER


async def test_a_changed_key_holds_without_a_restart(key_file: Path, sandbox: Sandbox) -> None:
    """JWTs of the new key work and those of the old one are refused once the file changed."""
    async with serving(auth_jwt_key_file=str(key_file)) as (_, stub):
        client = TokenClient(stub, sandbox)
        await client.ask(signed())
        replaced(key_file, SECRET[::-1])
        await eventually(lambda: client.knows(signed(SECRET[::-1])))
        assert not await client.knows(signed())


async def test_tokens_and_jwts_at_once(tokens_file: Path, key_file: Path, sandbox: Sandbox) -> None:
    """Either is admitted; something that is neither does not."""
    async with serving(auth_tokens_file=str(tokens_file), auth_jwt_key_file=str(key_file)) as (_, stub):
        client = TokenClient(stub, sandbox)
        assert await client.knows(TOKEN)
        assert await client.knows(signed())
        assert not await client.knows("neither")
        assert not await client.knows(signed(exp=1))


# -- what is refused at the start --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "content", "words"),
    [
        ("auth_tokens_file", None, "cannot be read"),
        ("auth_tokens_file", b"", "no token"),
        ("auth_tokens_file", b"# only words\n\n", "no token"),
        ("auth_tokens_file", b"# x\nCANARY\n", "line 2"),
        ("auth_tokens_file", b"CANARY sha256:12", "line 1"),
        ("auth_tokens_file", b"\xff\xfe\x00", "UTF-8"),
        ("auth_tokens_file", (token_line("a", "t") + token_line("b", "t")).encode(), "line 2"),
        ("auth_jwt_key_file", b"CANARY too short", "32 bytes"),
        ("auth_jwt_key_file", b"-----BEGIN PUBLIC KEY-----\nCANARY\n-----END PUBLIC KEY-----\n", "auth_jwt_key_file"),
        ("auth_jwt_key_file", b"-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----\n", "public one"),
        ("auth_jwt_key_file", public(rsa.generate_private_key(65537, 1024)), "2048"),  # noqa: S505 -- too short on purpose
        ("auth_jwt_key_file", public(ec.generate_private_key(ec.SECP256K1())), "curve"),
    ],
)
def test_files_that_make_no_sense_stop_the_start(
    tmp_path: Path, setting: str, content: bytes | None, words: str
) -> None:
    """The start fails with the setting's name and the problem, never with the content."""
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    given: dict[str, Any] = {setting: str(path)}
    problem = problem_of(Settings(**given))
    assert setting in problem
    assert words in problem
    assert "CANARY" not in problem


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        (SECRET, "none"),
        (SECRET, "HS256,None"),
        (SECRET, "RS256"),
        (SECRET[:40], "HS512"),
        (RSA_KEY, "HS256"),
        (RSA_KEY, "ES256"),
        (KEYS["ES256"], "ES384"),
        (KEYS["EdDSA"], "RS256"),
    ],
)
def test_algorithms_that_do_not_fit_the_key_are_refused(key: Any, algorithms: str) -> None:
    """`none` is no algorithm, and a key checks its own kind of signature only."""
    with pytest.raises(ValueError, match=r"none|None|needs|cannot check"):
        parse_key(shared(key), algorithms)


async def test_the_server_does_not_start_with_a_missing_file(tmp_path: Path) -> None:
    """Never half open: without its tokens the server does not listen."""
    with pytest.raises(ValueError, match="auth_tokens_file"):
        async with serving(auth_tokens_file=str(tmp_path / "none")):
            pytest.fail("it started")


@pytest.mark.parametrize(
    ("settings", "knows", "open_to_all"),
    [
        ({}, False, False),
        ({"host": "0.0.0.0"}, False, True),
        ({"host": "::"}, False, True),
        ({"host": "gateway.internal"}, False, True),
        ({"host": "::1"}, False, False),
        ({"host": "localhost"}, False, False),
        ({"host": "0.0.0.0", "allow_anonymous": True}, False, False),
        ({"host": "0.0.0.0", "auth_tokens_file": "x"}, True, False),
        ({"host": "0.0.0.0", "auth_jwt_key_file": "x"}, True, False),
        ({"host": "0.0.0.0", "tls_client_ca_file": "x"}, True, False),
        ({"host": "0.0.0.0", "rapida_jwt_secret": "x"}, True, False),
        ({"host": "0.0.0.0", "tls_cert_file": "x"}, False, True),
    ],
)
def test_strangers_on_the_network_need_a_name(settings: dict[str, Any], knows: bool, open_to_all: bool) -> None:
    """Beyond loopback only with authentication, or when it was said that nobody need be known."""
    made = Settings(**settings)
    assert is_authenticated_setup(made) is knows
    assert exposed(made) is open_to_all


def test_both_spellings_of_a_token_line_are_read() -> None:
    """A colon or a space, with or without the hash's name, in any case."""
    digest = hashlib.sha256(b"t").hexdigest()
    for line in (f"a {digest}", f"a:{digest}", f"a sha256:{digest}", f"a:sha256:{digest.upper()}", f"a : {digest}"):
        tokens = parse_tokens(line.encode())
        assert tokens("t") == "a", line
        assert tokens("T") is None
        assert digest not in repr(tokens)


def test_a_file_of_tokens_is_bounded() -> None:
    """More tokens than the bound are refused."""
    lines = "".join(token_line(f"n{number}", str(number)) for number in range(MAX_TOKENS + 1))
    with pytest.raises(ValueError, match="more than"):
        parse_tokens(lines.encode())
    assert len(parse_tokens(lines.partition("\n")[2].encode())) == MAX_TOKENS


async def test_the_start_is_logged_with_its_settings_and_no_secret() -> None:
    """What the server runs with can be read in its log, but for what is secret; a repr is as silent."""
    with structlog.testing.capture_logs() as logs:
        async with serving(endpoint_proxy="http://user:CANARY@127.0.0.1:1", rapida_jwt_secret="CANARY" * 9) as (
            server,
            _,
        ):
            pass
    told = next(entry for entry in logs if entry["event"] == "server.settings")
    assert told["endpoint_proxy"] == told["rapida_jwt_secret"] == "(set)"
    assert "max_attempts" not in told, "only what differs from the defaults is told"
    assert "CANARY" not in f"{logs}{server._settings!r}"


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"host": "0.0.0.0", "auth_tokens_file": "x"}, True),
        ({"host": "0.0.0.0", "auth_jwt_key_file": "x"}, True),
        ({"host": "0.0.0.0", "auth_jwt_key_file": "x", "tls_cert_file": "x"}, False),
        ({"host": "0.0.0.0", "allow_anonymous": True}, False),
        ({"host": "::1", "auth_tokens_file": "x"}, False),
    ],
)
def test_tokens_in_clear_text_are_warned_of(settings: dict[str, Any], warned: bool) -> None:
    """Beyond loopback without TLS, tokens travel unencrypted as far as the server can tell."""
    assert clear_text(Settings(**settings)) is warned
