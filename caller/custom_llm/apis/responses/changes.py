"""What endpoints demand of a Responses request, as changes to its body. No I/O.

Each change is one form of one point of `demand_table.TABLE`; that of reasoning is made where items are built.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from caller.custom_llm.adapter import ResolvedCall
from caller.custom_llm.apis.shared import says_nothing
from caller.json_types import JsonObject, objects_of, text_of

_RULES = ("system", "developer")


def changed(body: JsonObject, call: ResolvedCall) -> set[str]:
    """Make the changes that the endpoint demands, and return those that changed anything: a point and its form."""
    return {
        f"{point}: {call.demands[point]}" for point, change in CHANGES.items() if point in call.demands and change(body)
    }


def _rules_as_instructions(body: JsonObject) -> bool:
    """System messages where the API has a field for rules; behind what the client put there itself."""
    items = objects_of(body.get("input"))
    roles = ("system",) if any(item.get("role") == "system" for item in items) else _RULES
    rules = [text_of(item.get("content")) for item in items if item.get("role") in roles]
    if rules:
        body["instructions"] = "\n\n".join(text for text in (text_of(body.get("instructions")), *rules) if text)
        body["input"] = [item for item in items if item.get("role") not in roles]
    return bool(rules)


def _drop_empty_parameters(body: JsonObject) -> bool:
    """The schema of a tool that has no parameters."""
    tools = objects_of(body.get("tools"))
    body_tools = [
        {name: value for name, value in tool.items() if name != "parameters" or not says_nothing(value)}
        for tool in tools
    ]
    if body_tools == tools:
        return False
    body["tools"] = [*body_tools]
    return True


CHANGES: Mapping[str, Callable[[JsonObject], bool]] = MappingProxyType(
    {"system_messages": _rules_as_instructions, "tool_parameters": _drop_empty_parameters}
)
