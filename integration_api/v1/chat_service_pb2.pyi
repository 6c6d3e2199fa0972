import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from integration_api.v1 import messages_pb2 as _messages_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHECK_STATUS_UNSPECIFIED: _ClassVar[CheckStatus]
    CHECK_STATUS_PASS: _ClassVar[CheckStatus]
    CHECK_STATUS_WARN: _ClassVar[CheckStatus]
    CHECK_STATUS_FAIL: _ClassVar[CheckStatus]
    CHECK_STATUS_SKIP: _ClassVar[CheckStatus]
CHECK_STATUS_UNSPECIFIED: CheckStatus
CHECK_STATUS_PASS: CheckStatus
CHECK_STATUS_WARN: CheckStatus
CHECK_STATUS_FAIL: CheckStatus
CHECK_STATUS_SKIP: CheckStatus

class ChatRequest(_message.Message):
    __slots__ = ("request_id", "provider_id", "credential", "messages", "model_parameters", "tools", "timeouts", "labels", "options", "fallbacks", "model")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    provider_id: str
    credential: _messages_pb2.Credential
    messages: _containers.RepeatedCompositeFieldContainer[_messages_pb2.Message]
    model_parameters: _struct_pb2.Struct
    tools: _containers.RepeatedCompositeFieldContainer[_messages_pb2.ToolDefinition]
    timeouts: Timeouts
    labels: _containers.ScalarMap[str, str]
    options: CallOptions
    fallbacks: _containers.RepeatedCompositeFieldContainer[_messages_pb2.Target]
    model: _messages_pb2.ModelOptions
    def __init__(self, request_id: _Optional[str] = ..., provider_id: _Optional[str] = ..., credential: _Optional[_Union[_messages_pb2.Credential, _Mapping]] = ..., messages: _Optional[_Iterable[_Union[_messages_pb2.Message, _Mapping]]] = ..., model_parameters: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., tools: _Optional[_Iterable[_Union[_messages_pb2.ToolDefinition, _Mapping]]] = ..., timeouts: _Optional[_Union[Timeouts, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., options: _Optional[_Union[CallOptions, _Mapping]] = ..., fallbacks: _Optional[_Iterable[_Union[_messages_pb2.Target, _Mapping]]] = ..., model: _Optional[_Union[_messages_pb2.ModelOptions, _Mapping]] = ...) -> None: ...

class Timeouts(_message.Message):
    __slots__ = ("connect", "first_output", "between_outputs", "total")
    CONNECT_FIELD_NUMBER: _ClassVar[int]
    FIRST_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    BETWEEN_OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    connect: _duration_pb2.Duration
    first_output: _duration_pb2.Duration
    between_outputs: _duration_pb2.Duration
    total: _duration_pb2.Duration
    def __init__(self, connect: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., first_output: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., between_outputs: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., total: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CallOptions(_message.Message):
    __slots__ = ("max_attempts", "parse_think_tags", "hedge_after", "hedge_percentile")
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PARSE_THINK_TAGS_FIELD_NUMBER: _ClassVar[int]
    HEDGE_AFTER_FIELD_NUMBER: _ClassVar[int]
    HEDGE_PERCENTILE_FIELD_NUMBER: _ClassVar[int]
    max_attempts: int
    parse_think_tags: bool
    hedge_after: _duration_pb2.Duration
    hedge_percentile: int
    def __init__(self, max_attempts: _Optional[int] = ..., parse_think_tags: bool = ..., hedge_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., hedge_percentile: _Optional[int] = ...) -> None: ...

class ChatResponse(_message.Message):
    __slots__ = ("request_id", "response_id", "model", "choices", "usage", "timing", "endpoint_request_id", "rate_limits", "provider_fields")
    class RateLimitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMITS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELDS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response_id: str
    model: str
    choices: _containers.RepeatedCompositeFieldContainer[_messages_pb2.Choice]
    usage: _messages_pb2.Usage
    timing: Timing
    endpoint_request_id: str
    rate_limits: _containers.ScalarMap[str, str]
    provider_fields: _struct_pb2.Struct
    def __init__(self, request_id: _Optional[str] = ..., response_id: _Optional[str] = ..., model: _Optional[str] = ..., choices: _Optional[_Iterable[_Union[_messages_pb2.Choice, _Mapping]]] = ..., usage: _Optional[_Union[_messages_pb2.Usage, _Mapping]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., endpoint_request_id: _Optional[str] = ..., rate_limits: _Optional[_Mapping[str, str]] = ..., provider_fields: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("time_to_first_output", "total", "attempts", "attempts_made")
    TIME_TO_FIRST_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_MADE_FIELD_NUMBER: _ClassVar[int]
    time_to_first_output: _duration_pb2.Duration
    total: _duration_pb2.Duration
    attempts: int
    attempts_made: _containers.RepeatedCompositeFieldContainer[_messages_pb2.Attempt]
    def __init__(self, time_to_first_output: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., total: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., attempts: _Optional[int] = ..., attempts_made: _Optional[_Iterable[_Union[_messages_pb2.Attempt, _Mapping]]] = ...) -> None: ...

class StreamChatResponse(_message.Message):
    __slots__ = ("started", "text_delta", "reasoning_delta", "tool_call_delta", "refusal_delta", "completed")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    TEXT_DELTA_FIELD_NUMBER: _ClassVar[int]
    REASONING_DELTA_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_DELTA_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_DELTA_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    started: Started
    text_delta: TextDelta
    reasoning_delta: ReasoningDelta
    tool_call_delta: ToolCallDelta
    refusal_delta: RefusalDelta
    completed: ChatResponse
    def __init__(self, started: _Optional[_Union[Started, _Mapping]] = ..., text_delta: _Optional[_Union[TextDelta, _Mapping]] = ..., reasoning_delta: _Optional[_Union[ReasoningDelta, _Mapping]] = ..., tool_call_delta: _Optional[_Union[ToolCallDelta, _Mapping]] = ..., refusal_delta: _Optional[_Union[RefusalDelta, _Mapping]] = ..., completed: _Optional[_Union[ChatResponse, _Mapping]] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("request_id", "response_id", "model", "target")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response_id: str
    model: str
    target: int
    def __init__(self, request_id: _Optional[str] = ..., response_id: _Optional[str] = ..., model: _Optional[str] = ..., target: _Optional[int] = ...) -> None: ...

class TextDelta(_message.Message):
    __slots__ = ("text", "choice_index", "logprobs")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CHOICE_INDEX_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    text: str
    choice_index: int
    logprobs: _containers.RepeatedCompositeFieldContainer[_messages_pb2.TokenLogprob]
    def __init__(self, text: _Optional[str] = ..., choice_index: _Optional[int] = ..., logprobs: _Optional[_Iterable[_Union[_messages_pb2.TokenLogprob, _Mapping]]] = ...) -> None: ...

class ReasoningDelta(_message.Message):
    __slots__ = ("text", "choice_index")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CHOICE_INDEX_FIELD_NUMBER: _ClassVar[int]
    text: str
    choice_index: int
    def __init__(self, text: _Optional[str] = ..., choice_index: _Optional[int] = ...) -> None: ...

class RefusalDelta(_message.Message):
    __slots__ = ("text", "choice_index")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CHOICE_INDEX_FIELD_NUMBER: _ClassVar[int]
    text: str
    choice_index: int
    def __init__(self, text: _Optional[str] = ..., choice_index: _Optional[int] = ...) -> None: ...

class ToolCallDelta(_message.Message):
    __slots__ = ("index", "id", "name", "arguments_fragment", "choice_index")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FRAGMENT_FIELD_NUMBER: _ClassVar[int]
    CHOICE_INDEX_FIELD_NUMBER: _ClassVar[int]
    index: int
    id: str
    name: str
    arguments_fragment: str
    choice_index: int
    def __init__(self, index: _Optional[int] = ..., id: _Optional[str] = ..., name: _Optional[str] = ..., arguments_fragment: _Optional[str] = ..., choice_index: _Optional[int] = ...) -> None: ...

class VerifyCredentialRequest(_message.Message):
    __slots__ = ("provider_id", "credential", "model", "checks")
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    provider_id: str
    credential: _messages_pb2.Credential
    model: str
    checks: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, provider_id: _Optional[str] = ..., credential: _Optional[_Union[_messages_pb2.Credential, _Mapping]] = ..., model: _Optional[str] = ..., checks: _Optional[_Iterable[str]] = ...) -> None: ...

class VerifyCredentialResponse(_message.Message):
    __slots__ = ("ok", "checks", "compatibility", "endpoint_url")
    OK_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    COMPATIBILITY_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_URL_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    checks: _containers.RepeatedCompositeFieldContainer[Check]
    compatibility: str
    endpoint_url: str
    def __init__(self, ok: bool = ..., checks: _Optional[_Iterable[_Union[Check, _Mapping]]] = ..., compatibility: _Optional[str] = ..., endpoint_url: _Optional[str] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("id", "status", "observed", "remedy", "took")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    TOOK_FIELD_NUMBER: _ClassVar[int]
    id: str
    status: CheckStatus
    observed: str
    remedy: str
    took: _duration_pb2.Duration
    def __init__(self, id: _Optional[str] = ..., status: _Optional[_Union[CheckStatus, str]] = ..., observed: _Optional[str] = ..., remedy: _Optional[str] = ..., took: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("provider_id", "credential")
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    provider_id: str
    credential: _messages_pb2.Credential
    def __init__(self, provider_id: _Optional[str] = ..., credential: _Optional[_Union[_messages_pb2.Credential, _Mapping]] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("id", "owned_by", "provider_fields")
    ID_FIELD_NUMBER: _ClassVar[int]
    OWNED_BY_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    owned_by: str
    provider_fields: _struct_pb2.Struct
    def __init__(self, id: _Optional[str] = ..., owned_by: _Optional[str] = ..., provider_fields: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ListProvidersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListProvidersResponse(_message.Message):
    __slots__ = ("providers",)
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[Provider]
    def __init__(self, providers: _Optional[_Iterable[_Union[Provider, _Mapping]]] = ...) -> None: ...

class Provider(_message.Message):
    __slots__ = ("id", "base_url", "compatibility", "documentation_url")
    ID_FIELD_NUMBER: _ClassVar[int]
    BASE_URL_FIELD_NUMBER: _ClassVar[int]
    COMPATIBILITY_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTATION_URL_FIELD_NUMBER: _ClassVar[int]
    id: str
    base_url: str
    compatibility: str
    documentation_url: str
    def __init__(self, id: _Optional[str] = ..., base_url: _Optional[str] = ..., compatibility: _Optional[str] = ..., documentation_url: _Optional[str] = ...) -> None: ...

class PrewarmRequest(_message.Message):
    __slots__ = ("targets", "connections")
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    targets: _containers.RepeatedCompositeFieldContainer[_messages_pb2.Target]
    connections: int
    def __init__(self, targets: _Optional[_Iterable[_Union[_messages_pb2.Target, _Mapping]]] = ..., connections: _Optional[int] = ...) -> None: ...

class PrewarmResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[PrewarmResult]
    def __init__(self, results: _Optional[_Iterable[_Union[PrewarmResult, _Mapping]]] = ...) -> None: ...

class PrewarmResult(_message.Message):
    __slots__ = ("target", "ok", "reason", "message", "resolve", "connect", "tls")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RESOLVE_FIELD_NUMBER: _ClassVar[int]
    CONNECT_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    target: int
    ok: bool
    reason: str
    message: str
    resolve: _duration_pb2.Duration
    connect: _duration_pb2.Duration
    tls: _duration_pb2.Duration
    def __init__(self, target: _Optional[int] = ..., ok: bool = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., resolve: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., connect: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., tls: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
