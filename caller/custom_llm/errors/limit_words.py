"""Words for limits in errors: of an account, of a conversation's length, of a rate. Data only, see `word_table`."""

import re
from typing import Final


def words(*rows: tuple[str, str]) -> re.Pattern[str]:
    """One expression of rows: whose words they are, and the expression."""
    return re.compile("|".join(pattern for _, pattern in rows), re.IGNORECASE)


# Where words of a length or of an account are about a rate, which passes with time.
A_RATE: Final = re.compile(
    r"rate.?limit|too many (concurrent )?requests|throttl|(tokens|requests) per (min|day|sec)|\bTPM\b|\bRPM\b"
    r"|please wait|per.?minute",
    re.IGNORECASE,
)
PASSES: Final = re.compile(rf"{A_RATE.pattern}|(retry|try again) (in|after) \d", re.IGNORECASE)
# One request larger than what a whole minute allows: waiting does not help.
LARGER_THAN_A_MINUTE: Final = words(
    ("Groq, OpenAI", r"request too large\b[^\n]{0,240}?(per min|\bTPM\b)"),
    ("OpenAI, older", r"the input or output tokens must be reduced"),
    ("gateways", r"(single|one) request (exceeds|is larger than)[^\n]{0,80}per min"),
)
QUOTA: Final = words(
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
    ("Google", r"credits? (are|is|have been|has been) (depleted|exhausted|used up)|(spend|spending) cap\b"),
    ("LiteLLM, older", r"exceeded\w{0,12}budget|max budget"),
    ("Cohere", r"(reached|exceeded) [^\n]{0,30}billing limit|trial key[^\n]{0,60}calls ?/ ?month"),
    ("Chinese vendors and gateways", r"余额不足|欠费|额度(已)?(不足|用尽|用完|耗尽)|充值"),
    ("a gateway's text", r"\b(insufficient_(quota|balance|credits|user_quota)|billing_(error|hard_limit_reached))\b"),
)
TOO_LONG: Final = words(
    ("Anthropic", r"prompt is too long|exceed context limit"),
    ("OpenAI, vLLM, SGLang, FastChat, Mistral", r"max(imum)? context (length|size|window)"),
    (
        "OpenAI, llama.cpp, Ollama, Cloudflare",
        r"exceed(s|ed|ing)?\b[^\n.]{0,60}\bcontext[ _-]?(window|length|size|limit)",
    ),
    ("LM Studio, MiniMax", r"context[ _-]?(window|length|size|limit)[^\n.]{0,30}\b(exceed|overflow)"),
    ("LM Studio", r"context length of only \d+ tokens|greater than the context length"),
    (
        "any server's",
        (
            r"\b(prompt|input|context|conversation|messages|sequence)\b[^\n.]{0,30}\b(tokens?|length|count)\b[^\n.]{0,50}"
            r"\b(exceed(s|ed|ing)?|(longer|larger|greater|more) than)\b[^\n.]{0,50}"
            r"\b(max|limit|context|n_ctx|supported|window|tokens)"
        ),
    ),
    (
        "any server's",
        (
            r"\b(length|number|count) of (the |your )?(prompt|input|messages|tokens)\b[^\n.]{0,30}"
            r"\b(exceed(s|ed|ing)?|(longer|larger|greater|more) than)\b"
        ),
    ),
    ("any server's", r"(longer|larger|greater|bigger) than (the |its )?(model'?s )?(max(imum)? )?context"),
    ("any server's", r"exceed[^\n.]{0,40}\b(sequence|input|prompt) (length|limit)|tokens of context\b|> ?n_ctx\b"),
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
        r"上下文(长度)?(过长|超出|超过|超限)|(输入|提示词|请求)(内容|长度|tokens?)?(过长|超长|超出|超过)|超(过|出)(了)?(模型)?的?最大(上下文|长度|输入)",
    ),
    ("a gateway's text", r"ContextWindowExceededError|context_length_exceeded|exceed_context_size_error"),
)
LIMITED: Final = words(
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
# A used-up account, said with the words for a limit that passes within a minute.
A_MINUTE_AFTER_ALL: Final = words(
    ("DashScope (Bailian): only the link says which limit", r"error-code#(token|rate)-limit"),
    (
        "Scaleway, which heads each of its limits INSUFFICIENT QUOTA",
        r"exceeded your current limit of (concurrent requests|(requests|tokens) per minute)",
    ),
)
