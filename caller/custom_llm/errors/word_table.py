"""What endpoints say in plain words where they have no code for it, or a code that says less. Data only.

A meaning is one of our errors, the errors that its words may stand for (what code and status said so far; None where
they said nothing), and the words, each with its source. A word that is not listed for an error changes nothing: a 401
that mentions a model stays a 401. The first meaning that fits wins, so the narrower ones stand first.

Every expression is linear: gaps are bounded, and no repetition is inside of another.
"""

import re
from typing import Final, NamedTuple

from caller.custom_llm.errors.code_table import Kind
from caller.custom_llm.errors.limit_words import (
    A_MINUTE_AFTER_ALL,
    A_RATE,
    LARGER_THAN_A_MINUTE,
    LIMITED,
    PASSES,
    QUOTA,
    TOO_LONG,
    words,
)
from caller.errors import (
    ContentFiltered,
    ContextLengthExceeded,
    EndpointError,
    EndpointForbidden,
    EndpointNotFound,
    EndpointOverloaded,
    EndpointPrecondition,
    EndpointRateLimited,
    EndpointRejected,
    EndpointUnauthenticated,
    ModelNotFound,
    QuotaExhausted,
    RequestTooLarge,
)


class Meaning(NamedTuple):
    """One row: `words` mean `kind` where the error was one of `among` so far, but not where `unless` is said, too."""

    kind: Kind
    among: frozenset[Kind | None]
    words: re.Pattern[str]
    unless: re.Pattern[str] | None = None


_NOTHING: Final = frozenset[Kind | None]({None})
_REFUSED: Final = frozenset[Kind | None]({None, EndpointRejected, EndpointPrecondition})


