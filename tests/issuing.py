"""A pytest plugin: the OIDC issuer as a process of its own, and fixtures for it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.hosting import ROOT

if TYPE_CHECKING:
    from tests.conftest import Endpoint

AUDIENCE = "api://realtime-token-endpoint"
DISCOVERY = "/.well-known/openid-configuration"
KEYS = "/keys"
_READY = "OIDC issuer listening on "


class Issuer:
    """`python -m local.issuer` on a free port. Also a context manager."""

    def __init__(self, port: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "local.issuer", "--port", str(port)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().removeprefix(_READY).strip()
        self._http = requests.Session()
        self._http.trust_env = False

    @property
    def settings(self) -> dict[str, str]:
        """App settings that trust this issuer."""
        return {"CALLER_AUTH": "jwt", "JWT_ISSUER": self.url, "JWT_AUDIENCE": AUDIENCE}

    def token(self, **asked: Any) -> str:
        """Return a token that this issuer has signed."""
        response = self._http.post(f"{self.url}/token", json={"aud": AUDIENCE} | asked, timeout=10)
        assert response.ok, response.text
        return str(response.json()["access_token"])

    def set(self, **switches: Any) -> None:
        """Set switches of `local/issuer.py`."""
        response = self._http.patch(f"{self.url}/_issuer", json=switches, timeout=10)
        assert response.ok, response.text

    def rotate(self, *, keep: bool = False) -> None:
        """Sign with new keys; the old ones are withdrawn unless `keep`."""
        self._http.post(f"{self.url}/_issuer/rotate", params={"keep": "1"} if keep else None, timeout=10)

    def reset(self) -> None:
        """Put the switches back and the counts to nothing."""
        self._http.post(f"{self.url}/_issuer/reset", timeout=10)

    def asked(self, path: str) -> int:
        """Return how often the document at `path` was asked for."""
        return int(self._http.get(f"{self.url}/_issuer", timeout=10).json()["asked"].get(path, 0))

    def public_keys(self) -> list[dict[str, Any]]:
        """Return the published keys; this counts as asking for them."""
        return list(self._http.get(f"{self.url}{KEYS}", timeout=10).json()["keys"])

    def stop(self) -> None:
        """End the process."""
        self._http.close()
        self._process.terminate()
        self._process.wait(timeout=10)
        if self._process.stdout:
            self._process.stdout.close()


@pytest.fixture(scope="session")
def issuer_process() -> Iterator[Issuer]:
    """One issuer for the whole run."""
    issuer = Issuer()
    yield issuer
    issuer.stop()


@pytest.fixture
def issuer(issuer_process: Issuer) -> Issuer:
    """Give the issuer with its switches at their defaults and nothing counted."""
    issuer_process.reset()
    return issuer_process


@pytest.fixture
def start_jwt_endpoint(start_endpoint: "Callable[..., Endpoint]", issuer: Issuer) -> "Callable[..., Endpoint]":
    """`start_jwt_endpoint(NAME=value, ...)`: an app of the test's own that trusts the issuer."""
    return lambda **settings: start_endpoint(**(issuer.settings | settings))


def bearer(token: str) -> dict[str, str]:
    """Return the headers that carry the token."""
    return {"Authorization": f"Bearer {token}"}
