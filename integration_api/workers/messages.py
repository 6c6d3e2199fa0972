"""What a supervisor and a worker say to each other over a socket of their own: frames of JSON, each behind its length.

Rule: forms and framing only. The settings go this way, and so no secret of them stands in a command line or in an
environment.
"""

import asyncio
from typing import Final

import msgspec

from integration_api.settings import Settings

_LENGTH: Final = 4
_MOST_BYTES: Final = 64 * 1024 * 1024


class Start(msgspec.Struct, frozen=True, tag="start"):
    """The supervisor's first words: what to serve, as which of how many."""

    settings: Settings
    number: int
    workers: int


class Started(msgspec.Struct, frozen=True, tag="started"):
    """It listens."""


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Whether it still answers, and with `metrics` what it counts."""

    metrics: bool = False


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """`ready`: new calls are taken. `metrics` is Prometheus' text, empty unless it was asked for."""

    ready: bool
    metrics: bytes = b""


Message = Start | Started | Ask | Answer
_DECODER: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


async def write(writer: asyncio.StreamWriter, message: Message) -> None:
    """Send one message.

    Raises:
        OSError: the other side is gone.
    """
    if writer.is_closing():  # uvloop's transports raise a RuntimeError then
        raise ConnectionResetError("the other side is gone")
    raw = msgspec.json.encode(message)
    writer.write(len(raw).to_bytes(_LENGTH, "big") + raw)
    await writer.drain()


async def read(reader: asyncio.StreamReader) -> Message:
    """The next message.

    Raises:
        EOFError, OSError: the other side is gone.
        ValueError: what came is no message.
    """
    size = int.from_bytes(await reader.readexactly(_LENGTH), "big")
    if size > _MOST_BYTES:
        raise ValueError(f"a message of {size} bytes")
    return _DECODER.decode(await reader.readexactly(size))
