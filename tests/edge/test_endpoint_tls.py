"""TLS to endpoints, and the proxy before them: what is accepted, what went wrong and who must act, ends at once."""

import asyncio
import datetime as dt
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from caller.custom_llm.adapter import HttpRequest
from caller.custom_llm.http.egress_policy import EgressPolicy
from caller.custom_llm.http.tls import endpoint_context
from caller.custom_llm.http.transport import Transport, TransportSettings
from caller.errors import EndpointTls, EndpointUnreachable
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.certificates import Authority, Pair
from tests.edge.loopback import ScriptedServer, answer, chat_answer
from tests.edge.reading import fail
from tests.patience import within

AUTHORITY = Authority()
LOOSE = Authority("Loose authority", key_identifiers=False)
OTHER_NAME = [x509.DNSName("other.test")]
# RFC 3526, group 14.
_PRIME = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B"
    "302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE6"
    "49286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D"
    "670C354E4ABC9804F1746C08CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718"
    "3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
    16,
)


def context(tmp_path: Path, pair: Pair) -> ssl.SSLContext:
    """A server's context."""
    file = tmp_path / "pair.pem"
    file.write_bytes(pair.certificate + pair.key)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(file)
    return made


@asynccontextmanager
async def endpoint_with(served: ssl.SSLContext | None) -> AsyncIterator[str]:
    """An endpoint that answers over TLS, or in plain HTTP; its host and port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer("fine"))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=served)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def get(url: str, tmp_path: Path, authority: Authority | None = AUTHORITY, *, strict: bool = True) -> bytes:
    ca_file = ""
    if authority is not None:
        (tmp_path / "ca.pem").write_bytes(authority.certificate)
        ca_file = str(tmp_path / "ca.pem")
    transport = Transport(TransportSettings(EgressPolicy.parse("open"), ca_file=ca_file, tls_strict=strict))
    try:
        async with await transport.send(HttpRequest("GET", url, {}), 5.0) as response:
            return await response.read()
    finally:
        await transport.close()


async def test_a_private_authority_is_trusted(tmp_path: Path) -> None:
    """With endpoint_ca_file."""
    async with endpoint_with(context(tmp_path, AUTHORITY.sign("endpoint"))) as where:
        assert await get(f"https://{where}/", tmp_path) == b"fine"


@pytest.mark.parametrize(
    ("pair", "authority", "words"),
    [
        (AUTHORITY.sign("old", valid_until=dt.timedelta(hours=-1)), AUTHORITY, "has expired"),
        (AUTHORITY.sign("other", OTHER_NAME), AUTHORITY, "for another (host name|IP address)"),
        (AUTHORITY.sign("endpoint"), None, "authority is not known: set endpoint_ca_file"),
        (AUTHORITY.sign("endpoint"), Authority("Third"), "authority is not known: set endpoint_ca_file"),
        (LOOSE.sign("endpoint"), LOOSE, "key identifier.*endpoint_tls_strict"),
    ],
    ids=["expired", "wrong-name", "unknown", "another-authority", "no-key-identifiers"],
)
async def test_a_certificates_fault_is_told_by_its_cause(
    tmp_path: Path, pair: Pair, authority: Authority | None, words: str
) -> None:
    """In words that say what to do."""
    async with endpoint_with(context(tmp_path, pair)) as where:
        with pytest.raises(EndpointTls, match=words):
            await get(f"https://{where}/", tmp_path, authority)


async def test_certificates_without_key_identifiers_pass_where_the_operator_says_so(tmp_path: Path) -> None:
    """endpoint_tls_strict is off."""
    async with endpoint_with(context(tmp_path, LOOSE.sign("endpoint"))) as where:
        assert await get(f"https://{where}/", tmp_path, LOOSE, strict=False) == b"fine"


async def test_plain_http_on_the_port_is_told(tmp_path: Path) -> None:
    """The base URL says https, the port speaks HTTP."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(EndpointTls, match=r"does not speak TLS: is it plain http"):
            await get(f"https://127.0.0.1:{port}/", tmp_path)


