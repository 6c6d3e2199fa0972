"""Every setting: its name, its default, its meaning. Read once at start; nothing else reads the environment.

The flag `--egress-policy` is the environment's `INTEGRATION_API_EGRESS_POLICY`. The command line, its help and the
table of docs/settings.md are made from this class.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

ENV_PREFIX = "INTEGRATION_API_"
MIB = 1024 * 1024


def _setting(default: Any, meaning: str, *, choices: tuple[str, ...] = (), secret: bool = False) -> Any:
    """A field with what the command line needs to know of it."""
    return field(default=default, metadata={"meaning": meaning, "choices": choices, "secret": secret}, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one server process. Times are in seconds, sizes in bytes."""

    host: str = _setting("127.0.0.1", "Address to listen on; beyond loopback needs authentication or allow_anonymous.")
    port: int = _setting(9004, "gRPC port; 0 takes a free one.")
    workers: str = _setting(
        "1",
        "Processes that share the port, running calls and queue: a number, or auto: as many as the container has CPUs.",
    )
    admin_host: str = _setting("127.0.0.1", "Address that the admin port listens on.")
    admin_port: int = _setting(0, "HTTP port of /metrics, /livez, /readyz and /version; 0: off.")
    audit_file: str = _setting("", "File that gets a JSON line for every finished call, without content; empty: none.")
    audit_content: int = _setting(
        0, "Most bytes of what was asked, and as many of what was answered, in each line of audit_file; 0: no content."
    )
    otel: bool = _setting(
        False, "Send traces and GenAI metrics by OTLP, as the OTEL_* variables say; needs the extra otel."
    )
    otel_propagate: bool = _setting(False, "Tell endpoints which trace a request belongs to: a traceparent header.")
    log_level: str = _setting("info", "Least level that is logged.", choices=("debug", "info", "warning", "error"))
    log_format: str = _setting("console", "How logs are written.", choices=("console", "json"))
    allow_anonymous: bool = _setting(False, "Let clients in that do not say who they are, also beyond loopback.")
    auth_tokens_file: str = _setting(
        "",
        "File of clients' bearer tokens: lines of a name and sha256:<the token's SHA-256 in hex>; re-read on change.",
    )
    auth_jwt_key_file: str = _setting(
        "", "Key that clients' JWTs are checked with: a PEM public key or certificate, or a secret; re-read on change."
    )
    auth_jwt_algorithms: str = _setting(
        "", "Comma-separated algorithms of JWTs; empty: HS256 for a secret, RS256, ES256 or EdDSA as the public key is."
    )
    auth_jwt_audience: str = _setting("", "What the 'aud' of a JWT must be; empty: a JWT with an audience is refused.")
    auth_jwt_issuer: str = _setting("", "What the 'iss' of a JWT must be; empty: any.")
    auth_mtls_names: str = _setting(
        "",
        "Comma-separated DNS or URI names of client certificates that are let in, *.domain for one label; "
        "empty: all that tls_client_ca_file signed.",
    )
    tls_cert_file: str = _setting("", "PEM file of the server's certificate and its chain; re-read on change.")
    tls_key_file: str = _setting("", "PEM file of the certificate's private key; re-read on change.")
    tls_client_ca_file: str = _setting(
        "", "PEM file of the authorities of client certificates; with it only clients with one can connect."
    )
    credentials_dir: str = _setting(
        "", "Directory of named credentials, one JSON file each, as Kubernetes mounts secrets; re-read on change."
    )
    providers_file: str = _setting(
        "", "JSON file of further providers by name: base URL, compatibility, the key's header; re-read on change."
    )
    rapida_jwt_secret: str = _setting(
        "",
        "Secret that the Rapida platform signs its JWTs with (x-internal-service-key); empty: its service asks clients "
        "who they are in the native way.",
        secret=True,
    )
    rapida_upper_case_metrics: bool = _setting(
        False, "Name the metrics of Rapida's answers in upper case, as its older clients know them."
    )
    rapida_upstream: str = _setting(
        "",
        "HOST:PORT of the original integration-api, to which all is passed on that is not custom-llm's, for known "
        "clients; empty: it is refused.",
    )
    rapida_upstream_tls: bool = _setting(False, "Reach rapida_upstream over TLS.")
    rapida_upstream_ca_file: str = _setting(
        "", "PEM file of the authorities of rapida_upstream's certificate; empty: the system's own."
    )
    rapida_own_providers: str = _setting(
        "", "Comma-separated ids of providers by name that Rapida's clients are answered here beside custom-llm."
    )
    egress_policy: str = _setting(
        "open",
        "Which endpoint addresses may be called: open (all but metadata and link-local), public-only, or allowlist.",
        choices=("open", "public-only", "allowlist"),
    )
    egress_allow: str = _setting(
        "", "Comma-separated hosts, *.domains, CIDRs, each with an optional :port or :from-to, that may be called."
    )
    connect_timeout: float = _setting(5.0, "Longest wait for a connection to the endpoint.")
    first_output_timeout: float = _setting(60.0, "Longest wait for the first output of a stream.")
    between_outputs_timeout: float = _setting(60.0, "Longest wait from one output of a stream to the next.")
    total_timeout: float = _setting(600.0, "Longest time for a whole call.")
    write_timeout: float = _setting(30.0, "Longest wait for a client that does not read its stream.")
    max_attempts: int = _setting(3, "Most HTTP requests per call, the first included.")
    max_hedge_ratio: float = _setting(
        0.1,
        "Part of a client's calls to an endpoint that may ask a further target before the first one failed; 0: none.",
    )
    breaker_failures: int = _setting(
        5,
        "Failures among the last twice as many attempts that let calls with fallbacks pass a target over; 0: never.",
    )
    breaker_window: float = _setting(30.0, "How long a failure counts for that.")
    breaker_open: float = _setting(10.0, "Time until one call finds out whether such a target answers again.")
    max_running_calls: int = _setting(
        0, "Most calls at once; 0: as many as the limit of open file descriptors carries."
    )
    max_running_per_caller: int = _setting(
        0, "Most calls at once of one client, anonymous ones by their address; 0: no limit."
    )
    max_running_per_endpoint: int = _setting(0, "Most calls at once to one endpoint's host and port; 0: no limit.")
    max_queued_calls: int = _setting(0, "Most calls that wait for a slot; 0: calls above a limit are refused at once.")
    max_queue_time: float = _setting(1.0, "Longest wait for a slot.")
    max_open_streams: int = _setting(10_000, "Most bidirectional streams at once; their turns count as calls.")
    stream_idle_timeout: float = _setting(
        0.0, "Longest time that a bidirectional stream may be open without a turn; 0: no limit."
    )
    max_request_bytes: int = _setting(16 * MIB, "Largest gRPC request.")
    max_streams_per_connection: int = _setting(4_000, "Most calls at once on one connection; clients wait above it.")
    max_connection_idle: float = _setting(
        600.0, "Longest time that a connection without any call stays open; 0: for ever."
    )
    handshake_timeout: float = _setting(20.0, "Longest time for a connection's handshake, TLS and HTTP/2.")
    memory_limit_bytes: int = _setting(
        0,
        "Most memory of the process, of all workers together; above 85 % of it, or of the container's limit, new calls "
        "are refused. 0: only the container's.",
    )
    keepalive_time: float = _setting(
        20.0, "Time between pings to a client, with and without calls, so that no NAT forgets the connection; 0: none."
    )
    keepalive_timeout: float = _setting(20.0, "Longest wait for the answer to a ping; the connection ends then.")
    min_client_ping_interval: float = _setting(
        10.0, "Least time between pings of a client; of more frequent ones 600 are borne while nothing is sent to it."
    )
    max_connection_age: float = _setting(
        0.0,
        "Age, give or take a tenth, at which clients are sent to another connection (GOAWAY); 0: never, with several "
        "workers 600.",
    )
    max_connection_age_grace: float = _setting(
        0.0, "Longest time for calls on such a connection to end; 0: as long as they take."
    )
    request_timeout: float = _setting(10.0, "Longest time for a gRPC request to arrive, from its headers on.")
    max_receiving_bytes: int = _setting(
        1024 * MIB, "Most bytes of requests that are arriving at once, each counted as max_request_bytes."
    )
    max_unread_bytes: int = _setting(128 * MIB, "Most bytes of answers that wait for clients to read them.")
    max_client_share: float = _setting(
        0.5,
        "Part of what is bounded for all (running calls, calls of an endpoint, slots of the queue, open streams, "
        "arriving requests, unread answers) that one client may hold while others hold some; 1: all of it.",
    )
    max_event_bytes: int = _setting(16 * MIB, "Largest single event, or whole JSON answer, of an endpoint.")
    max_silent_bytes: int = _setting(8 * MIB, "Most bytes of an endpoint from one output to the next.")
    max_silent_events: int = _setting(50_000, "Most events and comment lines from one output to the next.")
    max_answer_bytes: int = _setting(
        int(3.5 * MIB), "Largest answer as an encoded ChatResponse: gRPC clients refuse frames above 4 MiB by default."
    )
    endpoint_ca_file: str = _setting("", "PEM file of authorities to trust for endpoints, beside the system's own.")
    endpoint_tls_strict: bool = _setting(
        True,
        "Refuse endpoints' certificates that are not as RFC 5280 wants them; off for private authorities whose "
        "certificates lack key identifiers.",
    )
    endpoint_proxy: str = _setting("", "URL of the one HTTP proxy through which endpoints are called.", secret=True)
    max_idle_connections: int = _setting(
        512, "Most idle connections to endpoints that are kept; one client has at most half while others want them."
    )
    max_idle_per_endpoint: int = _setting(128, "Most idle connections that are kept to one endpoint's host and port.")
    endpoint_keepalive: float = _setting(
        90.0,
        "Longest time that an idle connection to an endpoint is kept; less where the endpoint says so (Keep-Alive) or "
        "closes it earlier; 0: none is kept.",
    )
    drain_delay: float = _setting(0.0, "Time between NOT_SERVING and refusing new calls, for load balancers to notice.")
    shutdown_grace: float = _setting(
        30.0,
        "Longest time that running calls and open streams get to end at shutdown; where a stream is a phone call, "
        "the length of a call.",
    )
    reflection: bool = _setting(True, "Serve gRPC reflection, so that grpcurl needs no proto files.")
    error_docs_url: str = _setting(
        "docs/errors.md",
        "Where the links in errors lead: the URL of docs/errors.md as you publish it, of at most 200 characters.",
    )


