"""StreamChat of Rapida's contract: the machine of its turns, as a client meets it."""

import grpc
import pytest

from integration_api import unified_messages_pb2 as msg
from integration_api import unified_provider_pb2 as pb
from integration_api.sandbox import Sandbox
from tests.rapida.talk import credential, metrics_of, talk, text_of, user, weather


async def test_a_turn_is_deltas_and_then_one_final_frame(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """Deltas have no metrics; the final frame has them, with the whole message and why it ended."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url)
        await stream.chat("t1", "tokens:n=5,gap=5ms")
        *deltas, last = await stream.turn("t1")

        assert deltas
        assert all(not delta.metrics and not delta.finishReason for delta in deltas)
        assert "".join(map(text_of, deltas)) == text_of(last) == "word1 word2 word3 word4 word5"
        assert last.data.role == "assistant"
        assert len(last.data.assistant.contents) == 1
        assert last.finishReason == "stop"
        assert not last.HasField("error")
        metrics = metrics_of(last)
        assert metrics["status"] == "SUCCESS"
        assert metrics["llm_request_id"] == "t1"
        assert 0 <= int(metrics["time_to_first_token"]) <= int(metrics["time_taken"])
        assert int(metrics["total_token"]) == int(metrics["input_token"]) + int(metrics["output_token"])
        assert sandbox.requests[-1].json()["stream_options"] == {"include_usage": True}


async def test_turns_follow_each_other_on_one_stream(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """Three turns with a tool round: calls come whole in the final frame, and their result is answered."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url)
        await stream.chat("t1", "echo", "one two")
        assert text_of((await stream.turn("t1"))[-1]) == "one two"

        await stream.chat("t2", "tool-call", toolDefinitions=[weather()])
        *deltas, asked = await stream.turn("t2")
        calls = asked.data.assistant.toolCalls
        assert not any(delta.data.assistant.toolCalls for delta in deltas)
        assert [(call.type, call.function.name) for call in calls] == [("function", "weather")]
        assert asked.finishReason == "tool_calls"

        result = msg.ToolMessage.Tool(name="weather", id=calls[0].id, content="21 degrees")
        conversation = [user("Weather?"), asked.data, msg.Message(role="tool", tool=msg.ToolMessage(tools=[result]))]
        await stream.chat("t3", "tool-call", conversations=conversation, toolDefinitions=[weather()])
        assert "21 degrees" in text_of((await stream.turn("t3"))[-1])


async def test_a_chat_before_the_configuration_is_a_412_and_the_stream_goes_on(
    sandbox: Sandbox, channel: grpc.aio.Channel
) -> None:
    """The turn is refused with its id; configured afterwards, the stream works."""
    async with talk(channel) as stream:
        await stream.chat("early", "echo")
        refused = await stream.output()
        assert (refused.requestId, refused.error.errorCode) == ("early", 412)

        assert (await stream.configure(sandbox.url)).success
        await stream.chat("t1", "echo")
        assert (await stream.turn("t1"))[-1].finishReason == "stop"


async def test_what_is_repeated_of_a_client_is_short(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """A turn's id stands in each of its frames, and a provider's name in the answer to its configuration: however long
    they are, little of them comes back, and the stream goes on."""
    long = "x" * 1_000_000
    async with talk(channel) as stream:
        await stream.send(configuration=pb.StreamChatConfiguration(providerName=long))
        configured = (await stream.read()).configuration
        assert not configured.success
        assert configured.ByteSize() < 2_000

        assert (await stream.configure(sandbox.url)).success
        await stream.chat(long, "tokens:n=5")
        refused = await stream.output()
        assert refused.error.errorCode == 400
        assert "requestId" in refused.error.errorMessage
        assert refused.ByteSize() < 2_000

        await stream.chat("t1", "echo")
        assert (await stream.turn("t1"))[-1].finishReason == "stop"


async def test_waiting_turns_hold_no_more_than_one_large_request(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """Beyond that a turn is refused; those that wait are answered in their order."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url, turns="queue")
        await stream.chat("t1", "silence:for=60s")
        await stream.chat("t2", "echo", "x" * 9_000_000)
        await stream.chat("t3", "echo", "x" * 9_000_000)
        refused = await stream.output()

    assert (refused.requestId, refused.error.errorCode) == ("t3", 503)


async def test_an_empty_frame_is_a_400_and_the_stream_goes_on(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """A frame with none of the three is answered by an error."""
    async with talk(channel) as stream:
        await stream.send()
        assert (await stream.output()).error.errorCode == 400
        assert (await stream.configure(sandbox.url)).success


async def test_a_stream_can_be_configured_again(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """A bad configuration is answered in place and leaves none; a good one moves the next turns elsewhere."""
    async with Sandbox() as other, talk(channel) as stream:
        assert (await stream.configure(sandbox.url)).providerName == "custom-llm"
        await stream.chat("t1", "echo")
        await stream.turn("t1")

        bad = await stream.configure("")
        assert not bad.success
        assert bad.error.errorCode == 401
        await stream.chat("t2", "echo")
        told = (await stream.output()).error
        assert told.errorCode == 412
        assert bad.error.errorMessage in told.errorMessage
        assert told.humanMessage == bad.error.humanMessage

        assert (await stream.configure(other.url, transport="anthropic_messages")).success
        await stream.chat("t3", "echo", parameters={"model.max_tokens": 20})
        assert text_of((await stream.turn("t3"))[-1]) == "Hello there"
        assert [request.path for request in other.requests] == ["/v1/messages"]
        assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    ("configuration", "code"),
    [
        (pb.StreamChatConfiguration(providerName="foo"), 400),
        (pb.StreamChatConfiguration(providerName="custom-llm"), 401),
        (pb.StreamChatConfiguration(providerName="custom-llm", connectionOptions={"connection.transport": "x"}), 400),
        (
            pb.StreamChatConfiguration(
                providerName="custom-llm",
                credential=credential("http://127.0.0.1:1"),
                connectionOptions={"connection.turns": "backwards"},
            ),
            400,
        ),
    ],
)
async def test_a_bad_configuration_says_why(
    channel: grpc.aio.Channel, configuration: pb.StreamChatConfiguration, code: int
) -> None:
    """`success` is false, with the code and words for both developers and people."""
    async with talk(channel) as stream:
        await stream.send(configuration=configuration)
        answer = (await stream.read()).configuration

        assert not answer.success
        assert answer.error.errorCode == code
        assert answer.error.errorMessage
        assert answer.error.humanMessage


@pytest.mark.parametrize(
    ("model", "code"),
    [("http-error:status=429,retry=30", 429), ("error-in-stream:after=2,status=503", 503), ("cut:after=2", 502)],
)
async def test_the_error_of_one_turn_does_not_end_the_stream(
    sandbox: Sandbox, channel: grpc.aio.Channel, model: str, code: int
) -> None:
    """It comes as the turn's final frame; the next turn is answered."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url)
        await stream.chat("t1", model)
        last = (await stream.turn("t1"))[-1]
        assert last.error.errorCode == code
        assert last.error.humanMessage
        assert metrics_of(last)["status"] == "FAILED"

        await stream.chat("t2", "echo")
        assert text_of((await stream.turn("t2"))[-1]) == "Hello there"


async def test_a_turn_that_cannot_be_read_is_refused_and_the_stream_goes_on(
    sandbox: Sandbox, channel: grpc.aio.Channel
) -> None:
    """A turn without a model, and one for another provider, fail for themselves."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url)
        await stream.chat("t1", "")
        assert (await stream.output()).error.errorCode == 400
        await stream.chat("t2", "echo", providerName="Nobody")
        assert (await stream.output()).error.errorMessage == "unsupported chat provider: nobody"
        await stream.chat("t3", "echo", providerName="CUSTOM-LLM")
        assert (await stream.turn("t3"))[-1].finishReason == "stop"


async def test_text_behind_tool_calls_stands_in_the_final_frame_only(
    sandbox: Sandbox, channel: grpc.aio.Channel
) -> None:
    """Deltas carry no more than what came before the first call."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url)
        await stream.chat("t1", "parallel-tool-calls", toolDefinitions=[weather(), _local_time()])
        *deltas, last = await stream.turn("t1")

        assert len(last.data.assistant.toolCalls) == 2
        assert text_of(last).startswith("".join(map(text_of, deltas)))


def _local_time() -> msg.ToolDefinition:
    city = msg.FunctionParameterProperty(type="string")
    parameters = msg.FunctionParameter(type="object", properties={"city": city})
    return msg.ToolDefinition(
        type="function", functionDefinition=msg.FunctionDefinition(name="local_time", parameters=parameters)
    )
