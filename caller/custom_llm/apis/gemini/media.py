"""Content parts as Gemini's `Part`s: text, and bytes or URLs with their media type. No I/O.

Source: Gemini API reference (`Part`, `Blob`, `FileData`).
"""

import base64
from types import MappingProxyType

from caller.custom_llm.apis.shared import invalid, split_data_url, unsupported
from caller.json_types import JsonObject
from caller.messages import AudioPart, ContentPart, FilePart, ImagePart, TextPart

# By the ending of a URL's path or of a file's name. The standard library's table reads the machine's own files.
_TYPES = MappingProxyType(
    {
        "png": "image/png",
        "jpg": "image/jpeg",
        "jpeg": "image/jpeg",
        "webp": "image/webp",
        "gif": "image/gif",
        "heic": "image/heic",
        "heif": "image/heif",
        "pdf": "application/pdf",
        "txt": "text/plain",
        "md": "text/markdown",
        "html": "text/html",
        "csv": "text/csv",
        "json": "application/json",
        "wav": "audio/wav",
        "mp3": "audio/mp3",
        "ogg": "audio/ogg",
        "flac": "audio/flac",
        "mp4": "video/mp4",
        "mov": "video/quicktime",
        "webm": "video/webm",
    }
)


def wire_part(part: ContentPart, field: str) -> JsonObject:
    """The part; `field` is its path, for violations. A file's name has no counterpart: only the type is read from it.

    Raises:
        NotSupportedByApi: an image's `detail`, or a file by an id that is no URI.
        RequestInvalid: bytes without a media type, or a `data:` URL that cannot be read.
    """
    match part:
        case TextPart():
            return {"text": part.text}
        case ImagePart():
            if part.detail not in ("", "auto"):
                advice = 'Gemini has no `detail`; give the part {"mediaResolution": …} as its provider_options'
                raise unsupported(f"{field}.image.detail", advice)
            return _media(part.url, part.data, part.media_type, "", f"{field}.image")
        case AudioPart():
            if not part.format:
                raise invalid(f"{field}.audio.format", "must name the container: wav, mp3, …")
            return _inline(f"audio/{part.format.lower()}", part.data)
        case FilePart():
            return _file(part, f"{field}.file")


def _file(part: FilePart, field: str) -> JsonObject:
    if not part.file_id:
        return _media(part.url, part.data, part.media_type, part.filename, field)
    if "://" not in part.file_id:
        raise unsupported(f"{field}.file_id", "Gemini names a stored file by its URI, not by an id")
    return _by_url(part.file_id, part.media_type or _guessed(part.filename))


def _media(url: str, data: bytes, media_type: str, filename: str, field: str) -> JsonObject:
    if url.startswith("data:"):
        split = split_data_url(url)
        if split is None:
            raise invalid(f"{field}.url", "must be base64 when it is a data: URL")
        return {"inlineData": {"mimeType": _type(split[0] or media_type, filename, field), "data": split[1]}}
    if url:
        return _by_url(url, media_type or _guessed(filename))
    return _inline(_type(media_type, filename, field), data)


def _by_url(url: str, media_type: str) -> JsonObject:
    """`mimeType` may be missing here: the endpoint knows the types of files that it holds."""
    path = url.partition("://")[2].partition("/")[2]
    media_type = media_type or _guessed(path.partition("?")[0].partition("#")[0])
    return {"fileData": {"mimeType": media_type, "fileUri": url} if media_type else {"fileUri": url}}


def _inline(media_type: str, data: bytes) -> JsonObject:
    return {"inlineData": {"mimeType": media_type, "data": base64.b64encode(data).decode()}}


def _type(media_type: str, filename: str, field: str) -> str:
    known = media_type or _guessed(filename)
    if not known:
        raise invalid(f"{field}.media_type", "Gemini needs the media type of bytes, for example image/png")
    return known


def _guessed(name: str) -> str:
    return _TYPES.get(name.rpartition(".")[2].lower(), "")
