"""Stored credentials that name their own fallbacks: who only knows a name gets them, Rapida's clients as well."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog

from integration_api import unified_provider_pb2 as unified
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import STREAM_END, token, until
from tests.edge.reading import fail, listen
from tests.edge.scripted import scripted, target
from tests.patience import within
from tests.rapida import talk as rapida
from tests.rapida import test_rapida_auth as platform

SECRET = platform.SECRET
DEAD = "http-error:status=503"


def keep(place: Path, name: str, url: str, **more: Any) -> None:
    """Put a credential into the store."""
    credential = {"apiCompatibility": "openai_compatible", "baseUrl": f"{url}/v1", **more}
    (place / f"{name}.json").write_text(json.dumps(credential))


@asynccontextmanager
async def serving(place: Path, **settings: Any) -> AsyncIterator[grpc.aio.Channel]:
    given = {"port": 0, "shutdown_grace": 1.0, "credentials_dir": str(place), **settings}
    async with (
        Server(Settings(**given)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield channel


def named(name: str, model: str, **changes: Any) -> pb.ChatRequest:
    return chat_request("", model, credential={"name": name}, **changes)


async def made(stub: ChatServiceStub, request: pb.ChatRequest) -> list[tuple[int, str, str]]:
    """Number, label and end of each attempt of a good call."""
    answer = (await listen(stub.StreamChat(request, timeout=within(10)))).completed
    return [(attempt.target, attempt.label, attempt.reason) for attempt in answer.timing.attempts_made]


async def test_a_credential_names_its_own_fallbacks(sandbox: Sandbox, tmp_path: Path) -> None:
    """By name, or with another model; one that is not for this caller, or is not there, is passed over. A fallback's
    own are not followed, and a request's own take their place."""
    async with Sandbox() as spare:
        others = ["guarded", "missing", "chained", {"name": "spare", "model": "echo"}]
        keep(tmp_path, "main", sandbox.url, fallbacks=others)
        keep(tmp_path, "guarded", spare.url, allowed_callers=["billing"])
        keep(tmp_path, "chained", sandbox.url, fallbacks=["spare"])
        keep(tmp_path, "spare", spare.url)
        async with serving(tmp_path) as channel:
            stub = ChatServiceStub(channel)
            assert await made(stub, named("main", DEAD)) == [
                (0, "", "ENDPOINT_OVERLOADED"),
                (1, "guarded", "CREDENTIAL_FORBIDDEN"),
                (2, "missing", "CREDENTIAL_NOT_FOUND"),
                (3, "chained", "ENDPOINT_OVERLOADED"),
                (4, "spare", ""),
            ]
            sent = spare.requests[0].json()
            assert isinstance(sent, dict)
            assert sent["model"] == "echo"
            own = named("main", DEAD, fallbacks=[target(spare.url, "echo", label="my own")])
            assert await made(stub, own) == [(0, "", "ENDPOINT_OVERLOADED"), (1, "my own", "")]
            assert [entry[0] for entry in await made(stub, named("spare", "echo"))] == []


async def test_a_credential_says_how_long_its_first_output_may_take(tmp_path: Path) -> None:
    """A request that names nothing but the credential races; its own time wins over the stored one."""
    async with scripted() as (first, second):
        keep(tmp_path, "main", first.url, fallbacks=["spare"], hedge_after="0.01s")
        keep(tmp_path, "spare", second.url)
        async with serving(tmp_path) as channel:
            call = ChatServiceStub(channel).StreamChat(named("main", "m"), timeout=within(10))
            await second.begin()
            second.send(token("B ") + STREAM_END)
            second.end()
            received = await listen(call)
            await first.left()

            assert received.text == "B "
            assert [(each.label, each.reason) for each in received.completed.timing.attempts_made] == [
                ("", "RACE_LOST"),
                ("spare", ""),
            ]
            bad = named("main", "m", options={"hedgePercentile": 3})
            assert (await fail(ChatServiceStub(channel).Chat(bad))).fields == ["options.hedge_percentile"]


async def test_a_request_names_stored_credentials_among_its_fallbacks(sandbox: Sandbox, tmp_path: Path) -> None:
    """A name that cannot be one is malformed; one that is not for this caller is passed over."""
    keep(tmp_path, "guarded", sandbox.url, allowed_callers=["billing"])
    keep(tmp_path, "open", sandbox.url)
    stored = [{**target("", "echo", label=name), "credential": {"name": name}} for name in ("guarded", "open")]
    async with serving(tmp_path) as channel:
        stub = ChatServiceStub(channel)
        request = chat_request(sandbox.url, DEAD, fallbacks=stored)
        assert sorted(await made(stub, request)) == [
            (0, "", "ENDPOINT_OVERLOADED"),
            (1, "guarded", "CREDENTIAL_FORBIDDEN"),
            (2, "open", ""),
        ]
        request.fallbacks[1].credential.name = "../open"
        assert (await fail(stub.Chat(request))).fields == ["fallbacks[1].credential.name"]


@pytest.mark.parametrize(
    "broken",
    [
        {"fallbacks": "spare"},
        {"fallbacks": [1]},
        {"fallbacks": [{"name": "spare", "key": "CANARY"}]},
        {"fallbacks": ["../CANARY"]},
        {"fallbacks": ["a", "b", "c", "d", "e"]},
        {"hedge_after": 0.3},
        {"hedge_after": "0s"},
        {"hedge_after": "soon"},
    ],
)
async def test_a_file_whose_fallbacks_make_no_sense_is_not_used(
    sandbox: Sandbox, tmp_path: Path, broken: dict[str, Any]
) -> None:
    """As with any other fault of it: the log names the file, and nothing of its content."""
    keep(tmp_path, "main", sandbox.url, **broken)
    with structlog.testing.capture_logs() as logs:
        async with serving(tmp_path) as channel:
            assert (await fail(ChatServiceStub(channel).Chat(named("main", "echo")))).reason == "CREDENTIAL_NOT_FOUND"
    assert [entry["name"] for entry in logs if entry["event"] == "credential.broken"] == ["main"]
    assert "CANARY" not in str(logs)


