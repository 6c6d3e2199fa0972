"""TLS to endpoints: what is accepted, and what went wrong in the words of whoever must act.

Rule: pure but for reading the authorities' file. OpenSSL's numbers and names are taken from its headers
(`x509_vfy.h`, `sslerr.h`); no text of an exception goes on.

TLS 1.3, and TLS 1.2 with ECDHE and an AEAD cipher: no finite-field Diffie-Hellman, whose group the endpoint would
choose, and with it how long the event loop stands still. The curves are OpenSSL's own. Python's ssl module can bound
neither the length of a chain nor its keys; OpenSSL reads at most 100 KB of certificates, refuses RSA keys above 16,384
bits, and checks signatures only once the chain ends at an authority that is trusted.
"""

import re
import ssl
from typing import Final

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"

# X509_V_ERR_*: the verdict on a certificate.
_VERDICTS: Final = {
    9: "the certificate is not valid yet: check the clocks of both sides",
    10: "the certificate has expired: the endpoint must renew it",
    18: "the certificate is signed by itself: set endpoint_ca_file to it",
    62: "the certificate is for another host name",
    64: "the certificate is for another IP address",
    66: "the certificate's key is too small",
    67: "the key of an authority in the chain is too small",
    68: "the chain is signed with a digest that is too weak",
}
_UNKNOWN_AUTHORITY: Final = frozenset({2, 19, 20, 21, 27})
# The checks of X509_V_FLAG_X509_STRICT, OpenSSL 3.
_STRICT: Final = range(77, 95)

# The reasons of ssl.SSLError: what the handshake ended with.
_NOT_TLS: Final = "the port does not speak TLS: is it plain http://?"
_TOO_OLD: Final = "the endpoint speaks only TLS versions before 1.2"
_NO_CIPHER: Final = "no cipher in common: TLS 1.3, or 1.2 with ECDHE and AES-GCM or ChaCha20, is needed"
_CLIENT_CERTIFICATE: Final = "the endpoint asks for a client certificate, which is not supported"
_REASONS: Final = {
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "HTTP_REQUEST": _NOT_TLS,
    "UNKNOWN_PROTOCOL": _NOT_TLS,
    "UNSUPPORTED_PROTOCOL": _TOO_OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _TOO_OLD,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _NO_CIPHER,
    "NO_CIPHERS_AVAILABLE": _NO_CIPHER,
    "NO_SHARED_CIPHER": _NO_CIPHER,
    "WRONG_CIPHER_RETURNED": _NO_CIPHER,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": _NO_CIPHER,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_BAD_CERTIFICATE": _CLIENT_CERTIFICATE,
    "TLSV1_UNRECOGNIZED_NAME": "the endpoint does not know this host name",
    "SSLV3_ALERT_UNEXPECTED_MESSAGE": _NOT_TLS,
}

_NOT_A_WORD = re.compile(r"[^A-Za-z0-9_ ]")


def endpoint_context(ca_file: str = "", *, strict: bool = True) -> ssl.SSLContext:
    """The context of connections to endpoints: the system's authorities, and those of `ca_file`.

    `strict`: certificates must be as RFC 5280 wants them (key identifiers, above all). Python does so since 3.13; here
    it is the same on every version. Raises OSError (`ssl.SSLError` among it) if `ca_file` cannot be read.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    else:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def tls_fault(error: BaseException | None) -> str:
    """What is wrong with an endpoint's TLS, and what to do, in a few words; `error` as the ssl module raised it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        if code in _UNKNOWN_AUTHORITY:
            return "the certificate's authority is not known: set endpoint_ca_file for a private one"
        if code in _STRICT:
            return (
                f"the certificates are not as RFC 5280 wants them ({_plain(error.verify_message)}): the authority must"
                " issue them anew, or endpoint_tls_strict must be off"
            )
        return _VERDICTS.get(code) or f"the certificate is not trusted ({_plain(error.verify_message)})"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "the connection was closed during the handshake"
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return _REASONS.get(reason or "") or f"the handshake failed ({_plain(reason or 'no reason given')})"


def _plain(text: str) -> str:
    """OpenSSL's own words; a certificate's names, which the peer chooses, are not among them."""
    return _NOT_A_WORD.sub("", text)[:80].replace("_", " ").lower()
