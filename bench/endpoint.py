"""A raw chat endpoint for measuring: canned bytes over asyncio, so that it is never the limit.

It answers `POST …/chat/completions`; the model's name says how: `unary`, `burst-N` (N tokens, a hundred per write) or
`paced-N-R` (N tokens, R per second, one write each). Run as a program it prints its port and serves until it is killed.
"""

import asyncio
import json
import re
from typing import cast

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_MODEL = re.compile(rb'"model": ?"([^"]+)"')
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
_BURST = 100


def _event(payload: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


def _chunk(delta: dict[str, object], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench"}
    return _event({**head, "system_fingerprint": "fp_1", "choices": [choice]})


_USAGE = {"prompt_tokens": 9, "completion_tokens": 20, "total_tokens": 29}
_FIRST = _chunk({"role": "assistant", "content": ""})
_TOKEN = _chunk({"content": " token"})
_LAST = (
    _chunk({}, "stop")
    + _event(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "bench",
            "choices": [],
            "usage": _USAGE,
        }
    )
    + b"data: [DONE]\n\n"
)
_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "It is twenty-one degrees in Rome today."},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
    }
).encode()
_UNARY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_ANSWER), _ANSWER)


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_FRAMED_TOKEN = _framed(_TOKEN)
_END = _framed(_LAST) + b"0\r\n\r\n"


class Endpoint(asyncio.Protocol):
    """One connection: requests one after the other, each answered with canned bytes."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by behaviour

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = _LENGTH.search(head)
        if len(body) < (int(length[1]) if length else 0):
            return
        self._buffer = b""
        model = _MODEL.search(body)
        self._answer(model[1].decode() if model else "unary")

    def _answer(self, model: str) -> None:
        assert self._transport is not None
        kind, _, rest = model.partition("-")
        if kind == "unary":
            self._transport.write(_UNARY)
        elif kind == "burst":
            left = int(rest)
            parts = [_STREAM_HEAD, _framed(_FIRST)]
            while left > 0:
                parts.append(_framed(_TOKEN * min(left, _BURST)))
                left -= _BURST
            self._transport.write(b"".join(parts) + _END)
        else:
            tokens, _, rate = rest.partition("-")
            self._transport.write(_STREAM_HEAD + _framed(_FIRST))
            self._pace(int(tokens), 1 / float(rate), self._loop.time())

    def _pace(self, left: int, gap: float, due: float) -> None:
        assert self._transport is not None
        if left == 0:
            self._transport.write(_END)
            return
        self._transport.write(_FRAMED_TOKEN)
        self._timer = self._loop.call_at(due + gap, self._pace, left - 1, gap, due + gap)


async def serve() -> None:
    """Serve on a free port until killed."""
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve())