async def test_tls_on_a_plain_port_is_told(tmp_path: Path) -> None:
    """The base URL says http, the port answers with a TLS alert, as OpenSSL does for what is no handshake."""

    async def alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x15\x03\x01\x00\x02\x02\x16")
        writer.close()

    async with await asyncio.start_server(alert, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(EndpointTls, match=r"speaks TLS: write https"):
            await get(f"http://127.0.0.1:{port}/", tmp_path)


async def test_old_protocols_are_told(tmp_path: Path) -> None:
    """An endpoint that answers with TLS 1.1."""
    server_hello = b"\x02\x00\x00\x28\x03\x02" + bytes(32) + b"\x00\xc0\x14\x00\x00\x00"

    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(b"\x16\x03\x02" + len(server_hello).to_bytes(2, "big") + server_hello)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(old, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(EndpointTls, match=r"only TLS versions before 1\.2"):
            await get(f"https://127.0.0.1:{port}/", tmp_path)


def test_no_cipher_lets_the_endpoint_choose_a_group() -> None:
    """TLS 1.3, or ECDHE with an AEAD cipher."""
    ciphers = endpoint_context().get_ciphers()

    assert ciphers
    for cipher in ciphers:
        assert cipher["protocol"] == "TLSv1.3" or (cipher["kea"] == "kx-ecdhe" and cipher["aead"]), cipher["name"]


async def test_finite_field_groups_are_refused(tmp_path: Path) -> None:
    """An endpoint that speaks nothing but DHE: the handshake ends at once."""
    served = context(tmp_path, _rsa_pair())
    # PKCS #3: a sequence of the prime, 256 bytes, and the generator, 2.
    group = bytes.fromhex("3082010802820101") + b"\0" + _PRIME.to_bytes(256, "big") + b"\x02\x01\x02"
    (tmp_path / "dh.pem").write_text(ssl.DER_cert_to_PEM_cert(group).replace("CERTIFICATE", "DH PARAMETERS"))
    served.load_dh_params(str(tmp_path / "dh.pem"))
    served.maximum_version = ssl.TLSVersion.TLSv1_2
    served.set_ciphers("DHE+AESGCM")
    async with endpoint_with(served) as where:
        # Whether its alert comes before its reset is a race that the endpoint decides.
        with pytest.raises((EndpointTls, EndpointUnreachable), match=r"no cipher in common|during the TLS handshake"):
            await get(f"https://{where}/", tmp_path)


async def test_a_cancel_reaches_an_endpoint_that_writes_without_reading(tmp_path: Path) -> None:
    """Over TLS: closing does not wait for the endpoint's own close."""
    writing, ended = asyncio.Event(), asyncio.Event()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(OSError):
            while not writer.transport.is_closing():
                writing.set()
                writer.write(bytes(65536))
                await writer.drain()
        writer.transport.abort()
        ended.set()

    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate)
    transport = Transport(TransportSettings(EgressPolicy.parse("open"), ca_file=str(tmp_path / "ca.pem")))
    served = context(tmp_path, AUTHORITY.sign("endpoint"))
    async with await asyncio.start_server(pour, "127.0.0.1", 0, ssl=served) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

        async def read() -> None:
            async with await transport.send(HttpRequest("GET", url, {}), 5.0) as response:
                await response.read()
                await asyncio.Event().wait()

        call = asyncio.create_task(read())
        await writing.wait()
        await asyncio.sleep(0.1)  # both directions are full by now, or soon
        call.cancel()
        began = time.monotonic()
        await asyncio.wait_for(ended.wait(), within(5))
        assert time.monotonic() - began < within(0.2)
        with pytest.raises(asyncio.CancelledError):
            await call
        await transport.close()


def _rsa_pair() -> Pair:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "endpoint")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(certificate.public_bytes(Encoding.PEM), pem)


# -- the proxy ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def behind(proxy: str) -> AsyncIterator[ChatServiceStub]:
    """A server of ours that calls endpoints through a proxy."""
    async with (
        Server(Settings(port=0, endpoint_proxy=proxy, shutdown_grace=1.0, max_attempts=1)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield ChatServiceStub(channel)


def proxy_that_says(status: str) -> ScriptedServer:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await proxy.request(reader)
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        await proxy.request(reader)

    proxy = ScriptedServer(talk)
    return proxy


DENIED = (grpc.StatusCode.PERMISSION_DENIED, "EGRESS_DENIED")


@pytest.mark.parametrize(
    ("status", "scheme"),
    [
        ("407 Proxy Authentication Required", "http"),
        ("407 Proxy Authentication Required", "https"),
        ("403 Forbidden", "https"),
    ],
)
async def test_a_proxy_that_refuses_is_told(status: str, scheme: str) -> None:
    """As the operator's business, in calls and in VerifyCredential alike."""
    request = chat_request(f"{scheme}://endpoint.test", "m")
    async with proxy_that_says(status) as proxy, behind(proxy.url) as stub:
        failure = await fail(stub.Chat(request))
        verified = await stub.VerifyCredential(
            pb.VerifyCredentialRequest(provider_id="custom-llm", credential=request.credential)
        )

    assert failure.said == DENIED
    assert failure.info.metadata["fault"] == "policy"
    assert "the proxy (endpoint_proxy)" in failure.message
    assert any("the proxy (endpoint_proxy)" in check.observed for check in verified.checks)
    assert not verified.ok


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_down_is_told(scheme: str) -> None:
    """Not as the endpoint's fault."""
    request = chat_request(f"{scheme}://endpoint.test", "m")
    async with proxy_that_says("200 OK") as proxy:
        url = proxy.url
    async with behind(url) as stub:
        failure = await fail(stub.Chat(request))
        verified = await stub.VerifyCredential(
            pb.VerifyCredentialRequest(provider_id="custom-llm", credential=request.credential)
        )

    assert failure.said == (grpc.StatusCode.UNAVAILABLE, "ENDPOINT_UNREACHABLE")
    assert failure.info.metadata["fault"] == "service"
    assert any("no connection to the proxy (endpoint_proxy)" in check.observed for check in verified.checks)


@pytest.mark.parametrize("host", ["metadata.google.internal", "METADATA.google.internal.", "metadata", "instance-data"])
async def test_metadata_names_do_not_reach_a_proxy(host: str) -> None:
    """Under the policy open, too: the proxy would resolve them where it stands."""
    async with proxy_that_says("200 OK") as proxy, behind(proxy.url) as stub:
        failure = await fail(stub.Chat(chat_request(f"http://{host}", "m")))
        assert not proxy.requests

    assert failure.said == DENIED


async def test_a_proxy_passes_what_endpoints_say() -> None:
    """Plain HTTP through it, as before."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            await proxy.request(reader)
            writer.write(chat_answer("through"))

    async with ScriptedServer(talk) as proxy, behind(proxy.url) as stub:
        for _ in range(2):
            said = await stub.Chat(chat_request("http://endpoint.test", "m"))
            assert said.choices[0].message.text == "through"
        assert proxy.accepted == 1
