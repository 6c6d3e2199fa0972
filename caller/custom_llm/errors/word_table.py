"""What endpoints say in plain words where they have no code for it, or a code that says less. Data only.

A meaning is one of our errors, the errors that its words may stand for (what code and status said so far; None where
they said nothing), and the words, each with its source. A word that is not listed for an error changes nothing: a 401
that mentions a model stays a 401. The first meaning that fits wins, so the narrower ones stand first.

Every expression is linear: gaps are bounded, and no repetition is inside of another.
"""

import re
from typing import Final, NamedTuple

from caller.custom_llm.errors.code_table import Kind
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


_Rows = tuple[tuple[str, str], ...]


def _words(*rows: tuple[str, str]) -> re.Pattern[str]:
    return re.compile("|".join(pattern for _, pattern in rows), re.IGNORECASE)


_NOTHING: Final = frozenset[Kind | None]({None})
_REFUSED: Final = frozenset[Kind | None]({None, EndpointRejected, EndpointPrecondition})

# Where words of a length or of an account are about a rate, which passes with time.
_A_RATE: Final = re.compile(
    r"rate.?limit|too many (concurrent )?requests|throttl|(tokens|requests) per (min|day|sec)|\bTPM\b|\bRPM\b"
    r"|please wait|per.?minute",
    re.IGNORECASE,
)
_PASSES: Final = re.compile(rf"{_A_RATE.pattern}|(retry|try again) (in|after) \d", re.IGNORECASE)

