"""What the metrics show of the process beside its calls: numbers that guard, admission, transport and caller count."""

from caller.custom_llm.caller import CustomLLMCaller
from caller.custom_llm.http.transport import Transport
from caller.history import TargetHistory
from integration_api.calls.admission import Admission
from integration_api.rpc.guard import Guard
from integration_api.telemetry.metrics import Reading


def of_clients(guard: Guard, admission: Admission) -> tuple[Reading, ...]:
    """What clients have running, open and waiting."""
    return (
        Reading("integration_api_running_calls", "Calls and turns that run.", "gauge", lambda: {"": guard.running}),
        Reading("integration_api_open_streams", "Open streams.", "gauge", lambda: {"": guard.open_streams}),
        Reading("integration_api_queued_calls", "Calls that wait for a slot.", "gauge", lambda: {"": admission.queued}),
        Reading(
            "integration_api_unread_bytes", "Answers that wait for clients.", "gauge", lambda: {"": guard.unread_bytes}
        ),
    )


def of_endpoints(transport: Transport, custom_llm: CustomLLMCaller, history: TargetHistory) -> tuple[Reading, ...]:
    """What is known of endpoints, and how they are reached."""
    counts = transport.counts
    return (
        Reading(
            "integration_api_demands_learned",
            "What rejections taught of endpoints.",
            "counter",
            lambda: {"": custom_llm.demands_learned},
        ),
        Reading(
            "integration_api_open_breakers",
            "Targets that are passed over while another one is left.",
            "gauge",
            history.breaker.open_by_endpoint,
            label="endpoint",
        ),
        Reading(
            "integration_api_hedges",
            "Targets that were asked beside others.",
            "counter",
            lambda: {"asked": history.hedges, "won": history.won, "refused": history.refused},
            label="event",
        ),
        Reading(
            "integration_api_idle_connections",
            "Connections to endpoints that wait for a request.",
            "gauge",
            lambda: {"": transport.idle},
        ),
        Reading(
            "integration_api_connections",
            "Connections to endpoints, by what became of them.",
            "counter",
            lambda: {
                "opened": counts.opened,
                "prewarmed": counts.prewarmed,
                "reused": counts.reused,
                "lost": counts.lost,
                "refused": counts.refused,
            },
            label="event",
        ),
    )
