"""Text, pictures and documents as Anthropic's content blocks. No I/O.

Source of the wire facts: Anthropic's API reference and SDK; deviations name the server.
"""

from collections.abc import Mapping
from typing import assert_never

from caller.credentials import ApiCompatibility
from caller.custom_llm.apis.shared import data_url, split_data_url, unsupported
from caller.json_types import JsonObject, JsonValue, text_of
from caller.messages import AudioPart, ContentPart, FilePart, ImagePart, TextPart

API = ApiCompatibility.ANTHROPIC_MESSAGES.value
_PDF = "application/pdf"


def wire_part(path: str, part: ContentPart) -> JsonObject:
    """One part as a content block, without its options.

    Raises:
        NotSupportedByApi: the API cannot carry it.
    """
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            if part.detail not in ("", "auto"):
                raise unsupported(f"{path}.image.detail", f"{API} has no level of detail; leave it out")
            url = part.url or data_url(part.media_type, part.data)
            return {"type": "image", "source": _source(f"{path}.image", url, part.media_type)}
        case AudioPart():
            raise unsupported(f"{path}.audio", f"{API} carries no audio")
        case FilePart():
            return _file(f"{path}.file", part)
        case _:
            assert_never(part)


def _file(path: str, part: FilePart) -> JsonObject:
    """A document, or a picture when its media type says so."""
    picture = part.media_type.startswith("image/")
    if part.file_id:
        source: JsonObject = {"type": "file", "file_id": part.file_id}
    else:
        source = _source(path, part.url or data_url(part.media_type, part.data), part.media_type)
        if not picture:
            source = _document_source(path, source, part)
    wire: JsonObject = {"type": "image" if picture else "document", "source": source}
    if part.filename:
        if picture:
            raise unsupported(f"{path}.filename", f"{API} has no name for a picture; leave it out")
        wire["title"] = part.filename
    return wire


def _source(path: str, url: str, media_type: str) -> JsonObject:
    """Where the bytes are: a URL for the endpoint to read, or the bytes themselves."""
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    split = split_data_url(url)
    if split is None:
        raise unsupported(f"{path}.url", f"{API} carries a data URL only in base64")
    media_type = split[0] or media_type
    if not media_type:
        raise unsupported(f"{path}.media_type", f"{API} needs the media type")
    return {"type": "base64", "media_type": media_type, "data": split[1]}


def _document_source(path: str, source: Mapping[str, JsonValue], part: FilePart) -> JsonObject:
    """PDF by URL or bytes, plain text by its characters: the API knows no other documents."""
    media_type = text_of(source.get("media_type")) or part.media_type or _PDF
    if media_type == _PDF:
        return dict(source)
    if not media_type.startswith("text/"):
        raise unsupported(f"{path}.media_type", f"{API} carries PDF, plain text and images, not {media_type}")
    if not part.data:
        raise unsupported(f"{path}.url", f"{API} reads only PDF by URL; send the text as bytes")
    try:
        text = part.data.decode()
    except UnicodeDecodeError:
        raise unsupported(f"{path}.data", f"{API} carries plain text only in UTF-8") from None
    return {"type": "text", "media_type": "text/plain", "data": text}
