"""Providers by name over gRPC: a key is enough, operators' rows count, and the list tells what is known."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from caller.provider_table import PROVIDERS
from integration_api import unified_provider_pb2, unified_provider_pb2_grpc
from integration_api.sandbox import Sandbox
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.access_world import eventually, replaced, serving
from tests.edge.reading import fail, listen

KEY = "greenheronatdusk"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox that answers to the key only."""
    async with Sandbox(require_key=KEY) as running:
        yield running


@pytest.fixture
def rows(tmp_path: Path, sandbox: Sandbox) -> Path:
    """An operator's file with the row `house` for the sandbox."""
    return written(tmp_path / "rows.json", "house", sandbox)


def written(path: Path, provider_id: str, sandbox: Sandbox) -> Path:
    row = {"baseUrl": f"{sandbox.url}/v1", "apiCompatibility": "openai_compatible"}
    replaced(path, json.dumps({provider_id: row}))
    return path


@pytest.fixture
async def stub(tmp_path: Path, rows: Path) -> AsyncIterator[ChatServiceStub]:
    """A server with that file, and a stored credential for its row."""
    held = tmp_path / "held"
    held.mkdir()
    for name, provider in (("ours", "house"), ("early", "cottage")):
        (held / f"{name}.json").write_text(json.dumps({"provider": provider, "key": KEY}))
    async with serving(providers_file=str(rows), credentials_dir=str(held)) as (_, stub):
        yield stub


def request(provider: str, **credential: Any) -> pb.ChatRequest:
    return chat_request("http://192.0.2.1", "echo", "here", providerId=provider, credential=credential)


@pytest.mark.parametrize(
    "credential",
    [{"value": {"key": KEY}}, {"endpoint": {"key": KEY}}, {"name": "ours"}],
    ids=["value", "typed", "name"],
)
async def test_a_key_is_enough(stub: ChatServiceStub, credential: dict[str, Any]) -> None:
    """In a Struct, in typed fields, and held by the server; the provider's id is read in any case."""
    assert (await listen(stub.StreamChat(request("House", **credential)))).text == "here"


async def test_a_base_url_beside_a_row_wins(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """And has the row's header for the key."""
    credential = {"value": {"key": KEY, "baseUrl": f"{sandbox.url}/v1"}}
    assert (await listen(stub.StreamChat(request("groq", **credential)))).text == "here"


async def test_a_stored_key_goes_to_its_provider_only(stub: ChatServiceStub) -> None:
    """Whoever may name the credential cannot send its key elsewhere by naming another provider."""
    for provider in ("groq", "custom-llm"):
        failure = await fail(stub.Chat(request(provider, name="ours")))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CREDENTIAL_INVALID")
        assert "is a credential for the provider house" in failure.message


async def test_custom_llm_refuses_a_key(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """As it refuses every key that it does not know."""
    credential = {"value": {"key": KEY, "baseUrl": f"{sandbox.url}/v1"}}
    failure = await fail(stub.Chat(request("custom-llm", **credential)))
    assert failure.reason == "CREDENTIAL_INVALID"
    assert KEY not in failure.message


async def test_an_unknown_provider_names_the_nearest(stub: ChatServiceStub) -> None:
    """Operators' rows among them."""
    failure = await fail(stub.Chat(request("huose", value={"key": KEY})))
    assert failure.reason == "UNKNOWN_PROVIDER"
    assert "did you mean house" in failure.message


async def test_providers_are_listed(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """Ours and the operator's, in the order of their ids, each with what it needs to be chosen by."""
    listed = (await stub.ListProviders(pb.ListProvidersRequest())).providers
    assert [provider.id for provider in listed] == sorted({*PROVIDERS, "house"})
    by_id = {provider.id: provider for provider in listed}
    assert (by_id["house"].base_url, by_id["house"].compatibility) == (f"{sandbox.url}/v1", "openai_compatible")
    assert by_id["anthropic"].compatibility == "anthropic_messages"
    assert by_id["azure-openai"].base_url == ""
    assert all(by_id[provider_id].documentation_url for provider_id in PROVIDERS)


async def test_rows_are_read_again(stub: ChatServiceStub, rows: Path, sandbox: Sandbox) -> None:
    """A file that changed counts without a restart, for the list, for calls, and for credentials that were there ahead
    of their row."""
    early = request("cottage", name="early")
    assert (await fail(stub.Chat(early))).reason == "UNKNOWN_PROVIDER"
    written(rows, "cottage", sandbox)

    async def known() -> bool:
        listed = (await stub.ListProviders(pb.ListProvidersRequest())).providers
        return "cottage" in {provider.id for provider in listed}

    await eventually(known)
    assert (await listen(stub.StreamChat(request("cottage", value={"key": KEY})))).text == "here"
    assert (await fail(stub.Chat(request("house", value={"key": KEY})))).reason == "UNKNOWN_PROVIDER"

    async def found() -> bool:
        try:
            return bool(await stub.Chat(early))
        except grpc.aio.AioRpcError:
            return False

    await eventually(found)


async def test_rapidas_clients_reach_the_providers_that_are_ours(rows: Path) -> None:
    """With their key; others are refused as ever, and `custom-llm` does not read a key."""
    async with (
        serving(providers_file=str(rows), rapida_own_providers="house") as (server, _),
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        chat = unified_provider_pb2_grpc.UnifiedProviderServiceStub(channel).Chat  # type: ignore[no-untyped-call] # generated
        answers = [await chat(rapida_request(provider)) for provider in ("House", "groq")]
    assert answers[0].success, answers[0].error
    assert answers[0].data.assistant.contents == ["here"]
    assert answers[1].error.errorMessage == "unsupported chat provider: groq"


def rapida_request(provider: str) -> Any:
    name = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "echo"}
    return json_format.ParseDict(
        {
            "credential": {"value": {"key": KEY}},
            "requestId": "r",
            "providerName": provider,
            "conversations": [{"role": "user", "user": {"content": "here"}}],
            "modelParameters": {"model.name": name},
        },
        unified_provider_pb2.ChatRequest(),
    )
