"""Credentials that the server holds: who may use them, files that change, and where their keys go."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf import json_format

from caller.errors import CredentialNotFound
from integration_api.auth.access import problem_of
from integration_api.files.credential_store import MAX_CREDENTIALS, CredentialStore
from integration_api.files.reload import FileWatcher
from integration_api.sandbox import Sandbox
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.access_world import MountedSecrets, bearer, eventually, replaced, serving, token_line
from tests.edge.reading import Failure, fail, listen

KEY = "sk-CANARY-of-the-store"
NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "CREDENTIAL_NOT_FOUND")
FORBIDDEN = (grpc.StatusCode.PERMISSION_DENIED, "CREDENTIAL_FORBIDDEN")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox that answers to the stored key only."""
    async with Sandbox(require_key=KEY) as running:
        yield running


def stored(url: str, **more: Any) -> str:
    credential = {
        "apiCompatibility": "openai_compatible",
        "baseUrl": f"{url}/v1",
        "headers": {"Authorization": f"Bearer {KEY}"},
    }
    return json.dumps({**credential, **more})


def named(name: str, model: str = "echo", **changes: Any) -> pb.ChatRequest:
    return chat_request("http://192.0.2.1", model, "here", credential={"name": name}, **changes)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
async def stub(place: Path, sandbox: Sandbox) -> AsyncIterator[ChatServiceStub]:
    """A server with credentials and tokens: `billing` may use `guarded`, everybody may use `open`."""
    (place / "open.json").write_text(stored(sandbox.url))
    (place / "guarded.json").write_text(stored(sandbox.url, allowed_callers=["billing"]))
    (place / "nobodys.json").write_text(stored(sandbox.url, allowed_callers=[]))
    (place / "notes.txt").write_text("not a credential")
    (place / ".hidden.json").write_text(stored(sandbox.url))
    tokens = place.parent / "tokens"
    tokens.write_text(token_line("billing", "b") + token_line("voice", "v"))
    settings = {"credentials_dir": str(place), "auth_tokens_file": str(tokens), "allow_anonymous": True}
    async with serving(**settings) as (_, made):
        yield made


def as_caller(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else bearer(token)


async def answers(stub: ChatServiceStub, name: str) -> bool:
    try:
        await stub.Chat(named(name), timeout=10)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return False
        raise
    return True


async def refusal(stub: ChatServiceStub, name: str, token: str | None = None) -> Failure:
    return await fail(stub.Chat(named(name), metadata=as_caller(token), timeout=10))


@pytest.mark.parametrize(("name", "token"), [("open", None), ("open", "v"), ("guarded", "b")])
async def test_a_named_credential_is_used(
    stub: ChatServiceStub, sandbox: Sandbox, name: str, token: str | None
) -> None:
    """The endpoint gets the stored key, in all four methods."""
    metadata = as_caller(token)
    whole = await stub.Chat(named(name), metadata=metadata, timeout=10)
    assert whole.choices[0].message.text == "here"
    received = await listen(stub.StreamChat(named(name), metadata=metadata, timeout=10))
    assert received.text == "here"
    fields = {"providerId": "custom-llm", "credential": {"name": name}}
    checked = await stub.VerifyCredential(
        json_format.ParseDict(fields, pb.VerifyCredentialRequest()), metadata=metadata, timeout=10
    )
    assert checked.ok
    models = await stub.ListModels(json_format.ParseDict(fields, pb.ListModelsRequest()), metadata=metadata, timeout=10)
    assert models.models
    assert {request.headers["Authorization"] for request in sandbox.requests} == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("name", "token", "said"),
    [
        ("guarded", None, FORBIDDEN),
        ("guarded", "v", FORBIDDEN),
        ("nobodys", "b", FORBIDDEN),
        ("absent", "b", NOT_FOUND),
        (".hidden", "b", NOT_FOUND),
        ("notes", "b", NOT_FOUND),
        ("notes.txt", "b", NOT_FOUND),
        ("open.json", "b", NOT_FOUND),
        ("..", "b", NOT_FOUND),
    ],
)
async def test_other_names_and_other_callers_are_refused(
    stub: ChatServiceStub, sandbox: Sandbox, name: str, token: str | None, said: tuple[grpc.StatusCode, str]
) -> None:
    """A credential that does not exist, or is not for this caller, reaches nobody."""
    failure = await refusal(stub, name, token)
    assert failure.said == said
    assert "CANARY" not in str(failure)
    assert not sandbox.requests


@pytest.mark.parametrize(
    "name", ["", "../store/open", "..\\open", "/etc/passwd", "open\x00", "ope\u043f", "a b", "%2e%2e/open", "x" * 129]
)
async def test_a_name_is_no_path(stub: ChatServiceStub, sandbox: Sandbox, name: str) -> None:
    """What could be a path, or is no name at all, is refused as such."""
    failure = await refusal(stub, name, "b")
    assert failure.said == (grpc.StatusCode.INVALID_ARGUMENT, "CREDENTIAL_INVALID")
    assert failure.fields == ["credential.name"]
    assert not sandbox.requests


async def test_without_a_store_no_name_is_known(sandbox: Sandbox) -> None:
    """A server without credentials says that it has none of this name."""
    async with serving() as (_, stub):
        assert (await refusal(stub, "open")).said == NOT_FOUND