_WRONG_ROUTE: Final = _words(
    ("LM Studio, with any status", r"^Unexpected endpoint or method"),
    ("OpenAI", r"^(Invalid URL|Unrecognized request URL) \("),
    ("Express", r"^Cannot (POST|GET) /"),
    ("Go's mux", r"^404 page not found"),
    ("Kong", r"^no Route matched"),
)
# The URL is right: something that the request names is gone.
_MISSING_PART: Final = _words(
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
# One request larger than what a whole minute allows: waiting does not help.
_LARGER_THAN_A_MINUTE: Final = _words(
    ("Groq, OpenAI", r"request too large\b[^\n]{0,240}?(per min|\bTPM\b)"),
    ("OpenAI, older", r"the input or output tokens must be reduced"),
    ("gateways", r"(single|one) request (exceeds|is larger than)[^\n]{0,80}per min"),
)
_QUOTA: Final = _words(
    ("Anthropic", r"credit balance is too low|(reached|exceeded) your specified API usage limits"),
    ("DeepSeek, Zhipu, SiliconFlow", r"insufficient (account |user |usd )?(balance|credits?|funds|quota)\b"),
    ("SiliconFlow, Novita", r"balance (is |was )?(insufficient|not enough|too low|exhausted|depleted|negative)"),
    ("Hugging Face", r"(exceeded|used up|exhausted|depleted) your (monthly )?(included )?(credits|free)"),
    ("xAI, Cerebras", r"(no|any|more|enough|out of|sufficient|available|remaining) (usable )?credits\b"),
    ("xAI, Together, Fireworks", r"(spend|spending|billing|budget|credit|payment) (hard )?(limit|cap)\b"),
    ("OpenRouter", r"key limit exceeded|requires? (more|at least)[^\n]{0,30} credits|can only afford"),
    ("OpenAI, Gemini", r"exceeded your current quota"),
    (
        "Kimi, Z.AI, ChatGPT",
        r"usage limit (has been |was )?(reached|exceeded)|(reached|exceeded|hit) (your|the)[^\n]{0,20} usage limit",
    ),
    ("LiteLLM", r"budget has been exceeded|exceeded budget|over (its |their |the )?budget"),
    (
        "DashScope, ModelArts",
        r"free (allocated |tier )?(quota|credits?|tier|trial)\b[^\n]{0,30}(exceeded|exhausted|used up|expired|ended)",
    ),
    ("DashScope", r"account is in good standing|overdue[- ](payment|balance|bill)|\barrears\b"),
    (
        "gateways",
        r"exceeded (your |the )?(daily |weekly |monthly )(quota|budget|credits|limit)|credits? (is|are) not enough",
    ),
    ("Volcengine Ark", r"has an? overdue"),
    ("Fireworks, Moonshot", r"suspended[^\n]{0,100}(billing|spending|invoice|payment|balance)"),
    ("Zhipu", r"please (recharge|top[- ]?up)\b|no resource package"),
    (
        "new-api, one-api",
        r"quota is not enough|pre-?consume[^\n]{0,20}quota|(user|token|account) quota (is )?(exhausted|exceeded)",
    ),
    (
        "Vercel, Cerebras",
        r"(requires?|add|missing|valid) (a )?(valid )?(credit card|payment method)|payment (is )?required",
    ),
    ("Google", r"requires billing to be enabled|billing account[^\n]{0,40}(disabled|closed)"),
    ("Cohere", r"(reached|exceeded) [^\n]{0,30}billing limit|trial key[^\n]{0,60}calls ?/ ?month"),
    ("Chinese vendors and gateways", r"余额不足|欠费|额度(已)?(不足|用尽|用完|耗尽)|充值"),
    ("a gateway's text", r"\b(insufficient_(quota|balance|credits|user_quota)|billing_(error|hard_limit_reached))\b"),
)
_TOO_LONG: Final = _words(
    ("Anthropic", r"prompt is too long|exceed context limit"),
    ("OpenAI, vLLM, SGLang, FastChat, Mistral", r"max(imum)? context (length|size|window)"),
    (
        "OpenAI, llama.cpp, Ollama, Cloudflare",
        r"exceed(s|ed|ing)?\b[^\n.]{0,60}\bcontext[ _-]?(window|length|size|limit)",
    ),
    ("LM Studio, MiniMax", r"context[ _-]?(window|length|size|limit)[^\n.]{0,30}\b(exceed|overflow)"),
    ("LM Studio", r"context length of only \d+ tokens|greater than the context length"),
    ("gateways", r"context (window|length|size) is [^\n]{1,30}?,? (but )?(you|the request) (requested|has)"),
    ("vLLM", r"longer than the maximum model length|max_model_len"),
    (
        "vLLM, SGLang: what is left of the context is computed, and negative",
        (
            r"max(imum)?[_ ](new[_ ]|completion[_ ]|output[_ ])?tokens?\b[`'\"]?"
            r"([^\n]{0,80}?\b(got|given|received|value|input|is|was|but))?[\s=:(,`'\"]{1,4}-(?!1\b)\d"
        ),
    ),
    ("Gemini", r"input token count[^\n]{0,80}?exceeds the maximum"),
    ("Vertex AI", r"input token count is \d+ but model only supports"),
    ("xAI", r"maximum prompt length is"),
    ("Groq, OpenAI", r"reduce the length of (the|your) (messages|input|prompt)"),
    ("Together, SGLang", r"longer than the model'?s context|less than the (model'?s )?context length"),
    ("Kimi", r"exceeded model token limit"),
    ("Copilot", r"token count[^\n]{0,60}?exceeds the limit of \d"),
    (
        "Bedrock, Databricks, Moonshot",
        (
            r"(?<!image )(?<!audio )(?<!video )(?<!file )\b(input|prompt|context|conversation|messages)"
            r"( text| tokens?| token length| length)? (is |are )?too (long|large|many)\b"
        ),
    ),
    ("Bedrock", r"too many input tokens|expected maxLength: \d+|input tokens exceeded|number of input tokens exceeds"),
    ("Bedrock's OpenAI route", r"prompt tokens \(\d+\) exceed"),
    ("Poolside, SGLang", r"maximum allowed (input )?length"),
    ("TGI", r"tokens \+ `?max_new_tokens`? must be <=|`?inputs`? must have less than \d+ tokens"),
    ("DashScope", r"range of input length should be"),
    ("Volcengine Ark", r"exceed(s)? max message tokens"),
    ("Z.AI", r"tokens in request more than max tokens allowed|prompt exceeds max length"),
    ("OpenAI", r"tokens exceed the configured limit|(messages\[\d+\]\.content|'input)[^\n]{0,60}string too long"),
    ("Cerebras", r"current length is \d+ while limit is \d+"),
    ("Cohere, AI21", r"too many tokens|total (number of )?tokens exceed|total number of tokens"),
    ("watsonx, Yandex", r"number of input tokens[^\n]{0,40}?(cannot exceed|must be no more than)"),
    ("Snowflake Cortex", r"max tokens of \d+ exceeded"),
    ("SiliconFlow", r"prompt_tokens[^\n]{0,40}?must be less than"),
    ("Baidu Qianfan", r"max input (characters|chars|tokens?)\b"),
    ("llama.cpp, older", r"larger than the (max )?context|too big compared to KV size|context shift is disabled"),
    (
        "Zhipu, Tencent and others",
        (
            r"\b(prompt|input|messages|context)( token(s| count)?| length| size)? exceed(s|ed)?"
            r" (the )?(model'?s )?(max|limit|allowed)[^\n]{0,30}?(length|tokens|limit)"
        ),
    ),
    ("GitHub Models", r"request body too large[^\n]{0,80}?max size: \d+ tokens"),
    (
        "Chinese vendors",
        r"上下文(长度)?(过长|超出|超过|超限)|(输入|提示词|请求)(内容|长度|tokens?)?(过长|超长|超出|超过)|超(过|出)(了)?(模型)?最大(上下文|长度|输入)",
    ),
    ("a gateway's text", r"ContextWindowExceededError|context_length_exceeded|exceed_context_size_error"),
)
_FILTERED: Final = _words(
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
    ("Bedrock", r"blocked by (our|the|a) (content filters?|guardrails?)|guardrail_intervened"),
    ("LiteLLM, Portkey", r"violated [^\n]{0,20}guardrail|guardrail[^\n]{0,60}(failed|violat|blocked|intervened)"),
    ("Cloudflare AI Gateway", r"(prompt|response) blocked due to security"),
    (
        "OpenRouter, Venice",
        r"(violat\w{1,8}|blocked|rejected|flagged|against)[^\n]{0,60}(content polic|moderation|safety (polic|filter))",
    ),
    ("Chinese vendors", r"敏感(内容|信息|词)|内容(安全|审核|违规)|违规内容"),
)
# Codes that a gateway repeats in its text, with a status of its own.
_FILTERED_CODE: Final = _words(
    (
        "Azure, in a gateway's text",
        r"ResponsibleAIPolicyViolation|ContentPolicyViolationError|content_policy_violation",
    ),
)
_POLICY: Final = _words(
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
_NO_MODEL: Final = _words(
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
    ("NVIDIA NIM", r"function '[^'\n]{0,60}': not found for account"),
    ("LM Studio", r"no models? (is |are )?(currently )?loaded"),
    ("Groq", r"has been decommissioned"),
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
_BAD_KEY: Final = _words(
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
    ("any access token", r"^(the )?(access )?token (is |has )?(invalid|expired|been revoked)"),
    ("z.ai's gateway", r"invalid access token"),
)
_LIMITED: Final = _words(
    ("most", r"rate.?limit (was |has been |is )?(reached|exceeded|hit)|rate.?limited"),
    ("OpenAI, Anthropic", r"(reached|exceeded|exceeds?|hit)[^\n]{0,60}rate.?limit"),
    ("Bedrock", r"too many (concurrent )?requests|too many tokens, please wait"),
    (
        "Replicate, AWS, DashScope",
        r"request (was |has been )?throttled|requests? throttling|rate exceeded|throttlingexception",
    ),
    ("Together, Fireworks, Z.AI", r"concurren(cy|t requests?) limit"),
    ("Apigee", r"spike arrest"),
    ("Chinese vendors", r"请求(过于频繁|频率过高|过多)|并发(数)?(过高|超限|超过)|限流"),
)
_BUSY: Final = _words(
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
_DEGRADED: Final = _words(
    ("NVIDIA NIM", r"DEGRADED function cannot be invoked"),
    ("Volcengine Ark", r"endpoint that is currently closed or temporarily unavailable"),
)
# A failure by its status that no try can mend: what was asked cannot be done there.
_NOT_THERE: Final = _words(
    ("llama-server", r"(image|audio|video|vision|multimodal|file) (input|inputs|content) (is|are) not supported"),
    (
        "llama-server, Ollama",
        r"does not support (image|audio|vision|video|multimodal|tool|function|embedding|chat|think)|mmproj",
    ),
    ("vLLM", r"is not a multimodal model"),
)
# A used-up account, said with the words for a limit that passes within a minute.
_A_MINUTE_AFTER_ALL: Final = _words(
    ("DashScope (Bailian): only the link says which limit", r"error-code#(token|rate)-limit"),
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
    Meaning(RequestTooLarge, frozenset({None, EndpointRateLimited, EndpointRejected}), _LARGER_THAN_A_MINUTE),
    Meaning(EndpointRateLimited, frozenset({QuotaExhausted}), _A_MINUTE_AFTER_ALL),
    Meaning(
        QuotaExhausted,
        _REFUSED | {EndpointRateLimited, EndpointForbidden, EndpointUnauthenticated, EndpointError},
        _QUOTA,
        unless=_PASSES,
    ),
    Meaning(QuotaExhausted, frozenset({EndpointRateLimited}), _words(("Gemini: no quota at all", r"\blimit: 0\b"))),
    Meaning(ContextLengthExceeded, _REFUSED | {EndpointError}, _TOO_LONG, unless=_A_RATE),
    Meaning(ContentFiltered, _REFUSED | {EndpointForbidden}, _FILTERED),
    Meaning(ContentFiltered, frozenset({EndpointError}), _FILTERED_CODE),
    Meaning(EndpointForbidden, _REFUSED | {EndpointNotFound}, _POLICY),
    Meaning(ModelNotFound, _REFUSED | {EndpointNotFound}, _NO_MODEL),
    Meaning(
        ModelNotFound,
        frozenset({EndpointOverloaded, EndpointForbidden, EndpointError}),
        _words(("new-api, one-api", r"no available channels? for model|无可用渠道")),
    ),
    Meaning(EndpointUnauthenticated, _REFUSED | {EndpointForbidden}, _BAD_KEY),
    Meaning(EndpointRateLimited, _REFUSED, _LIMITED),
    Meaning(EndpointOverloaded, frozenset({EndpointRejected}), _DEGRADED),
    Meaning(EndpointOverloaded, _NOTHING, _BUSY),
    Meaning(EndpointRejected, frozenset({EndpointError}), _NOT_THERE),
    *(Meaning(kind, _NOTHING, re.compile(rf"^(\d\d\d )?({phrase})[.!]?$", re.IGNORECASE)) for kind, phrase in _PHRASES),
)
