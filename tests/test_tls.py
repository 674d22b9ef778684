"""The call to Azure over TLS: the certificates of the environment are trusted, and no others."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Endpoint
from tests.simulated import SimulatedAzure


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
