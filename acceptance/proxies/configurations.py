"""The proxies' configurations, as docs/proxies.md gives them, with ports of this machine, and their commands.

Rule: it writes texts and knows nothing of what is sent through.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HOUR = "1h"
_SECONDS = "3600s"
_ENVOY = "type.googleapis.com/envoy.extensions"


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy: its program, what it says of its version, its configuration for a port in front of ports behind, and
    the command that runs it in a folder."""

    name: str
    version: tuple[str, ...]
    file: str
    configuration: Callable[[int, Sequence[int]], str]
    command: Callable[[Path], tuple[str, ...]]


def _nginx(port: int, behind: Sequence[int]) -> str:
    servers = " ".join(f"server 127.0.0.1:{each};" for each in behind)
    return f"""
daemon off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream api {{ {servers} keepalive 32; }}
  server {{
    listen 127.0.0.1:{port} http2;
    client_max_body_size 16m;
    client_body_timeout {_HOUR};
    grpc_read_timeout {_HOUR};
    grpc_send_timeout {_HOUR};
    keepalive_timeout {_HOUR};
    keepalive_requests 100000;
    grpc_socket_keepalive on;
    location / {{ grpc_pass grpc://api; }}
  }}
}}
"""


def _haproxy(port: int, behind: Sequence[int]) -> str:
    servers = "\n".join(
        f"  server s{number} 127.0.0.1:{each} proto h2 check inter 1s" for number, each in enumerate(behind)
    )
    return f"""
defaults
  mode http
  timeout connect 5s
  timeout client {_HOUR}
  timeout server {_HOUR}
  timeout http-keep-alive {_HOUR}
  option redispatch 1
  retry-on conn-failure
frontend grpc
  bind 127.0.0.1:{port} proto h2
  default_backend api
backend api
  balance roundrobin
{servers}
"""


def _caddy(port: int, behind: Sequence[int]) -> str:
    servers = " ".join(f"h2c://127.0.0.1:{each}" for each in behind)
    return f"""
{{
  admin off
  auto_https off
  persist_config off
  servers {{
    protocols h1 h2c
  }}
}}
http://:{port} {{
  bind 127.0.0.1
  reverse_proxy {servers} {{
    lb_policy round_robin
    lb_try_duration 5s
    fail_duration 5s
  }}
}}
"""


def _envoy(port: int, behind: Sequence[int]) -> str:
    """JSON, which is YAML."""
    manager = {
        "@type": f"{_ENVOY}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "grpc",
        "codec_type": "HTTP2",
        "stream_idle_timeout": _SECONDS,
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_ENVOY}.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "api",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {
                                "cluster": "api",
                                "timeout": "0s",
                                "idle_timeout": _SECONDS,
                                "max_stream_duration": {"grpc_timeout_header_max": "0s"},
                                "retry_policy": {"retry_on": "reset-before-request,connect-failure", "num_retries": 2},
                            },
                        }
                    ],
                }
            ]
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    options = {
        "@type": f"{_ENVOY}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    cluster: dict[str, Any] = {
        "name": "api",
        "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "grpc_health_check": {},
            }
        ],
        "load_assignment": {
            "cluster_name": "api",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(each)}} for each in behind]}],
        },
    }
    listener = {"name": "grpc", "address": _address(port), "filter_chains": [{"filters": filters}]}
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1)


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


PROXIES = (
    Proxy("nginx", ("-v",), "nginx.conf", _nginx, lambda folder: ("-p", f"{folder}", "-c", f"{folder}/nginx.conf")),
    Proxy("haproxy", ("-v",), "haproxy.cfg", _haproxy, lambda folder: ("-db", "-f", f"{folder}/haproxy.cfg")),
    Proxy(
        "envoy",
        ("--version",),
        "envoy.json",
        _envoy,
        lambda folder: ("-c", f"{folder}/envoy.json", "--concurrency", "1", "-l", "warning", "--use-dynamic-base-id"),
    ),
    Proxy(
        "caddy",
        ("version",),
        "Caddyfile",
        _caddy,
        lambda folder: ("run", "--adapter", "caddyfile", "--config", f"{folder}/Caddyfile"),
    ),
)