def effective(settings: Settings, *, defaults: bool = True) -> dict[str, object]:
    """Settings with their values, as a log may show them: of a secret only whether it is set. Without `defaults` those
    only that differ from them."""
    values = {entry.name: getattr(settings, entry.name) for entry in fields(settings)}
    return {
        entry.name: _redacted(values[entry.name]) if entry.metadata["secret"] else values[entry.name]
        for entry in fields(settings)
        if defaults or values[entry.name] != entry.default
    }


def flag(name: str) -> str:
    """The command line's name of a setting."""
    return "--" + name.replace("_", "-")


def env_name(name: str) -> str:
    """The environment's name of a setting."""
    return ENV_PREFIX + name.upper()


def unknown_names(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Names in the environment that look like settings and are none, each with the nearest that is one, or nothing.
    What Kubernetes sets for a service that is called integration-api is not meant."""
    known = [env_name(entry.name) for entry in fields(Settings)]
    injected = (f"{ENV_PREFIX}SERVICE_", f"{ENV_PREFIX}PORT_")
    unknown = (name for name in sorted(environ) if name.startswith(ENV_PREFIX) and not name.startswith(injected))
    return [(name, "".join(get_close_matches(name, known, n=1))) for name in unknown if name not in known]


def table() -> list[tuple[str, str, str, str]]:
    """Flag, environment name, default and meaning of every setting, in their order."""
    return [
        (flag(entry.name), env_name(entry.name), _text_of(entry.default), entry.metadata["meaning"])
        for entry in fields(Settings)
    ]


def _text_of(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return "" if default == "" else f"{default:g}" if isinstance(default, float) else str(default)


def _redacted(value: object) -> str:
    return "(set)" if value else ""
