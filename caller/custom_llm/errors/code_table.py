"""Codes, types and reasons that endpoints put into errors, and which of our errors each one means. Data only.

A row is the source and its words; a code is compared without case, marks and the endings `Error` and `Exception`, so
that `rate_limit_error`, `RateLimitError` and `RATE-LIMIT` are one word. Numbers mean something only together with the
form of the body that they stand in: `error_body` makes words like `base_resp 1008` of them.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from caller.errors import (
    CallerError,
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
)

Kind: TypeAlias = type[CallerError]

# Words that `error_body` makes out of structure; no endpoint sends them like this.
QUOTA_PER_DAY: Final = "quota violation per day"
QUOTA_PER_MINUTE: Final = "quota violation per minute"
FLAGGED_INPUT: Final = "input flagged by moderation"
MINIMAX: Final = "base_resp "
ZHIPU: Final = "error with a four-digit code "
SILICONFLOW: Final = "code beside data "

_NOT_IN_A_KEY: Final = re.compile(r"[^a-z0-9]")


def key_of(word: str) -> str:
    """The word as it is compared."""
    return _NOT_IN_A_KEY.sub("", word.lower()).removesuffix("exception").removesuffix("error")


_Rows: TypeAlias = Mapping[Kind, tuple[tuple[str, str], ...]]


def _table(rows: _Rows) -> dict[str, Kind]:
    return {key_of(word): kind for kind, sources in rows.items() for _, words in sources for word in words.split()}


def _numbers(prefix: str, rows: Mapping[Kind, str]) -> dict[str, Kind]:
    return {key_of(prefix + number): kind for kind, numbers in rows.items() for number in numbers.split()}


# They mean one thing only and beat every status.
DECISIVE: Final[Mapping[str, Kind]] = {
    **_table(
        {
            ModelNotFound: (
                ("OpenAI", "model_not_found model_deprecated"),
                ("Azure", "DeploymentNotFound"),
                ("GitHub Models, Azure AI Foundry", "unknown_model unavailable_model"),
                ("Mistral, ZenMux", "invalid_model model_not_available"),
                ("Groq", "model_decommissioned model_deactivated"),
                ("Hugging Face's router, GitHub Copilot", "model_not_supported"),
                ("DashScope", "ModelNotExist model_not_exist"),
                ("Volcengine Ark", "InvalidEndpointOrModel.NotFound InvalidEndpoint.NotFound ModelNotOpen"),
                ("vLLM, TGI gateways", "model_not_found_error"),
                ("FastChat", "40301"),
            ),
            ContextLengthExceeded: (
                ("OpenAI", "context_length_exceeded"),
                ("LiteLLM", "context_window_exceeded ContextWindowExceededError"),
                ("llama.cpp", "exceed_context_size_error"),
                ("Anthropic", "model_context_window_exceeded"),
                ("GitHub Models", "tokens_limit_reached"),
                ("gateways", "context_length_error prompt_too_long input_too_long"),
                ("FastChat", "40303"),
            ),
            ContentFiltered: (
                ("Azure", "content_filter content_filtered ResponsibleAIPolicyViolation content_filter_policy"),
                ("OpenAI", "content_policy_violation image_content_policy_violation moderation_blocked"),
                ("OpenAI", "cyber_policy_violation"),
                ("LiteLLM", "ContentPolicyViolationError guardrail_violation"),
                ("DashScope", "data_inspection_failed DataInspectionFailed"),
                ("ZenMux", "safety_check_failed"),
                ("Portkey", "hooks_failed"),
                ("Gemini, through others", "PROHIBITED_CONTENT"),
                ("Huawei ModelArts", "ModelArts.81011"),
            ),
            QuotaExhausted: (
                ("OpenAI", "insufficient_quota billing_hard_limit_reached billing_not_active quota_exceeded"),
                ("Anthropic", "billing_error"),
                ("Moonshot", "exceeded_current_quota_error"),
                ("DashScope", "Arrearage AllocationQuota.FreeTierOnly PrepaidBillOverdue PostpaidBillOverdue"),
                ("DashScope", "CommodityNotPurchased UserArrears"),
                ("Volcengine Ark", "AccountOverdueError SetLimitExceeded"),
                ("OpenCode Zen", "CreditsError"),
                ("Venice", "INSUFFICIENT_BALANCE API_KEY_USD_SPEND_LIMIT_EXCEEDED API_KEY_DIEM_SPEND_LIMIT_EXCEEDED"),
                ("Novita", "NOT_ENOUGH_BALANCE"),
                ("ZenMux", "insufficient_credit reject_no_credit quote_exceeded"),
                ("new-api", "insufficient_user_quota pre_consume_token_quota_failed"),
                ("LiteLLM", "budget_exceeded BudgetExceededError ExceededBudget"),
                ("Google", "BILLING_DISABLED"),
                ("Huawei ModelArts", "ModelArts.81005"),
                ("gateways", "insufficient_credits insufficient_funds payment_required usage_limit_exceeded"),
                ("gateways", "credits_exhausted credit_limit_exceeded spend_limit_exceeded out_of_credits"),
                ("FastChat", "42902"),
            ),
            EndpointUnauthenticated: (
                ("OpenAI", "invalid_api_key"),
                ("Moonshot", "incorrect_api_key_error invalid_authentication_error"),
                ("Cerebras", "wrong_api_key"),
                ("Google", "api_key_invalid ACCESS_TOKEN_EXPIRED"),
                ("LiteLLM", "no_db_connection token_not_found_in_db expired_key"),
                ("AWS", "UnrecognizedClientException InvalidSignatureException ExpiredTokenException"),
                ("gateways", "incorrect_api_key expired_api_key missing_api_key api_key_expired api_key_not_found"),
                ("FastChat", "40101 40102"),
            ),
            EndpointRateLimited: (
                ("OpenAI, Groq", "rate_limit_exceeded"),
                ("DashScope", "Throttling Throttling.RateQuota Throttling.AllocationQuota Throttling.BurstRate"),
                ("DashScope", "LimitRequests limit_requests limit_burst_rate"),
                ("Cerebras", "token_quota_exceeded request_quota_exceeded token_quota_reached"),
                ("Databricks", "REQUEST_LIMIT_EXCEEDED"),
                ("FastChat", "42901"),
            ),
            EndpointForbidden: (
                ("OpenAI", "unsupported_country_region_territory account_deactivated"),
                ("OpenCode Zen", "RegionError"),
                ("Groq", "organization_restricted blocked_api_access model_permission_blocked_org"),
                ("Groq", "model_permission_blocked_project model_terms_required"),
                ("Venice", "PRO_ONLY_MODEL"),
                ("LiteLLM", "key_model_access_denied team_model_access_denied"),
                ("Google", "SERVICE_DISABLED API_KEY_SERVICE_BLOCKED API_KEY_HTTP_REFERRER_BLOCKED"),
                ("Google", "API_KEY_IP_ADDRESS_BLOCKED CONSUMER_SUSPENDED"),
                ("FastChat", "40103"),
            ),
            EndpointOverloaded: (
                ("DeepSeek", "insufficient_system_resource"),
                ("Volcengine Ark", "ServerOverloaded ServerOverloadedError"),
                ("Groq", "capacity_exceeded over_capacity"),
                ("OpenAI", "slow_down server_is_overloaded resource_unavailable"),
                ("Bedrock", "ModelNotReadyException ModelTimeoutException"),
                ("ZenMux", "no_provider_available"),
                ("Hugging Face", "model_loading"),
                ("FastChat", "42903"),
            ),
            EndpointRejected: (
                ("OpenAI Responses", "previous_response_not_found"),
                ("FastChat", "40001 40302"),
            ),
            EndpointError: (("FastChat", "50001 50002 50003 50004 50005 50006"),),
        }
    ),
    key_of(QUOTA_PER_DAY): QuotaExhausted,
    key_of(QUOTA_PER_MINUTE): EndpointRateLimited,
    key_of(FLAGGED_INPUT): ContentFiltered,
    # MiniMax, error codes of its API reference.
    **_numbers(
        MINIMAX,
        {
            EndpointError: "1000 1024 1033",
            EndpointOverloaded: "1001",  # timeout
            EndpointRateLimited: "1002 1039 1041 2045",
            EndpointUnauthenticated: "1004 2049",
            QuotaExhausted: "1008 2056",
            ContentFiltered: "1026 1027",  # input, output
            EndpointRejected: "1042 2013 20132",
            EndpointForbidden: "2061",  # not in the plan
        },
    ),
    # Zhipu (GLM, Z.AI), business codes of its API reference: texts of four digits inside `error`.
    **_numbers(
        ZHIPU,
        {
            EndpointUnauthenticated: "1000 1001 1002 1003 1004",
            EndpointForbidden: "1110 1111 1112 1121 1220 1311",
            QuotaExhausted: "1113 1304 1308 1309 1310",
            ModelNotFound: "1211",
            ContextLengthExceeded: "1261",
            ContentFiltered: "1300 1301",
            EndpointRateLimited: "1302 1303 1305 1313",
            EndpointOverloaded: "1120 1234 1312",
        },
    ),
    # SiliconFlow: `{"code", "message", "data"}`.
    **_numbers(SILICONFLOW, {ModelNotFound: "20012", QuotaExhausted: "30001", EndpointForbidden: "30003"}),
}

# Beginnings and ends of codes that vendors make endless variants of; beside DECISIVE, and as decisive.
DECISIVE_PARTS: Final[tuple[tuple[str, Kind], ...]] = (
    ("sensitivecontentdetected", ContentFiltered),  # Volcengine Ark: SensitiveContentDetected.SevereViolation, …
    ("riskdetection", ContentFiltered),  # Volcengine Ark: InputTextRiskDetection, OutputImageRiskDetection
    ("ratelimitexceeded", EndpointRateLimited),  # Volcengine Ark: RateLimitExceeded.EndpointTPMExceeded
    ("spendlimitexceeded", QuotaExhausted),  # Venice
)

# They say more than a vague status, and no more than any other.
TELLING: Final[Mapping[str, Kind]] = _table(
    {
        EndpointUnauthenticated: (
            ("Anthropic, Cohere, Volcengine", "authentication_error unauthorized unauthenticated"),
            ("LiteLLM", "auth_error"),
            ("gateways", "invalid_token"),
        ),
        EndpointForbidden: (
            ("Anthropic, Google", "permission_error permission_denied"),
            ("AWS, DashScope", "forbidden access_denied AccessDenied.Unpurchased"),
            ("OpenAI", "request_forbidden"),
        ),
        EndpointRateLimited: (
            ("Anthropic", "rate_limit_error"),
            ("Moonshot", "rate_limit_reached_error"),
            ("vLLM", "too_many_requests TooManyRequestsError"),
            ("AWS", "throttling_error throttled LimitExceededException ServiceQuotaExceededException"),
            ("ZenMux", "rate_limit"),
        ),
        EndpointOverloaded: (
            ("Anthropic, Hugging Face", "overloaded_error overloaded"),
            ("Moonshot", "engine_overloaded"),
            ("llama.cpp", "unavailable_error"),
            ("AWS, Google", "service_unavailable unavailable temporarily_unavailable"),
            ("gateways", "timeout_error request_timeout gateway_timeout deadline_exceeded"),
        ),
    }
)

# They say no more than a status; read only where there is none.
GENERIC: Final[Mapping[str, Kind]] = _table(
    {
        EndpointRejected: (
            ("OpenAI", "invalid_request_error"),
            ("vLLM, SGLang", "BadRequestError UnprocessableEntityError"),
            ("Google", "INVALID_ARGUMENT FAILED_PRECONDITION OUT_OF_RANGE"),
            ("Databricks, TGI, Anthropic", "BAD_REQUEST validation_error ValidationException request_too_large"),
            ("DashScope", "InvalidParameter"),
        ),
        EndpointNotFound: (("Anthropic, Google", "not_found_error not_found ResourceNotFoundException"),),
        EndpointRateLimited: (("Google", "resource_exhausted"),),
        EndpointPrecondition: (
            (
                "Anthropic, llama.cpp, vLLM, Google",
                "conflict_error not_supported_error NotImplementedError UNIMPLEMENTED",
            ),
        ),
        EndpointError: (
            ("Anthropic, OpenAI", "api_error server_error internal_server_error internal_error"),
            ("TGI", "generation incomplete_generation"),
        ),
    }
)

# Parts of codes that nobody has listed yet; read only where nothing else says anything.
PARTS: Final[tuple[tuple[str, Kind], ...]] = (
    ("throttl", EndpointRateLimited),
    ("ratelimit", EndpointRateLimited),
    ("toomanyrequest", EndpointRateLimited),
    ("quota", QuotaExhausted),
    ("balance", QuotaExhausted),
    ("billing", QuotaExhausted),
    ("contextlength", ContextLengthExceeded),
    ("contextwindow", ContextLengthExceeded),
    ("contentfilter", ContentFiltered),
    ("contentpolicy", ContentFiltered),
    ("apikey", EndpointUnauthenticated),
    ("authenticat", EndpointUnauthenticated),
    ("unauthori", EndpointUnauthenticated),
    ("permission", EndpointForbidden),
    ("forbidden", EndpointForbidden),
    ("accessdenied", EndpointForbidden),
    ("modelnotfound", ModelNotFound),
    ("notfound", EndpointNotFound),
    ("overload", EndpointOverloaded),
    ("unavailable", EndpointOverloaded),
    ("timeout", EndpointOverloaded),
    ("invalid", EndpointRejected),
    ("badrequest", EndpointRejected),
)
