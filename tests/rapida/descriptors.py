"""Prints the contract as JSON: every message reachable from UnifiedProviderService, field by field.

    python descriptors.py rapida      as the platform's SDK has it
    python descriptors.py ours

A program of its own, since both register messages of the same names in the one descriptor pool of a process.
"""

import importlib
import json
import sys
from typing import Any

_MODULES = {
    "rapida": "rapida.clients.protos.integration_api_pb2",
    "ours": "integration_api.unified_provider_pb2",
}


def contract(service: Any) -> dict[str, Any]:
    """The methods of the service and the fields of all messages, by names that leave the package out."""
    messages: dict[str, Any] = {}
    methods = {}
    for method in service.methods:
        methods[method.name] = [
            _name(method.input_type),
            _name(method.output_type),
            method.client_streaming,
            method.server_streaming,
        ]
        _walk(method.input_type, messages)
        _walk(method.output_type, messages)
    return {"service": service.full_name, "methods": methods, "messages": messages}


def _walk(message: Any, found: dict[str, Any]) -> None:
    if _name(message) in found:
        return
    found[_name(message)] = {
        field.name: {
            "number": field.number,
            "type": field.type,
            "message": field.message_type and _name(field.message_type),
            "repeated": field.is_repeated,
            "required": field.is_required,
            "presence": field.has_presence,
            "oneof": field.containing_oneof and field.containing_oneof.name,
            "packed": field.is_packed,
            "json": field.json_name,
            "map": bool(field.message_type and field.message_type.GetOptions().map_entry),
        }
        for field in message.fields
    }
    for field in message.fields:
        if field.message_type is not None:
            _walk(field.message_type, found)


def _name(message: Any) -> str:
    return str(message.full_name).removeprefix("integration_api.")


if __name__ == "__main__":
    module = importlib.import_module(_MODULES[sys.argv[1]])
    json.dump(contract(module.DESCRIPTOR.services_by_name["UnifiedProviderService"]), sys.stdout, sort_keys=True)
