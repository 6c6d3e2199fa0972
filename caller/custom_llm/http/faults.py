"""Aiohttp's exceptions as errors of ours; nowhere else are they read. Knows nothing of chat.

Texts name the URL without its query, and nothing of the exception's own text. What a proxy, or this machine, is to
blame for is not put on the endpoint.
"""

import ssl
from traceback import clear_frames
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from caller.custom_llm.base_url import without_query
from caller.custom_llm.http.connector import OUT_OF_DESCRIPTORS
from caller.custom_llm.http.egress import denied_by
from caller.custom_llm.http.protocol import SpeaksTls, UnacceptableAnswer
from caller.custom_llm.http.tls import tls_fault
from caller.errors import (
    CallerError,
    ConnectTimeout,
    CredentialInvalid,
    EgressDenied,
    EndpointTls,
    EndpointUnreachable,
    LostReusedConnection,
    ProtocolError,
    ProxyUnreachable,
    ServiceOverloaded,
    Violation,
)

# What aiohttp raises. `HttpProcessingError` (a broken status line, say) is not a `ClientError`.
THEIRS = (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError, ValueError)
PROXY_AUTHENTICATION = 407
_OVERLOADED_SECONDS = 1.0
_MOST_BEHIND: Final = 8


def translated(
    error: BaseException, url: str, connect_timeout: float, *, reused: bool, proxied: bool = False
) -> CallerError:
    """The exception that a request ended with, as ours."""
    where = without_query(url)
    denied = denied_by(error)
    if denied is not None:
        return EgressDenied(str(denied.strerror or denied), url=where)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return proxy_refusal(error.status, url)
    if isinstance(error, aiohttp.ClientOSError):
        return _not_connected(error, where, reused=reused, proxied=proxied)
    if isinstance(error, ssl.SSLError):
        return EndpointTls(f"TLS to {where} failed: {tls_fault(error)}", url=where)
    if isinstance(error, SpeaksTls):
        return EndpointTls(f"the port of {where} speaks TLS: write https://", url=where)
    if isinstance(error, TimeoutError):
        return ConnectTimeout(f"no connection to {where} within {connect_timeout:g} s", url=where)
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        advice = "its base URL cannot be called: check the name of its host"
        return CredentialInvalid(f"credential: {advice}", violations=[Violation("credential", advice)])
    if isinstance(error, aiohttp.ServerDisconnectedError | OSError):
        return _lost(where, reused=reused)
    if isinstance(error, UnacceptableAnswer):
        return ProtocolError(f"{error}: {where}", url=where)
    return ProtocolError(f"the answer of {where} is not HTTP that can be read", url=where)


def without_frames(error: BaseException) -> BaseException:
    """The error, holding nothing of the calls that it came through, nor do those behind it.

    What connects for aiohttp keeps the errors of its tries in a local list, and they keep its frame: a cycle with the
    request and its body in it.
    """
    behind: BaseException | None = error
    for _ in range(_MOST_BEHIND):
        if behind is None:
            break
        clear_frames(behind.__traceback__)
        behind.__traceback__ = None
        behind = behind.__cause__ or behind.__context__
    return error


def proxy_refusal(status: int, url: str) -> CallerError:
    """A proxy that answers for itself."""
    where = without_query(url)
    if status == PROXY_AUTHENTICATION:
        return EgressDenied(f"the proxy (endpoint_proxy) wants to know who asks: 407 for {where}", url=where)
    if status >= 500:
        return EndpointUnreachable(f"the proxy (endpoint_proxy) cannot reach {where}: {status}", url=where)
    return EgressDenied(f"the proxy (endpoint_proxy) refuses to connect to {where}: {status}", url=where)


def _not_connected(error: aiohttp.ClientOSError, where: str, *, reused: bool, proxied: bool) -> CallerError:
    """No connection, or one that broke."""
    if isinstance(error, aiohttp.ClientSSLError):
        return EndpointTls(f"TLS to {where} failed: {tls_fault(_ssl_error(error))}", url=where)
    os_error = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if os_error.errno in OUT_OF_DESCRIPTORS:
        return ServiceOverloaded("the service has no file descriptor left", retry_after=_OVERLOADED_SECONDS, url=where)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        if proxied:
            return ProxyUnreachable("the host name of the proxy (endpoint_proxy) cannot be resolved", url=where)
        return EndpointUnreachable(f"the host name of {where} cannot be resolved", url=where)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return ProxyUnreachable("no connection to the proxy (endpoint_proxy): is it running?", url=where)
    if isinstance(os_error, ConnectionResetError) and where.startswith("https://"):
        # No verdict on its TLS: a balancer that restarts does so, too.
        return EndpointUnreachable(f"the connection to {where} was closed during the TLS handshake", url=where)
    if isinstance(error, aiohttp.ClientConnectorError):
        return EndpointUnreachable(f"no connection to {where}: is the endpoint running?", url=where)
    return _lost(where, reused=reused)


def _lost(where: str, *, reused: bool) -> CallerError:
    kind = LostReusedConnection if reused else EndpointUnreachable
    return kind(f"the connection to {where} was lost before the answer's headers", url=where)


def _ssl_error(error: aiohttp.ClientSSLError) -> BaseException | None:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return error.certificate_error
    return error.__cause__
