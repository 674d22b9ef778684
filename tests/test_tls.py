"""The call to Azure over TLS: the environment's certificates are trusted, and no others; its proxy is used."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from mint.trip import Trip
from mint.wire import Wire
from tests.answering import Accepting
from tests.conftest import Endpoint
from tests.simulated import MINT, SimulatedAzure


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file."""
    file = tmp_path_factory.mktemp("tls") / "azure.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(file), "-out", str(file) + ".crt"),
        ],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text("utf-8") + Path(f"{file}.crt").read_text("utf-8"), "utf-8")
    return file


@pytest.fixture
def azure_over_tls(certificate: Path) -> Iterator[SimulatedAzure]:
    """A simulated resource behind that certificate, which takes any simulated identity's token."""
    simulated = SimulatedAzure("--tls-cert", str(certificate), verify=str(certificate))
    simulated.set(foreign_tokens=True)
    yield simulated
    simulated.stop()


def test_a_trusted_certificate_mints_over_one_connection(
    certificate: Path, azure_over_tls: SimulatedAzure, start_endpoint: Callable[..., Endpoint]
) -> None:
    """The CA bundle of the environment counts, and the connection is kept."""
    endpoint = start_endpoint(AZURE_OPENAI_ENDPOINT=azure_over_tls.url, REQUESTS_CA_BUNDLE=str(certificate))

    statuses = [endpoint.mint().status_code for _ in range(5)]

    assert statuses == [200] * 5
    assert len({one["connection"] for one in azure_over_tls.mints()}) == 1


def test_a_certificate_that_nobody_vouches_for_gets_no_token(
    azure_over_tls: SimulatedAzure, start_endpoint: Callable[..., Endpoint]
) -> None:
    """The handshake fails, so that nothing is sent to whoever poses as Azure."""
    endpoint = start_endpoint(AZURE_OPENAI_ENDPOINT=azure_over_tls.url)

    response = endpoint.mint()

    assert response.json()["error"]["code"] == "upstream_unavailable"
    assert azure_over_tls.mints() == []


def test_a_certificate_for_another_name_gets_no_token(
    certificate: Path, azure_over_tls: SimulatedAzure, start_endpoint: Callable[..., Endpoint]
) -> None:
    """A trusted certificate is good for its own names alone."""
    elsewhere = azure_over_tls.url.replace("127.0.0.1", "localhost")
    endpoint = start_endpoint(AZURE_OPENAI_ENDPOINT=elsewhere, REQUESTS_CA_BUNDLE=str(certificate))

    response = endpoint.mint()

    assert response.json()["error"]["code"] == "upstream_unavailable"
    assert azure_over_tls.mints() == []


class Proxy(Accepting):
    """One that does CONNECT alone: `asked` is the head of each request, `carried` what clients sent through."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.carried = b""
        super().__init__()

    def talk(self, connection: socket.socket) -> None:
        """Carry from both sides to the other."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        self.asked.append(head.decode())
        host, _, port = head.split()[1].decode().partition(":")
        with socket.create_connection((host, int(port))) as server:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=self._answers, args=(server, connection), daemon=True).start()
            while data := connection.recv(65536):
                self.carried += data
                server.sendall(data)

    @staticmethod
    def _answers(server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy that listens."""
    proxy = Proxy()
    yield proxy
    proxy.close()


def test_a_proxy_is_asked_once_and_sees_no_token(
    certificate: Path, azure_over_tls: SimulatedAzure, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tunnel, which warming opened, carries all mints; the TLS in it is the resource's own."""
    asking = {"resource": "https://cognitiveservices.azure.com", "api-version": "2019-08-01"}
    identity = {"X-IDENTITY-HEADER": azure_over_tls.identity_env["IDENTITY_HEADER"]}
    url = azure_over_tls.identity_env["IDENTITY_ENDPOINT"]
    issued = requests.get(url, params=asking, headers=identity, verify=str(certificate), timeout=10)
    token = issued.json()["access_token"]
    for name in ("https_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://ann:word@127.0.0.1:{proxy.port}")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    body = json.dumps({"session": {"type": "realtime", "model": "gpt-realtime"}}).encode()

    wire = Wire(azure_over_tls.url + MINT, 1)
    wire.warm()
    replies = [wire.post(body, token, Trip(time.monotonic() + 10)) for _ in range(2)]

    assert [reply.status for reply in replies] == [200, 200]
    assert all(json.loads(reply.body)["value"].startswith("ek_") for reply in replies)
    assert [asked.split()[:2] for asked in proxy.asked] == [
        ["CONNECT", azure_over_tls.url.removeprefix("https://")]
    ]
    assert "Proxy-Authorization: Basic YW5uOndvcmQ=" in proxy.asked[0]
    assert token not in proxy.asked[0]
    assert proxy.carried.startswith(b"\x16\x03")
    assert token.encode() not in proxy.carried
    assert len({one["connection"] for one in azure_over_tls.mints()}) == 1