_WRONG_ROUTE: Final = words(
    ("LM Studio, with any status", r"^Unexpected endpoint or method"),
    ("OpenAI", r"^(Invalid URL|Unrecognized request URL) \("),
    ("Express", r"^Cannot (POST|GET) /"),
    ("Go's mux", r"^404 page not found"),
    ("Kong", r"^no Route matched"),
)
# The URL is right: something that the request names is gone.
_MISSING_PART: Final = words(
    (
        "OpenAI Responses",
        r"\b(item|response|conversation|file|container|vector store|prompt)s? with id\b.{0,120}not found",
    ),
    ("OpenAI Responses", r"no (tool (call|output)|item) found (for|with)"),
    ("OpenAI", r"no such (file|vector store) object"),
    ("OpenAI", r"not a chat model"),
    ("OpenRouter", r"^no endpoints found that (support|can)"),
    (
        "Gemini, Anthropic",
        r"cached ?content\b[^\n]{0,80}not found|\b(file|container) ['\"`]?[\w-]{6,80}['\"`]? (was )?not found",
    ),
)
_FILTERED: Final = words(
    ("Azure", r"content management policy"),
    (
        "OpenAI",
        r"flagged (as potentially violating|for possible cyber|by)|violat\w{1,8} (our|openai'?s|the) usage polic",
    ),
    ("OpenAI", r"(rejected|blocked|failed)[^\n]{0,30}(by|as a result of) (our|the) safety system"),
    ("Anthropic", r"(blocked|rejected|refused) by (the |our |your |an? )?(content|safety) (filter|polic|moderation)"),
    ("xAI", r"violates (the |our )?(usage|content) guidelines"),
    ("DeepSeek", r"content exists risk"),
    ("Moonshot", r"(considered|flagged as) high risk"),
    ("DashScope", r"contains? inappropriate content"),
    ("Zhipu", r"unsafe or sensitive content"),
    ("MiniMax", r"\bnew_sensitive\b"),
    (
        "Volcengine Ark, ModelArts",
        r"(contains?|includes?|may contain)( any)? (sensitive|senstive) (content|information|words)",
    ),
    ("Vertex AI", r"responsible ai practices|contains sensitive words"),
    ("Gemini's word, from whoever is in front of it", r"\bprohibited_content\b"),
    ("Bedrock", r"blocked by (our|the|a) (content filters?|guardrails?)|guardrail_intervened"),
    ("LiteLLM, Portkey", r"violated [^\n]{0,20}guardrail|guardrail[^\n]{0,60}(failed|violat|blocked|intervened)"),
    ("Cloudflare AI Gateway", r"(prompt|response) blocked due to security"),
    (
        "OpenRouter, Venice",
        r"(violat\w{1,8}|blocked|rejected|flagged|against)[^\n]{0,60}(content polic|moderation|safety (polic|filter))",
    ),
    ("Baidu, gateways", r"content\b[^\n]{0,30}\b(is|was|be) (unsafe|harmful|inappropriate)"),
    ("Chinese vendors", r"敏感(内容|信息|词)|内容(安全|审核|违规)|违规(内容|信息)|(包含|含有|涉及)[^\n]{0,6}违规"),
)
# Codes that a gateway repeats in its text, with a status of its own.
_FILTERED_CODE: Final = words(
    (
        "Azure, in a gateway's text",
        r"ResponsibleAIPolicyViolation|ContentPolicyViolationError|content_policy_violation",
    ),
)
_POLICY: Final = words(
    ("OpenRouter: the account's own rules leave no provider", r"^no endpoints (found|available) matching your"),
    ("OpenRouter", r"^no allowed providers are available|all providers have been ignored"),
    (
        "OpenAI, Google",
        r"(country|region|territory|location)\b[^\n]{0,40}\bnot (supported|available|allowed|permitted)",
    ),
    (
        "Anthropic, OpenCode Zen",
        r"not (available|supported|allowed) (in|for|from) your (country|region|location|territory)",
    ),
    ("Bedrock", r"(from|in) (an )?unsupported (countr|region|territor|location)"),
    ("Anthropic, Groq", r"organization has been (disabled|restricted|suspended)"),
    (
        "MiniMax, Copilot, Venice",
        (
            r"(your|current|this|free)( \w+)? (plan|tier|subscription)\b[^\n]{0,30}(does not|doesn'?t|not)"
            r" (include|allow|support|have)"
        ),
    ),
    ("gateways", r"only available (to|for|on|in) (the )?(pro|paid|plus|premium|enterprise|business|subscribed)\b"),
    ("gateways", r"not available (on|in|for) (the |your )?(free|current|basic)\b"),
    ("Bedrock", r"you don'?t have access to the model with the specified"),
    ("Perplexity, OpenAI", r"upgrade your (plan|subscription) to"),
    ("Google", r"has not been used in project \S+ before or it is disabled"),
)
# A right key whose account may not use what it asks for; said with the status for a wrong key, too.
_NOT_FOR_ACCOUNT: Final = words(
    ("Bedrock's OpenAI route", r"\bis not available (for|to) (this|your) (account|organi[sz]ation|project)\b"),
)
_NO_MODEL: Final = words(
    (
        "most servers",
        r"\bmodels?\b[^\n]{0,160}?\b((was |is )?not found|does ?n[o']t exist|not exist\b|is not a valid model)",
    ),
    ("Moonshot", r"not found the model"),
    ("MiniMax, Zhipu, Cloudflare", r"\b(no such|unknown) model\b|unsupported model: ?\S"),
    ("OpenRouter", r"is not a valid model id|^no endpoints found for"),
    (
        "LiteLLM, Perplexity, Mistral",
        r"^invalid model\W*$|invalid model (name|id|identifier)\b|invalid model(:| ['\"`])",
    ),
    ("Anthropic's whole text", r"^model: \S+$"),
    (
        "Bedrock",
        r"model identifier is invalid|could not resolve the foundation model|model version has reached the end",
    ),
    ("Together", r"unable to access (the )?model"),
    ("Databricks", r"endpoint with name '[^'\n]{0,100}' does not exist"),
    (
        "NVIDIA NIM",
        r"function '[^'\n]{0,60}': not found for account|specified function in account [^\n]{0,80}not found",
    ),
    ("LM Studio", r"no models? (is |are )?(currently )?loaded"),
    (
        "Groq, OpenAI, Google",
        (
            r"has been decommissioned"
            r"|\bmodel\b[^\n]{0,80} (has been|was|is) (deprecated|retired|discontinued|sunset|shut down)"
        ),
    ),
    (
        "FastAPI, where models are an enumeration",
        r"^body\.model: (value is not a valid enum|input should be|unexpected value)",
    ),
    ("gateways", r"no model (named|called)\b"),
    ("new-api, one-api", r"no available channels? for model|无可用渠道|模型不存在|不存在的模型"),
    (
        "Hugging Face, Copilot, Fireworks",
        (
            r"(?<!this )(?<!with )(?<!for )(?<!by )(?<!of )(?<!with the )(?<!for the )\bmodel\b[^\n]{0,100}?"
            r"\b(is|was|are) (not|no longer)( currently)? (supported|available|deployed|served|accessible|enabled)"
            r"(?! (with|for|when|in combination|on the|on your|in your|to your))"
        ),
    ),
    ("Azure", r"deployment for this resource does not exist"),
)
_BAD_KEY: Final = words(
    (
        "OpenAI, xAI, Databricks, Cohere",
        (
            r"\b(incorrect|invalid|wrong|bad|expired|malformed|unknown|revoked)"
            r" (or \w+ )?(x-)?(api[ -_]?(key|token)|(access|bearer) token|auth\w* (token|key|header)|credentials?)\b"
        ),
    ),
    (
        "Google",
        (
            r"\bapi[ _-]?key( \S+)? (is |was |has been |has )?"
            r"(not valid|invalid|incorrect|expired|missing|not found|required|disabled|revoked)"
        ),
    ),
    (
        "OpenAI, Cohere",
        r"(didn'?t|did not) provide an api key|no api[ -]?key (was )?(provided|supplied|passed|found)",
    ),
    ("gateways", r"(missing|a valid) api[ -]?key"),
    ("Google", r"unregistered callers"),
    (
        "gateways",
        (
            r"(missing|no|without) (an )?(authorization|auth|bearer)( header| token)\b"
            r"|authorization header (is |was )?(missing|required)"
        ),
    ),
    ("LiteLLM without a database, for any key but its master key", r"no connected db"),
    ("FastAPI", r"^not authenticated\W*$"),
    (
        "gateways",
        r"^(authentication|authorization) (failed|error|required)\b|^(invalid|expired) token\W*$|^unauthori[sz]ed\b",
    ),
    ("MiniMax, Moonshot", r"^(login fail|invalid authentication)"),
    ("AWS", r"security token included in the request is (invalid|expired)|unable to locate credentials"),
    ("Chinese gateways", r"无效的(令牌|密钥|token|api)|(密钥|令牌|api ?key)(无效|错误|已过期|不正确)"),
    ("a gateway's text", r"\b(invalid_api_key|litellm\.AuthenticationError)\b"),
    ("any access token", r"^(the )?(access |api )?token (provided )?(is |has )?(invalid|expired|been revoked)"),
    ("z.ai's gateway", r"invalid access token"),
)
_BUSY: Final = words(
    ("Anthropic, Moonshot, Gemini", r"\boverloaded\b"),
    (
        "Cloudflare, Groq, Bedrock",
        r"(at|over|no|insufficient) capacity\b|capacity (is )?(temporarily )?(exceeded|reached)",
    ),
    ("Gemini, OpenAI", r"high (demand|traffic|load)\b"),
    ("SiliconFlow, Hugging Face", r"\b(too|currently|very) busy\b"),
    ("NVIDIA, OpenRouter", r"temporarily (unavailable|offline|out of|rate)"),
    (
        "llama.cpp, Hugging Face",
        r"^loading model|model[^\n]{0,60} is (currently )?(loading|starting|warming up|not ready)",
    ),
    ("Envoy, nginx", r"upstream connect error|no healthy upstream|upstream timed? ?out"),
    ("gateways", r"no (available|healthy|free) (server|worker|instance|upstream|provider|slot|replica)s?\b"),
    ("gateways", r"service (is )?(temporarily )?(unavailable|offline)"),
    ("Chinese vendors", r"(系统|服务|服务器)(繁忙|过载|忙)|访问量过大"),
)
_DEGRADED: Final = words(
    ("NVIDIA NIM", r"DEGRADED function cannot be invoked"),
    ("Volcengine Ark", r"endpoint that is currently closed or temporarily unavailable"),
)
# A failure by its status that no try can mend: what was asked cannot be done there.
_NOT_THERE: Final = words(
    ("llama-server", r"(image|audio|video|vision|multimodal|file) (input|inputs|content) (is|are) not supported"),
    (
        "llama-server, Ollama",
        r"does not support (image|audio|vision|video|multimodal|tool|function|embedding|chat|think)|mmproj",
    ),
    ("vLLM", r"is not a multimodal model"),
)
# HTTP's own phrases as the whole text of an answer whose status says nothing.
_PHRASES: Final[tuple[tuple[Kind, str], ...]] = (
    (EndpointForbidden, r"forbidden|access denied|permission denied|request not allowed"),
    (EndpointUnauthenticated, r"unauthori[sz]ed|unauthenticated|not authenticated|missing authentication token"),
    (EndpointNotFound, r"not found|404 not_?found|page not found"),
    (EndpointRateLimited, r"too many requests|limit exceeded"),
    (
        EndpointOverloaded,
        r"service unavailable|bad gateway|gateway time-?out|endpoint request timed out|request timed out",
    ),
    (EndpointRejected, r"bad request|unprocessable (entity|content)|payload too large|request too long"),
    (QuotaExhausted, r"payment required"),
)

