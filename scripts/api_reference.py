"""Writes docs/api.md, the reference of the contract, from the comments in protos/integration_api/v1.

Rule: says nothing of its own but how to read it. What a field means stands in the protos, once.

    python -m scripts.api_reference       write the page; needs buf, which reads the protos
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from scripts.markdown import anchor, code, table

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "api.md"
PACKAGE = "integration_api.v1"
# Where a comment belongs to: the numbers of the fields of descriptor.proto on the way to it.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _ONEOFS = 2, 8
_VALUES = _METHODS = 2
# Each file of the contract, and what its part of the page is called. Errors have a page of their own.
_FILES: Mapping[str, str] = {
    "integration_api/v1/chat_service.proto": "Requests and answers",
    "integration_api/v1/messages.proto": "What they are made of",
}
_HEAD = """# API reference

The contract `integration_api.v1`, made from the comments of
[its protos](../protos/integration_api/v1/chat_service.proto) by `make readme`. [The contract](contract.md) says what it
promises as a whole, [Errors](errors.md) has every `ErrorReason`.

In JSON, as grpcurl reads and shows it, names are in lowerCamelCase (`model_parameters` is `modelParameters`), a
duration is `"2.5s"`, and bytes are base64. A field that is not set is not sent; `optional` ones tell "not set" from 0.
Fields under one *one of* exclude each other.
"""

Comments = Mapping[tuple[int, ...], str]


@dataclass(frozen=True, slots=True)
class _File:
    """A proto with its comments by their places."""

    proto: FileDescriptorProto
    comments: Comments


def read_protos() -> FileDescriptorSet:
    """The protos with their comments.

    Raises:
        subprocess.CalledProcessError: buf found fault with them.
        OSError: there is no buf beside this Python.
    """
    buf = Path(sys.executable).parent / "buf"
    built = subprocess.run([buf, "build", "--output", "-#format=binpb"], cwd=ROOT, capture_output=True, check=True)
    return FileDescriptorSet.FromString(built.stdout)


def page(protos: FileDescriptorSet) -> str:
    """The whole page."""
    files = {proto.name: _File(proto, _comments(proto)) for proto in protos.file if proto.package == PACKAGE}
    parts = [_HEAD]
    for name in _FILES:
        parts += [_service(service, at, files[name]) for at, service in enumerate(files[name].proto.service)]
    for name, title in _FILES.items():
        file = files[name]
        parts.append(f"## {title}\n")
        parts += [_message(message, at, file) for at, message in enumerate(file.proto.message_type)]
        parts += [_enum(enum, at, file) for at, enum in enumerate(file.proto.enum_type)]
    return "\n".join(parts)


def _comments(proto: FileDescriptorProto) -> Comments:
    return {
        tuple(location.path): " ".join(location.leading_comments.split())
        for location in proto.source_code_info.location
        if location.leading_comments
    }


def _service(service: ServiceDescriptorProto, at: int, file: _File) -> str:
    """What the service does, and each of its methods."""
    place = (_SERVICES, at)
    lines = [f"## {service.name}\n", f"{file.comments[place]}\n"]
    for number, method in enumerate(service.method):
        answer = f"{'stream of ' if method.server_streaming else ''}{_linked(method.output_type)}"
        lines += [
            f"### {method.name}\n",
            f"{_linked(method.input_type)} → {answer}\n",
            f"{file.comments[(*place, _METHODS, number)]}\n",
        ]
    return "\n".join(lines)


def _message(message: DescriptorProto, at: int, file: _File) -> str:
    """A message with a table of its fields."""
    place = (_MESSAGES, at)
    maps = {entry.name: entry for entry in message.nested_type if entry.options.map_entry}
    said: set[int] = set()

    def rows() -> Iterator[list[str]]:
        for number, field in enumerate(message.field):
            if field.HasField("oneof_index") and not field.proto3_optional and field.oneof_index not in said:
                said.add(field.oneof_index)
                group = message.oneof_decl[field.oneof_index].name
                yield [f"*one of {code(group)}*", "", "", file.comments[(*place, _ONEOFS, field.oneof_index)]]
            meaning = file.comments[(*place, _FIELDS, number)]
            yield [code(field.name), str(field.number), _type(field, maps), meaning]

    head = f"### {message.name}\n\n{file.comments[place]}\n"
    return f"{head}\n{table(['field', 'no.', 'type', 'meaning'], rows())}" if message.field else head


def _enum(enum: EnumDescriptorProto, at: int, file: _File) -> str:
    """An enum with a table of its values."""
    place = (_ENUMS, at)
    rows = (
        [code(value.name), str(value.number), file.comments[(*place, _VALUES, number)]]
        for number, value in enumerate(enum.value)
    )
    return f"### {enum.name}\n\n{file.comments[place]}\n\n{table(['value', 'no.', 'meaning'], rows)}"


def _type(field: FieldDescriptorProto, maps: Mapping[str, DescriptorProto]) -> str:
    """A field's type in words, with a link where this page has it."""
    kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    named = _linked(field.type_name) if field.type_name else kind
    entry = maps.get(field.type_name.rpartition(".")[2])
    if entry is not None:
        key, value = (_type(each, maps) for each in entry.field)
        return f"map of {key} to {value}"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {named}"
    return f"optional {named}" if field.proto3_optional else named


def _linked(name: str) -> str:
    """A message or an enum by its full name: ours with a link."""
    short = name.removeprefix(f".{PACKAGE}.")
    return f"[{short}](#{anchor(short)})" if short != name else code(name.removeprefix("."))


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(read_protos()), encoding="utf-8")


if __name__ == "__main__":
    main()