def jwt(organization: int, project: int) -> tuple[tuple[str, str], ...]:
    """The metadata of a client of the platform."""
    claims: dict[str, object] = {"userId": 1, "organizationId": organization, "projectId": project}
    return (("x-internal-service-key", platform.token(claims)),)


async def test_rapidas_clients_name_a_stored_credential(sandbox: Sandbox, tmp_path: Path) -> None:
    """`name` alone in `credential.value`: for the project, or the organization, that the JWT names. Its fallbacks are
    asked in Chat and in every turn."""
    async with Sandbox() as spare:
        others = [{"name": "spare", "model": "echo"}]
        keep(tmp_path, "voice", sandbox.url, fallbacks=others, allowed_callers=["rapida/2"])
        keep(tmp_path, "mine", sandbox.url, fallbacks=others, allowed_callers=["rapida/2/3"])
        keep(tmp_path, "spare", spare.url, allowed_callers=["rapida/2"])
        async with serving(tmp_path, rapida_jwt_secret=SECRET) as channel:
            for name, project, code in (
                ("voice", 3, 200),
                ("voice", 4, 200),
                ("mine", 3, 200),
                ("mine", 4, 401),
                ("nobodys", 3, 404),
            ):
                request = rapida.chat_request("", DEAD)
                request.credential.CopyFrom(rapida.credential(name=name))
                answer = await rapida.ask(channel, "Chat", request, metadata=jwt(2, project))
                assert answer.code == code, (name, project)
                assert code != 200 or rapida.text_of(answer) == "Hello there"
            assert len(spare.requests) == 3

            async with rapida.talk(channel, metadata=jwt(2, 3)) as stream:
                await stream.send(configuration=configuration("voice"))
                assert (await stream.read()).configuration.success
                for number in range(2):
                    await stream.chat(f"t{number}", DEAD)
                    frames = await stream.turn(f"t{number}")
                    assert rapida.text_of(frames[-1]) == "Hello there"
            assert len(spare.requests) == 5
            async with rapida.talk(channel, metadata=jwt(9, 9)) as stream:
                await stream.send(configuration=configuration("voice"))
                refused = (await stream.read()).configuration
                assert not refused.success
                assert refused.error.errorCode == 401


def configuration(name: str) -> Any:
    """A configuration with the name of a credential."""
    return unified.StreamChatConfiguration(credential=rapida.credential(name=name), providerName="custom-llm")


async def test_a_turn_of_rapidas_races(tmp_path: Path) -> None:
    """By a stored credential with a fallback: the first output wins, and a superseded turn closes both sockets."""
    async with scripted() as endpoints:
        first, second = endpoints
        keep(tmp_path, "main", first.url, fallbacks=["spare"], hedge_after="0.01s")
        keep(tmp_path, "spare", second.url)
        async with serving(tmp_path, max_hedge_ratio=1.0) as channel, rapida.talk(channel) as stream:
            await stream.send(configuration=configuration("main"))
            assert (await stream.read()).configuration.success
            await stream.chat("t1", "m")
            for each in endpoints:
                await each.begin()
            first.send(token("A1 "))
            assert rapida.text_of(await stream.output()) == "A1 "
            await second.hung_up.wait()
            first.send(token("A2 ") + STREAM_END)
            first.end()
            frames = await stream.turn("t1")
            assert rapida.text_of(frames[-1]) == "A1 A2 "

            await first.hung_up.wait()
            for each in endpoints:
                each.hung_up.clear()
            asked = (len(first.requests), len(second.requests))
            await stream.chat("t2", "m")
            await until(lambda: (len(first.requests), len(second.requests)) == (asked[0] + 1, asked[1] + 1), 5)
            await stream.send(chat=unified.StreamChatInput(requestId="t3"))  # it has no message: refused, and t2 ends
            frames = [await stream.output() for _ in range(2)]
            assert {frame.requestId for frame in frames} == {"t2", "t3"}
            for each in endpoints:  # others may be ready for the next turn
                await asyncio.wait_for(each.hung_up.wait(), within(5))


@pytest.mark.parametrize("asked_by", ["Prewarm", "configuration"])
async def test_who_only_knows_a_name_has_its_fallbacks_warm(tmp_path: Path, asked_by: str) -> None:
    """By Prewarm, which tells of the named one, and by the configuration of a stream; one that is not there stops
    nothing."""
    async with scripted() as endpoints:
        first, second = endpoints
        keep(tmp_path, "main", first.url, fallbacks=["spare", "missing"])
        keep(tmp_path, "spare", second.url)
        async with serving(tmp_path) as channel, rapida.talk(channel) as stream:
            if asked_by == "Prewarm":
                wanted = msg.Target(provider_id="custom-llm", credential=msg.Credential(name="main"))
                (result,) = (await ChatServiceStub(channel).Prewarm(pb.PrewarmRequest(targets=[wanted]))).results
                assert result.message == "1 ready, 1 opened now"
            else:
                await stream.send(configuration=configuration("main"))
                assert (await stream.read()).configuration.success
            await until(lambda: (first.connections, second.connections) == (1, 1), within(5))
        assert not first.requests + second.requests
