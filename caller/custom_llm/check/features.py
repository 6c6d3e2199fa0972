"""The checks of what an endpoint does well and what it does not: fields, streams, tools, pictures, errors, time.

Rule: rows of `table`, each a function of the session. They are made only where a small chat was answered, `structure`
apart. What an endpoint refuses is a warning, what it does wrongly a failure.
"""

import json
from typing import Final

from msgspec.structs import replace

from caller.call import Completion
from caller.custom_llm.check import probes
from caller.custom_llm.check.exchange import Answer
from caller.custom_llm.check.finding import Finding, blamed, failed, failed_with, passed, skipped, warned
from caller.custom_llm.check.session import Session, no_model
from caller.custom_llm.check.shapes import SHAPES
from caller.errors import CallerError, EndpointRefused, NotSupportedByApi, StreamCut, StreamInterrupted
from caller.events import FinishReason
from caller.json_types import JsonObject, object_of
from caller.messages import ToolCall

_LAYER: Final = "make the endpoint answer as its API does, or put a compatibility layer such as LiteLLM in front of it"
_SEE_STREAM: Final = "see `stream`"
_SEE_STRUCTURE: Final = "see `structure`"
_BROKEN_OFF: Final = (StreamInterrupted, StreamCut)
_MOST_PARSED: Final = 256 * 1024
# A voice on the phone waits no longer, in seconds.
_SLOW: Final = 3.0
# An answer of so many tokens that came in one piece although it took so many seconds was held back on its way.
_HELD_BACK: Final = 2.0
_MANY_TOKENS: Final = 24
# What is shorter says nothing of an endpoint's speed, in seconds.
_MEASURABLE: Final = 0.05
# How much longer than the first chat one after a cancelled stream may take: so many times, and seconds.
_LONGER: Final = 10.0
_ALL_LONGER: Final = 5.0


async def structure(session: Session) -> Finding:
    """The answer has the fields that its API requires."""
    answer = await session.chat()
    if answer is None:
        return await no_model(session)
    if answer.error is not None and blamed(answer.error) != "structure":
        return skipped("no answer says so")
    found = SHAPES[session.api].structure(_object(bytes(answer.body)))
    if answer.error is None:
        return found
    remedy = found.remedy if found.status == "FAIL" else _LAYER
    return failed(answer.error.message.partition(". ")[0], remedy)


def _object(text: bytes | str) -> JsonObject:
    """The object; an empty one for what is none, or is too large for the few words that were asked for."""
    try:
        return object_of(json.loads(text)) if len(text) <= _MOST_PARSED else {}
    except (ValueError, RecursionError):
        return {}


def _unstructured(session: Session, answer: Answer) -> bool:
    """Whether a whole answer is not as its API wants it."""
    return SHAPES[session.api].structure(_object(bytes(answer.body))).status == "FAIL"


async def usage(session: Session) -> Finding:
    """Tokens are counted."""
    answer = await session.answer(probes.CHAT)
    counts = None if answer.completion is None else answer.completion.usage
    if counts is None or not counts.input or counts.output is None:
        return warned(
            "whole answers do not say how many tokens were used",
            "nothing, unless somebody bills by tokens: count them at the endpoint then",
        )
    return passed(f"{counts.input} tokens in, {counts.output} out")


async def parameters(session: Session) -> Finding:
    """`temperature` and the limit of tokens are read."""
    answer = await session.answer(probes.PARAMETERS)
    if answer.error is not None:
        return _refused(answer.error, "do not send this parameter to this model")
    choices = answer.completion.choices if answer.completion else ()
    used = answer.completion.usage.output if answer.completion else None
    cut = any(choice.finish_reason is FinishReason.LENGTH for choice in choices)
    if not cut and (used or len(answer.text) / 8) > 2 * probes.FEW_TOKENS:
        return warned(
            f"the limit of {probes.FEW_TOKENS} tokens was ignored: {len(answer.text)} characters came",
            "try the other name: max_completion_tokens, or max_tokens",
        )
    limit = f"the answer ends at {probes.FEW_TOKENS} tokens" if cut else f"no more than {probes.FEW_TOKENS} tokens came"
    return passed(f"temperature is taken, {limit}")


def _refused(error: CallerError, remedy: str) -> Finding:
    """What an endpoint says no to is a warning, all else a failure."""
    if isinstance(error, EndpointRefused | NotSupportedByApi):
        return warned(error.message, remedy)
    return failed_with(error)


