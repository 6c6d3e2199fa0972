"""The proxies' configurations, as docs/proxies.md gives them, with ports of this machine, and their commands.

Rule: it writes texts and knows nothing of what is sent through.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_HOUR = "1h"
_ENVOY = Path(__file__).parents[2] / "deploy" / "envoy" / "envoy.yaml"


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
events {{ worker_connections 8192; }}
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
    """The file that is deployed, with addresses of this machine."""
    head, separator, _ = _ENVOY.read_text("utf-8").partition("      - lb_endpoints:\n")
    listening = head.replace("{ address: 0.0.0.0, port_value: 9004 }", _address(port))
    assert separator, _ENVOY
    assert listening != head, _ENVOY
    endpoints = "".join(
        f"        - endpoint: {{ address: {{ socket_address: {_address(each)} }} }}\n" for each in behind
    )
    return listening + separator + endpoints


def _address(port: int) -> str:
    return f"{{ address: 127.0.0.1, port_value: {port} }}"


PROXIES = (
    Proxy("nginx", ("-v",), "nginx.conf", _nginx, lambda folder: ("-p", f"{folder}", "-c", f"{folder}/nginx.conf")),
    Proxy("haproxy", ("-v",), "haproxy.cfg", _haproxy, lambda folder: ("-db", "-f", f"{folder}/haproxy.cfg")),
    Proxy(
        "envoy",
        ("--version",),
        "envoy.yaml",
        _envoy,
        lambda folder: ("-c", f"{folder}/envoy.yaml", "--concurrency", "1", "-l", "warning", "--use-dynamic-base-id"),
    ),
    Proxy(
        "caddy",
        ("version",),
        "Caddyfile",
        _caddy,
        lambda folder: ("run", "--adapter", "caddyfile", "--config", f"{folder}/Caddyfile"),
    ),
)
