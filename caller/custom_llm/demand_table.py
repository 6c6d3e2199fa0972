"""Which words of a rejection demand which change: the table of `demands`. Data only.

A row names the shapes that know the change, the point of the request and the form that it shall have; the words are
regular expressions over the rejection's text, every gap in them bounded. Comments name the server whose words they are;
no row looks for a server. Of the rows whose words stand in a rejection, the first that would change the request is
tried: the more telling come first.
"""

import re
from dataclasses import dataclass, field

from caller.credentials import ApiCompatibility

_CHAT = frozenset({ApiCompatibility.OPENAI_CHAT_COMPLETIONS, ApiCompatibility.OPENAI_COMPATIBLE})
_RESPONSES = frozenset({ApiCompatibility.OPENAI_RESPONSES})
_ANTHROPIC = frozenset({ApiCompatibility.ANTHROPIC_MESSAGES})
_GEMINI = frozenset({ApiCompatibility.GEMINI_GENERATE_CONTENT})

_BACK = (
    r"(?:pass(?:ed|ing)?.{0,20}back|sen[dt] back|returned|missing|required|must|needs?|not (?:found|provided)|omitted"
    r"|(?:cannot|can't|may not|should not) be (?:empty|null))"
)
_EMPTY = (
    r"(?:non-?empty|(?:cannot|can't|must not|may not|should not|not) be (?:empty|blank)|(?:is|are|was) (?:empty|blank))"
)
_REFUSED = r"(?:unsupported|not supported|unknown|unrecognized|unexpected|not permitted|not allowed|extra|deprecated)"


@dataclass(frozen=True, slots=True)
class Row:
    """One demand. A `form` of None is what the words say: their last group. `too_long`: rejections for length teach it,
    too."""

    shapes: frozenset[ApiCompatibility]
    point: str
    form: str | None
    words: re.Pattern[str] = field(repr=False)
    too_long: bool = False


def _row(shapes: frozenset[ApiCompatibility], point: str, form: str | None, *words: str, too_long: bool = False) -> Row:
    return Row(shapes, point, form, re.compile("|".join(words), re.IGNORECASE | re.DOTALL), too_long)