@pytest.mark.parametrize(
    "shape", ["openai_compatible", "openai_responses", "anthropic_messages", "gemini_generate_content"]
)
async def test_stored_keys_go_to_their_own_endpoint_only(place: Path, sandbox: Sandbox, shape: str) -> None:
    """Nothing that a request holds leads a stored key elsewhere, or to another header."""
    (place / "open.json").write_text(stored(sandbox.url, apiCompatibility=shape, baseUrl=sandbox.url))
    async with Sandbox() as thief, serving(credentials_dir=str(place)) as (_, stub):
        lures: list[dict[str, Any]] = [
            {name: value}
            for name in ("base_url", "baseUrl", "model.base_url", "url", "endpoint", "headers", "exactUrl", "host")
            for value in (thief.url, {"Host": thief.url})
        ]
        lures += [
            {"model.parameters": {"base_url": thief.url, "headers": {"Host": "thief"}}},
            {"model.name": f"@127.0.0.1:{thief.port}/echo"},
            {"model.name": f"{thief.url}/echo"},
            {"model.name": f"../../..//127.0.0.1:{thief.port}/echo"},
            {"model.name": "echo?key=1#"},
        ]
        for lure in lures:
            request = named("open", modelParameters={"model.name": "echo", **lure})
            request.messages[0].provider_options.update({"base_url": thief.url})
            call = stub.Chat(request, timeout=10, metadata=[("host", thief.url[7:]), ("x-base-url", thief.url)])
            await call.code()
        assert not thief.requests
        assert thief.connections == 0
        for recorded in sandbox.requests:
            assert recorded.headers["Host"] == f"127.0.0.1:{sandbox.port}"


async def test_a_request_has_a_name_or_a_value(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """The later of two replaces the other on the wire: a base URL never joins a stored key."""
    async with Sandbox() as thief:
        request = named("open")
        value = chat_request(thief.url, "echo").credential
        request.credential.MergeFromString(value.SerializeToString())
        assert request.credential.WhichOneof("source") == "value"
        await stub.Chat(request, timeout=10)
        assert [each.headers.get("Authorization") for each in thief.requests] == [None]
    assert not sandbox.requests


async def test_changed_files_hold_without_a_restart(tmp_path: Path, sandbox: Sandbox) -> None:
    """Kubernetes publishes new content: new names are known, old ones are not any more."""
    mounted = MountedSecrets(tmp_path / "mounted")
    mounted.swap({"one.json": stored(sandbox.url)})
    async with serving(credentials_dir=str(mounted.place)) as (_, stub):
        assert await answers(stub, "one")
        assert not await answers(stub, "two")
        mounted.swap({"two.json": stored(sandbox.url)})
        await eventually(lambda: answers(stub, "two"))
        assert not await answers(stub, "one")


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "CANARY {",
        "[]",
        '{"baseUrl": "ftp://CANARY"}',
        '{"baseUrl": "http://x", "allowed_callers": "CANARY"}',
        '{"baseUrl": "http://x", "allowed_callers": [1]}',
        '{"baseUrl": "http://x", "headers": {"Host": "CANARY"}}',
        '{"baseUrl": "http://x", "apiKey": "CANARY"}',
        " " * 70_000,
        "[" * 20_000,
    ],
)
async def test_a_broken_file_leaves_the_others(place: Path, sandbox: Sandbox, broken: str) -> None:
    """A file that makes no sense is not used: what it said before holds, the others change, the log names it."""
    (place / "good.json").write_text(stored(sandbox.url))
    (place / "never.json").write_text(broken)
    with structlog.testing.capture_logs() as logs:
        async with serving(credentials_dir=str(place)) as (_, stub):
            assert await answers(stub, "good")
            assert not await answers(stub, "never")
            replaced(place / "good.json", broken)
            replaced(place / "fresh.json", stored(sandbox.url))
            await eventually(lambda: answers(stub, "fresh"))
            assert await answers(stub, "good")
    assert {entry["name"] for entry in logs if entry["event"] == "credential.broken"} == {"never", "good"}
    assert "CANARY" not in str(logs)


def test_a_directory_is_needed_and_bounded(tmp_path: Path) -> None:
    """A missing directory stops the start; of too many files the first by name are used."""
    assert "credentials_dir" in problem_of(Settings(credentials_dir=str(tmp_path / "none")))
    for number in range(MAX_CREDENTIALS + 1):
        (tmp_path / f"{number:05}.json").write_text('{"baseUrl": "http://x"}')
    files = FileWatcher()
    store = CredentialStore(str(tmp_path), files)
    with structlog.testing.capture_logs() as logs:
        files.load()
    assert store.find("00000", ())["baseUrl"] == "http://x"
    with pytest.raises(CredentialNotFound):
        store.find(f"{MAX_CREDENTIALS:05}", ())
    assert [entry["event"] for entry in logs] == ["credentials.too_many"]


def test_a_store_shows_no_key(place: Path) -> None:
    """Neither the store nor what it holds has a repr with a secret; what is found is the finder's own."""
    (place / "a.json").write_text(stored("http://x"))
    files = FileWatcher()
    store = CredentialStore(str(place), files)
    files.load()
    found = store.find("a", ())
    assert "CANARY" not in f"{store!r} {vars(store)}"
    found.clear()
    assert store.find("a", ())
