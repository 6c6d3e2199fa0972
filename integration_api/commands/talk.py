"""A conversation at a terminal, as the requests that it makes: what was said, and what is said next.

Rule: values in, contract messages out. It knows no terminal and no network; what is wrong with what a person gave is a
`TalkError` in words for that person.
"""

import json
import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path

from google.protobuf import json_format

from caller.json_types import JsonObject
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg

_MAX_IMAGE_BYTES = 12 * 1024 * 1024
# Before the model's and the tools' names a person may paste what another API's documentation shows.
_OPENAI_TOOL = "function"


class TalkError(Exception):
    """What a person gave cannot be used."""


class Talk:
    """One conversation. `first` holds the provider, the credential, the parameters and perhaps tools; no messages."""

    def __init__(self, first: pb.ChatRequest, system: str = "") -> None:
        self._base = first
        self._system = system
        self._images: list[msg.ContentPart] = []
        self.messages: list[msg.Message] = []

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self._base.model_parameters["model.name"])

    @property
    def images(self) -> int:
        """How many images go with what is said next."""
        return len(self._images)

    def say(self, text: str) -> None:
        """What the person says, with the images that were attached."""
        parts = [*self._images, msg.ContentPart(text=text)]
        self._images = []
        self.messages.append(msg.Message(user=msg.UserMessage(content=parts)))

    def answered(self, message: msg.AssistantMessage) -> None:
        """What the model said."""
        self.messages.append(msg.Message(assistant=message))

    def tool_result(self, call: msg.ToolCall, text: str) -> None:
        """What a tool that the model called gave."""
        part = msg.ContentPart(text=text)
        self.messages.append(msg.Message(tool=msg.ToolMessage(tool_call_id=call.id, name=call.name, content=[part])))

    def back_to(self, length: int) -> None:
        """Forget what was said after the first messages."""
        del self.messages[length:]

    def request(self) -> pb.ChatRequest:
        """What is asked now."""
        request = pb.ChatRequest()
        request.CopyFrom(self._base)
        if self._system:
            request.messages.add(system=msg.SystemMessage(text=self._system))
        request.messages.extend(self.messages)
        return request

    def models_request(self) -> pb.ListModelsRequest:
        """What asks for the endpoint's models."""
        return pb.ListModelsRequest(provider_id=self._base.provider_id, credential=self._base.credential)

    def set_system(self, text: str) -> None:
        """Rules for the whole conversation; empty: none."""
        self._system = text

    def set_model(self, name: str) -> None:
        """Ask another model from now on.

        Raises:
            TalkError: the name is empty.
        """
        if not name:
            raise TalkError(f"the model is {self.model}; another: /model NAME")
        self._base.model_parameters["model.name"] = name

    def set_tools(self, path: str) -> list[str]:
        """Offer the tools of a JSON file, one or a list of them; `-`: none. Their names.

        Raises:
            TalkError: it cannot be read.
        """
        found = [] if path == "-" else _tools(_read(path).decode("utf-8", "replace"))
        try:
            read = json_format.ParseDict({"tools": list(found)}, pb.ChatRequest())
        except json_format.ParseError as error:
            raise TalkError(f"{path}: {error}") from None
        del self._base.tools[:]
        self._base.tools.extend(read.tools)
        return [tool.name for tool in read.tools]

    def attach(self, image: str) -> None:
        """Send an image with what is said next: a file, or a URL.

        Raises:
            TalkError: it cannot be read, or is no image.
        """
        if image.startswith(("http://", "https://", "data:")):
            self._images.append(msg.ContentPart(image=msg.Image(url=image)))
            return
        media_type, _ = mimetypes.guess_type(image)
        if media_type is None or not media_type.startswith("image/"):
            raise TalkError(f"{image}: its name has no ending of an image, such as .png or .jpg")
        data = _read(image)
        if len(data) > _MAX_IMAGE_BYTES:
            raise TalkError(f"{image}: larger than {_MAX_IMAGE_BYTES >> 20} MiB")
        self._images.append(msg.ContentPart(image=msg.Image(data=data, media_type=media_type)))

    def save(self, path: str) -> None:
        """Write the conversation as a `ChatRequest` in JSON, without its credential.

        Raises:
            TalkError: it cannot be written, or something is there already.
        """
        if not path:
            raise TalkError("say where to: /save FILE")
        request = self.request()
        request.ClearField("credential")
        text = json_format.MessageToJson(request, ensure_ascii=False)
        try:
            with Path(path).expanduser().open("x", encoding="utf-8") as file:
                file.write(text + "\n")
        except OSError as error:
            raise TalkError(f"cannot write {path}: {error.strerror}") from None


def _read(path: str) -> bytes:
    if not path:
        raise TalkError("say which file")
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise TalkError(f"cannot read {path}: {error.strerror}") from None


def _tools(text: str) -> Sequence[JsonObject]:
    """The tools in a text: in the contract's form, or as OpenAI's documentation shows them."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise TalkError(f"not JSON: {error}") from None
    tools = found if isinstance(found, list) else [found]
    if not all(isinstance(tool, dict) for tool in tools):
        raise TalkError('expected a tool or a list of them: {"name": …, "description": …, "parameters": {…}}')
    return [_unwrapped(tool) for tool in tools]


def _unwrapped(tool: Mapping[str, object]) -> JsonObject:
    inner = tool.get(_OPENAI_TOOL)
    return dict(inner) if isinstance(inner, dict) else dict(tool)  # type: ignore[arg-type] # what JSON gave
