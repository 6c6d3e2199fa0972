"""The channel arguments of gRPC's server, from the settings: what bounds connections, streams, metadata and pings."""

from integration_api.settings import Settings

# Pings of a client before their time, from one frame of ours to the next: every second through ten minutes of silence.
_MOST_EARLY_PINGS = 600
# The age of connections where several workers share the port and nothing is set, in seconds.
_AGE_WITH_WORKERS = 600.0
# gRPC's times are 32-bit numbers of milliseconds, and the largest of them is no time.
_NEVER = 2**31 - 1


def _milliseconds(seconds: float) -> int:
    """As gRPC counts times; its largest number stands for "never", and so does 0 here."""
    return min(int(seconds * 1000), _NEVER) or _NEVER


def channel_options(settings: Settings, workers: int = 1) -> list[tuple[str, int]]:
    """The server's channel arguments; `workers` processes share the port."""
    # A tenth less than the setting promises clients: a ping's way takes longer one time than the other.
    ping_interval = min(int(settings.min_client_ping_interval * 900), _NEVER)
    # A client's connection stays with one worker: it is sent to another from time to time.
    age = settings.max_connection_age or (_AGE_WITH_WORKERS if workers > 1 else 0.0)
    return [
        # Without workers a second server on the port fails instead of sharing it.
        ("grpc.so_reuseport", int(workers > 1)),
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        # Clients may ping, also without calls and while a slow model is silent. More frequent pings are counted, and
        # C-core's 2 of them would end a stream in its middle with a bare "Too many pings".
        ("grpc.http2.min_ping_interval_without_data_ms", ping_interval),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", ping_interval),
        ("grpc.http2.max_ping_strikes", _MOST_EARLY_PINGS),
        ("grpc.keepalive_permit_without_calls", 1),
        # What stands between keeps the connection, and dead peers are found and reaped.
        ("grpc.keepalive_time_ms", _milliseconds(settings.keepalive_time)),
        ("grpc.keepalive_timeout_ms", _milliseconds(settings.keepalive_timeout)),
        # GOAWAY first, and only after the grace the end of what still runs on it.
        ("grpc.max_connection_age_ms", _milliseconds(age)),
        ("grpc.max_connection_age_grace_ms", _milliseconds(settings.max_connection_age_grace)),
        ("grpc.max_concurrent_streams", settings.max_streams_per_connection),
        ("grpc.server_handshake_timeout_ms", _milliseconds(settings.handshake_timeout)),
        # Of a connection without calls; an open stream is never idle.
        ("grpc.max_connection_idle_ms", _milliseconds(settings.max_connection_idle)),
        # grpc's own are 1,000 and 3,000: in a burst beyond them it cancels calls at random, without a status of ours.
        ("grpc.server.max_pending_requests", 20_000),
        ("grpc.server.max_pending_requests_hard_limit", 40_000),
        # Room for a large JWT; C-core refuses what is above with RESOURCE_EXHAUSTED.
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.absolute_max_metadata_size", 32 * 1024),
    ]