MEANINGS: Final[tuple[Meaning, ...]] = (
    Meaning(EndpointNotFound, frozenset({None, EndpointRejected, EndpointError}), _WRONG_ROUTE),
    Meaning(EndpointRejected, frozenset({EndpointNotFound}), _MISSING_PART),
    Meaning(RequestTooLarge, frozenset({None, EndpointRateLimited, EndpointRejected}), LARGER_THAN_A_MINUTE),
    Meaning(EndpointRateLimited, frozenset({QuotaExhausted, EndpointRateLimited}), A_MINUTE_AFTER_ALL),
    Meaning(
        QuotaExhausted,
        _REFUSED | {EndpointRateLimited, EndpointForbidden, EndpointUnauthenticated, EndpointError},
        QUOTA,
        unless=PASSES,
    ),
    Meaning(QuotaExhausted, frozenset({EndpointRateLimited}), words(("Gemini: no quota at all", r"\blimit: 0\b"))),
    Meaning(ContextLengthExceeded, _REFUSED | {EndpointError}, TOO_LONG, unless=A_RATE),
    Meaning(ContentFiltered, _REFUSED | {EndpointForbidden}, _FILTERED),
    Meaning(ContentFiltered, frozenset({EndpointError}), _FILTERED_CODE),
    Meaning(EndpointForbidden, _REFUSED | {EndpointNotFound}, _POLICY),
    Meaning(EndpointForbidden, _REFUSED | {EndpointNotFound, EndpointUnauthenticated}, _NOT_FOR_ACCOUNT),
    Meaning(ModelNotFound, _REFUSED | {EndpointNotFound}, _NO_MODEL),
    Meaning(
        ModelNotFound,
        frozenset({EndpointOverloaded, EndpointForbidden, EndpointError}),
        words(("new-api, one-api", r"no available channels? for model|无可用渠道")),
    ),
    Meaning(EndpointUnauthenticated, _REFUSED | {EndpointForbidden}, _BAD_KEY),
    Meaning(EndpointRateLimited, _REFUSED, LIMITED),
    Meaning(EndpointRateLimited, frozenset({EndpointError}), words(("boto3, quoted", r"\(throttlingexception\)"))),
    Meaning(EndpointOverloaded, frozenset({EndpointRejected}), _DEGRADED),
    Meaning(EndpointOverloaded, _NOTHING, _BUSY),
    Meaning(EndpointRejected, frozenset({EndpointError}), _NOT_THERE),
    *(Meaning(kind, _NOTHING, re.compile(rf"^(\d\d\d )?({phrase})[.!]?$", re.IGNORECASE)) for kind, phrase in _PHRASES),
)