TABLE = (
    # DeepSeek: "The `reasoning_content` in the thinking mode must be passed back to the API."; Kimi: "… is missing in
    # assistant tool call message". A name without an underscore is a word of the language, unless it is quoted.
    _row(
        _CHAT,
        "reasoning",
        None,
        rf"\b(reasoning_content|reasoning_text)\b.{{0,120}}\b{_BACK}",
        rf"\b{_BACK}\b.{{0,80}}\b(reasoning_content|reasoning_text)\b",
        rf"[`'\"](reasoning|thinking)[`'\"].{{0,120}}\b{_BACK}",
        r"\b(?:missing|requires?|without)\b.{0,40}[`'\"](reasoning|thinking)[`'\"]",
        r"\bmessages\W{1,3}\d{1,4}\W{1,3}(reasoning|thinking)\b.{0,60}\brequired\b",
    ),
    _row(_CHAT, "reasoning", "", r"\b(?:reasoning|thinking)\b.{0,120}\b(?:passed.{0,20}back|sent back|is missing)"),
    # The same where thinking is a block: the Anthropic routes of DeepSeek and Kimi.
    _row(
        _ANTHROPIC,
        "thinking",
        "sent",
        r"\b(?:thinking|reasoning_content|reasoning)\b.{0,120}\b(?:pass(?:ed)?.{0,20}back|sent back|is missing)",
        r"\bmust (?:start|begin) with a thinking block",
    ),
    # Anthropic: "Invalid `signature` in `thinking` block", "thinking.signature: Field required".
    _row(
        _ANTHROPIC,
        "thinking",
        "left_out",
        r"\bsignature\b.{0,80}\b(?:required|missing|invalid|not valid)",
        r"\binvalid\b.{0,40}\bsignature\b",
        rf"\bthinking\b.{{0,80}}\b{_REFUSED}",
    ),
    # OpenAI, for reasoning that another key or region encrypted.
    _row(
        _RESPONSES,
        "encrypted_reasoning",
        "left_out",
        r"\binvalid_encrypted_content\b",
        r"\bencrypted[ _]content\b.{0,120}\bcould not be\b",
    ),
    # Gemini's compatible route: "function_response.name: Name cannot be empty".
    _row(
        _CHAT,
        "tool_name",
        "added",
        r"\bfunction_?response\W{0,4}name\b",
        r"\bmessages\W{1,6}\d+\W{1,6}(?:tool\W{1,4})?name\b",
        r"\btool\b.{0,60}\bname\b.{0,40}\b(?:required|missing|empty|must)\b",
        r"\b(?:missing|requires?)\b.{0,40}\bname\b.{0,60}\btool\b",
        r"\btool (?:messages?|results?|role)\b.{0,40}\b(?:must|needs?|requires?|should|without)\b.{0,30}\bname\b",
        r"\bname\b.{0,40}\b(?:required|missing)\b.{0,30}\btool\b",
        r"\bfunction name\b.{0,40}\b(?:required|missing|empty)\b",
    ),
    # FastAPI: "body.messages.1.content: Field required"; serde: "missing field `content`"; Jinja: "no attribute
    # 'content'"; pydantic: "none is not an allowed value".
    _row(
        _CHAT,
        "assistant_content",
        "empty",
        r"\bcontent\b.{0,80}\b(?:required|missing|null|none(?:type)?|nil|(?:valid|be a|expected a) string|undefined)\b",
        r"\bkeyerror\W{1,4}content\b",
        r"\b(?:missing|requires?|no attribute|no element|null|none|must (?:contain|have|include))\b.{0,60}\bcontent\b",
    ),
    _row(_CHAT, "assistant_content", "null", r"\bcontent\b.{0,80}\b(?:must|should|set|expected)\b.{0,30}\bnull\b"),
    # Mistral: "Assistant message must have either content or tool_calls"; Claude behind a compatible route: "text
    # content blocks must be non-empty".
    _row(
        _CHAT,
        "blank_text",
        "left_out",
        rf"\b(?:content|text)\b.{{0,120}}\b{_EMPTY}",
        rf"\b{_EMPTY}.{{0,60}}\b(?:content|text)\b",
        r"\bmust have either content or\b",
    ),
    # Claude behind a compatible route: "final assistant content cannot end with trailing whitespace".
    _row(_CHAT, "prefill", "trimmed", r"\btrailing (?:white ?space|spaces?)\b"),
    # Gemini: "properties: should be non-empty for OBJECT type".
    _row(
        _CHAT | _RESPONSES,
        "tool_parameters",
        "left_out",
        rf"\b(?:parameters|properties)\b.{{0,80}}\b(?:be )?{_EMPTY}",
        r"\bat least one propert(?:y|ies)\b",
        r"\b(?:no|without|zero) properties\b",
    ),
    # Mistral: "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9"; OpenAI: "Invalid
    # 'messages[1].tool_calls[0].id': string too long".
    _row(
        _CHAT,
        "tool_call_ids",
        "short",
        r"\btool[ _]call[ _]?ids?\b.{0,120}\b(?:length|too long|pattern|characters)\b",
        r"\btool_calls\W{1,4}\d+\W{1,4}id\b.{0,120}\b(?:length|too long|pattern|characters)\b",
    ),
    # OpenAI: "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    _row(
        _CHAT,
        "max_tokens",
        "max_completion_tokens",
        r"\bmax_tokens\b.{0,120}\buse\W.{0,20}\bmax_completion_tokens\b",
        rf"\bmax_tokens\b.{{0,60}}\b{_REFUSED}\b.{{0,60}}\bmax_completion_tokens\b",
    ),
    _row(
        _CHAT,
        "max_tokens",
        "max_tokens",
        rf"\bmax_completion_tokens\b.{{0,120}}\b(?:{_REFUSED}|use\W.{{0,20}}\bmax_tokens)\b",
        rf"\b{_REFUSED}\b.{{0,80}}\bmax_completion_tokens\b",
    ),
    # Qwen's template: "System message must be at the beginning."
    _row(
        _CHAT,
        "system_messages",
        "joined",
        r"\bsystem\b.{0,80}\b(?:beginning|first|start|once|only|single|multiple|more than one|duplicate|unique|top)\b",
        r"\bsystem\b.{0,80}\bindex 0\b",
        r"\b(?:only|multiple|more than|at most|single|second|several|first|consecutive|duplicate)\b.{0,60}\bsystem\b",
        r"\bunexpected role\W{1,3}system\b",
    ),
    # Gemma's template: "System role not supported"; Google: "Developer instruction is not enabled for models/…".
    _row(
        _CHAT | _GEMINI,
        "system_messages",
        "in_user_message",
        r"\bsystem(?:[ _]?(?:role|messages?|prompts?|instructions?))?\b.{0,40}\bnot\b.{0,16}"
        r"\b(?:support|allow|enable|permit)",
        r"\b(?:not|n't|no) support\w{0,3}\b.{0,60}\bsystem\b",
        r"\bunsupported\b.{0,60}\bsystem\b",
        r"\bsystem\W{1,3}(?:role|messages?)\W{1,3}(?:is |are )?unsupported\b",
        r"\bdeveloper instruction is not enabled\b",
        # GLM's literal_error, DashScope, nanochat; Claude behind a compatible route
        r"\brole\b.{0,120}\b(?:should|must) be (?:one of |in )?\W{0,4}user\b",
        r"\binput should be '(?:user|assistant)' or '(?:user|assistant)'",
        r"\bunexpected role\W{1,3}system\b",
    ),
    # Strict Responses servers: "System messages are not allowed"; ChatGPT's: "Instructions are required".
    _row(
        _RESPONSES,
        "system_messages",
        "in_instructions",
        r"\bsystem\b.{0,60}\bnot\b.{0,16}\b(?:support|allow|permit)",
        rf"\b(?:{_REFUSED}|not support|invalid)\b.{{0,60}}\bsystem\b",
        r"\binstructions\b.{0,40}\b(?:required|missing|must)\b",
        r"\b(?:missing|requires?)\b.{0,40}\binstructions\b",
    ),
    # Templates of Mistral, Gemma and Llama, Perplexity; llama.cpp: "Cannot have 2 or more assistant messages".
    _row(
        _CHAT,
        "same_role",
        "merged",
        r"\balternat",
        r"\b(?:consecutive|successive)\b",
        r"\bin a row\b",
        r"\bsame role\b",
        r"\b2 or more (?:assistant|user)\b",
        r"\bmust be followed by an? (?:assistant|user)\b",
        r"\bunexpected role\W{1,3}(?P<role>\w{1,12})\W{1,3}after role\W{1,3}(?P=role)\b",
    ),
    _row(_CHAT, "system_messages", "joined", r"\balternat"),
    # Anthropic: "max_tokens: 4096 > 2048, which is the maximum allowed"; vLLM: "supports at most 2048".
    _row(
        _ANTHROPIC,
        "default_max_tokens",
        None,
        r"\bmax_tokens\b\D{0,40}\d{1,9} > (\d{1,9})\b(?! - )",
        r"\[1, ?(\d{1,9})\]",
        r"\b(?:at most|lower than|less than|limit(?: of| is|:)?|maximum value(?: of| is|:)?|maximum (?:of|is)|up to|"
        r"less than or equal to|<=|no more than|exceed|between 1 and|(?:can)?not be (?:greater|larger|more) than|"
        r"(?:greater|larger|more) than the maximum(?: of)?) ?(\d{1,9})\b(?! input)",
        too_long=True,
    ),
)
# How a rejection names an optional field of ours where it does not say its plain name.
NAMES = {
    "stream_options": r"stream[ _]?options|include_usage",
    # OpenAI's o1: "'messages[0].role' does not support 'system' with this model"; templates know no developer either.
    "developer_as_system": r"\brole\b.{0,40}\bnot support\b.{0,20}\bsystem\b",
    "include": r"[`'\"]include[`'\"]|\binclude(?:\[|:| is)|\bencrypted[ _]content\b.{0,40}\bnot supported\b",
}
# The points of a request that can be known to be demanded in another form, by rejections or by a provider's row.
POINTS = frozenset({*(row.point for row in TABLE), *NAMES})
# What a context leaves for the answer: its size, less what the input has of it. vLLM: "maximum context length is 2048
# tokens and your request has 12 input tokens (4096 > 2048 - 12)".
CONTEXT = re.compile(r"\b(?:context|model)(?: length| window| size| limit)?\b\D{0,40}(\d{1,9})\b", re.IGNORECASE)
INPUT = re.compile(r"\b(\d{1,9}) (?:input|prompt|(?:tokens )?(?:in|from) the (?:messages|input|prompt))", re.IGNORECASE)
DIFFERENCE = re.compile(r"> (\d{1,9}) - (\d{1,9})\b")