async def stream(session: Session) -> Finding:
    """An answer is streamed."""
    answer = await session.answer(probes.CHAT, stream=True)
    if answer.error is not None and not (isinstance(answer.error, _BROKEN_OFF) and answer.first_output is not None):
        return failed(answer.error.message, "let the endpoint stream (server-sent events), or call Chat only")
    if bytes(answer.body[:64]).lstrip()[:1] == b"{":
        return warned(
            "the answer came whole, not as a stream", "let the endpoint stream (server-sent events)", took=answer.took
        )
    if answer.until_output is None:
        return warned("the stream held no text", "try another model", took=answer.took)
    if answer.reads == 1 and answer.took > _HELD_BACK and _tokens(answer) >= _MANY_TOKENS:
        return warned(
            f"the whole stream arrived at once, after {answer.took:.1f} s",
            "let no proxy before the endpoint buffer (nginx: proxy_buffering off)",
            took=answer.took,
        )
    return passed(f"the first output came after {_ms(answer.until_output)}", took=answer.took)


def _tokens(answer: Answer) -> int:
    """The tokens of an answer, as it counts them itself."""
    return (answer.completion.usage.output or 0) if answer.completion else 0


async def stream_end(session: Session) -> Finding:
    """The stream says that it is complete."""
    answer = await session.answer(probes.CHAT, stream=True)
    if isinstance(answer.error, _BROKEN_OFF) and answer.first_output is not None:
        return failed(
            "the stream ended without its terminal sign: a cut answer would pass for a good one",
            f"let the endpoint end its streams as the API does ({SHAPES[session.api].sign})",
        )
    if answer.error is not None or answer.until_output is None:
        return skipped(_SEE_STREAM)
    sign = SHAPES[session.api].sign
    found = [choice.raw_finish_reason for choice in (answer.completion.choices if answer.completion else ())]
    signs = [*found, *([sign] if sign.encode() in answer.body else [])]
    return passed(f"it ended with {' and '.join(filter(None, signs)) or 'a good end'}")


async def tools(session: Session) -> Finding:
    """A tool is called."""
    answer = await called(session)
    if answer.error is not None:
        return _refused(
            answer.error, "turn tool calls on at the endpoint (vLLM: --enable-auto-tool-choice, llama.cpp: --jinja)"
        )
    if _first_call(answer.completion) is None and _unstructured(session, answer):
        return skipped(_SEE_STRUCTURE)
    return _judged_call(session, answer) or passed(_call_text(session, _first_call(answer.completion)))


async def called(session: Session) -> Answer:
    """The answer that calls the tool: forced to, where the endpoint can."""
    answer = await session.answer(probes.TOOLS_FORCED)
    return await session.answer(probes.TOOLS) if isinstance(answer.error, EndpointRefused) else answer


def _first_call(completion: Completion | None) -> ToolCall | None:
    calls = [call for choice in (completion.choices if completion else ()) for call in choice.message.tool_calls]
    return calls[0] if calls else None


def _judged_call(session: Session, answer: Answer) -> Finding | None:
    """What is wrong with a call; None: nothing."""
    call = _first_call(answer.completion)
    if call is None:
        return warned("the model called no tool", "use a model and a chat template that know tools")
    if call.name != probes.WEATHER.name or not isinstance(_object(call.arguments).get(probes.CITY), str):
        return failed(
            f"the call is not as its schema wants it: {_call_text(session, call)}",
            "use a model, or a parser of tool calls at the endpoint, that fits the other",
        )
    return None


def _call_text(session: Session, call: ToolCall | None) -> str:
    excerpt = session.exchanges.excerpt
    return "" if call is None else f"{excerpt(call.name, 40)}({excerpt(call.arguments, 80)})"


async def tools_stream(session: Session) -> Finding:
    """The same call arrives in a stream."""
    whole = await called(session)
    if whole.error is not None or _judged_call(session, whole) is not None:
        return skipped("see `tools`")
    if (await session.answer(probes.CHAT, stream=True)).until_output is None:
        return skipped(_SEE_STREAM)
    forced = (await session.answer(probes.TOOLS_FORCED)).error is None
    answer = await session.answer(probes.TOOLS_FORCED if forced else probes.TOOLS, stream=True)
    if answer.error is not None:
        return failed(answer.error.message, "call tools with Chat only, or mend the endpoint's streaming parser")
    odd = _judged_call(session, answer)
    if odd is None:
        return passed(_call_text(session, _first_call(answer.completion)))
    observed = odd.observed if odd.status == "FAIL" else "a whole answer calls the tool, a stream does not"
    return failed(observed, "call tools with Chat only, or mend the endpoint's streaming parser")


async def tool_result(session: Session) -> Finding:
    """The conversation goes on with the tool's result."""
    whole = await called(session)
    call = _first_call(whole.completion)
    if whole.error is not None or call is None or whole.completion is None:
        return skipped("see `tools`")
    answer = await session.ask(probes.with_result(whole.completion.choices[0].message, call.id))
    if answer.error is not None:
        return failed(answer.error.message, "use a chat template at the endpoint that knows the results of tools")
    if not answer.text and _first_call(answer.completion) is None:
        return warned("the model said nothing to the result", "try another model", took=answer.took)
    return passed(f"the model answered to it with {len(answer.text)} characters")


