"""What the codecs of both faces and the details of errors share. Pure."""

from google.protobuf import duration_pb2

from caller.events import Usage, UsageSource
from integration_api.v1 import messages_pb2 as msg

_SOURCES = {
    UsageSource.REPORTED: msg.USAGE_SOURCE_REPORTED,
    UsageSource.PARTIAL: msg.USAGE_SOURCE_PARTIAL,
    UsageSource.UNAVAILABLE: msg.USAGE_SOURCE_UNAVAILABLE,
}


def usage(counts: Usage) -> msg.Usage:
    """Token counts; what is not reported stays unset."""
    return msg.Usage(
        input_tokens=counts.input,
        output_tokens=counts.output,
        total_tokens=counts.total,
        cached_input_tokens=counts.cached_input,
        cache_creation_input_tokens=counts.cache_creation_input,
        reasoning_tokens=counts.reasoning,
        source=_SOURCES[counts.source],
    )


def seconds(value: float) -> duration_pb2.Duration:
    """Seconds as a Duration, in whole microseconds."""
    micros = max(0, round(value * 1_000_000))
    return duration_pb2.Duration(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)