async def structured_output(session: Session) -> Finding:
    """A JSON Schema is kept to."""
    answer = await session.answer(probes.STRUCTURED)
    if answer.error is not None:
        return _refused(answer.error, "do without response_format here, and ask for JSON in words")
    if not answer.text and _unstructured(session, answer):
        return skipped(_SEE_STRUCTURE)
    if isinstance(_object(answer.text).get(probes.CITY), str):
        return passed(f"the answer fits the schema: {session.exchanges.excerpt(answer.text, 60)}")
    return warned("the answer does not fit the schema", "do not rely on response_format here: it seems to be ignored")


async def images(session: Session) -> Finding:
    """A picture is taken."""
    answer = await session.answer(probes.IMAGES)
    if answer.error is not None:
        return warned(answer.error.message, "send no pictures, or use a model with vision")
    if not answer.text and _unstructured(session, answer):
        return skipped(_SEE_STRUCTURE)
    if not answer.text:
        return warned("the model said nothing to the picture", "use a model with vision")
    return passed(f"the model says of a red square: {session.exchanges.excerpt(answer.text, 40)}")


async def errors(session: Session) -> Finding:
    """An error says what is wrong with a request, with a status of 4xx."""
    request, _ = await session.request(probes.CHAT)
    body = json.dumps(SHAPES[session.api].malformed(await session.model())).encode()
    answer = await session.exchanges.get(replace(request, body=body))
    remedy = "answer what cannot be read with a status of 4xx and a JSON body that says why"
    if answer.status < 400:
        return warned(f"a malformed request is answered with {answer.head}", remedy)
    if answer.status >= 500:
        return warned(f"a malformed request is answered with {answer.head}, as if the endpoint had failed", remedy)
    if not _object(bytes(answer.body)) and not bytes(answer.body).lstrip().startswith(b"["):
        return warned(f"HTTP {answer.status}, but its body is no JSON", remedy)
    return passed(f"HTTP {answer.status}, and the body says why")


async def _stream_failed(session: Session, error: CallerError) -> Finding:
    """A stream failed: where no other does, this check reports it."""
    if (await session.answer(probes.CHAT, stream=True)).until_output is None:
        return skipped(_SEE_STREAM)
    return failed_with(error)


async def unicode(session: Session) -> Finding:
    """Text of all scripts arrives as it was sent."""
    answer = await session.answer(probes.UNICODE, stream=True)
    if answer.error is not None and not (isinstance(answer.error, _BROKEN_OFF) and answer.text):
        return await _stream_failed(session, answer.error)
    garbled = {letter.encode().decode("latin-1") for letter in probes.LETTERS if not letter.isascii()}
    if "\ufffd" in answer.text or any(piece in answer.text for piece in garbled):
        return failed(
            f"the text is garbled: {session.exchanges.excerpt(answer.text, 60)}",
            "let every hop send UTF-8, and cut it between characters only",
        )
    if answer.text.isascii():
        return skipped("the model did not repeat the letters, so this check says nothing")
    first = next(at for at, letter in enumerate(answer.text) if not letter.isascii())
    return passed(f"it came as it was sent: {session.exchanges.excerpt(answer.text[max(first - 2, 0) :], 30)}")


async def cancel(session: Session) -> Finding:
    """The endpoint is usable again once a client hung up in the middle of an answer."""
    first = await session.answer(probes.CHAT)
    left = await session.ask(probes.LONG, stream=True, leave=True)
    if left.error is not None:
        return await _stream_failed(session, left.error)
    answer = await session.ask(probes.CHAT)
    remedy = "let the endpoint stop generating when its client hangs up"
    if answer.error is not None:
        return failed(f"after a cancelled stream: {answer.error.message}", remedy)
    if answer.took > _LONGER * first.took + _ALL_LONGER:
        return warned(f"a chat after a cancelled stream took {_ms(answer.took)}, not {_ms(first.took)}", remedy)
    return passed(f"a chat after a cancelled stream took {_ms(answer.took)}")


async def latency(session: Session) -> Finding:
    """How long the first token takes, on a new connection and on a kept one, and how fast the others follow."""
    cold = await session.ask(probes.LONG, stream=True, apart="cold")
    warm = await session.ask(probes.LONG, stream=True, apart="cold")
    if cold.until_output is None or warm.until_output is None:
        error = cold.error or warm.error
        return skipped(_SEE_STREAM) if error is None else await _stream_failed(session, error)
    made, seconds = _tokens(warm), warm.took - warm.until_output
    speed = f", {made / seconds:.0f} tokens/s" if made and seconds > _MEASURABLE else ""
    summary = f"first token {_ms(cold.until_output)} cold, {_ms(warm.until_output)} warm{speed}"
    if warm.until_output > _SLOW:
        return warned(summary, "for speech, use a smaller model, or one that does not think before it speaks")
    return passed(summary)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"
