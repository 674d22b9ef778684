"""What is measured: the simulated upstream, the app on the local Functions host, and the requests made to them."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import requests

from benchmarks.processes import Process

MINT_PATH = "/openai/v1/realtime/client_secrets"
IDENTITY_PATH = "/msi/token"
API_KEY = "simulated-api-key"
FUNCTION_KEY = "simulated-function-key"
DEPLOYMENT = "gpt-realtime"
QUOTA = "10000/second"
"""Never used up. Of a second and not of a minute, so that it remembers about as much as a real one."""
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Target:
    """One HTTP request to repeat."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str

    def as_json(self) -> dict[str, Any]:
        """Return the request for a worker's order."""
        return asdict(self)


class Upstream(Process):
    """The simulated Azure OpenAI resource, with its identity endpoint; over TLS if there is a certificate."""

    def __init__(self, name: str = "upstream", *, certificate: Path | None = None, ca: Path | None = None) -> None:
        tls = ["--tls-cert", str(certificate)] if certificate else []
        command = [sys.executable, "-m", "local.azure", "--port", "0", *tls]
        self._control = requests.Session()
        self._control.trust_env = False
        self._control.verify = str(ca) if ca else True
        super().__init__(name, command, {}, ready="Simulated Azure OpenAI listening on ")
        self.ca = ca

    def set(self, **switches: object) -> None:
        """Set switches of the simulator."""
        self._call("PATCH", json=switches)

    def recorded(self, path: str) -> list[dict[str, Any]]:
        """Return the requests recorded since `forget`, oldest first."""
        everything: list[dict[str, Any]] = self._call("GET", "/requests").json()
        return [one for one in everything if one["path"] == path]

    def forget(self) -> None:
        """Drop what was recorded."""
        self._call("DELETE", "/requests")

    def trusted_env(self) -> dict[str, str]:
        """Return what makes requests, OpenSSL and Node trust the simulator's certificate."""
        names = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
        return dict.fromkeys(names, str(self.ca)) if self.ca else {}

    def identity_env(self) -> dict[str, str]:
        """Return what the platform tells an app that has a managed identity."""
        return {
            "IDENTITY_ENDPOINT": f"{self.url}{IDENTITY_PATH}",
            "IDENTITY_HEADER": "simulated-identity-header",
            **self.trusted_env(),
        }

    def _call(self, method: str, path: str = "", json: object = None) -> requests.Response:
        response = self._control.request(method, f"{self.url}/_simulator{path}", json=json, timeout=10)
        response.raise_for_status()
        return response


class App(Process):
    """This app on the local Functions host as it is on Azure: with a function key, a quota and its log."""

    def __init__(self, upstream: Upstream, name: str = "app", more: Mapping[str, str] | None = None) -> None:
        """`more`: settings besides the required ones, or in their place."""
        env = {
            "AZURE_OPENAI_ENDPOINT": upstream.url,
            "AZURE_OPENAI_REALTIME_DEPLOYMENT": DEPLOYMENT,
            "MINT_QUOTA": QUOTA,
            **upstream.identity_env(),
            **(more or {}),
        }
        # What a developer keeps in local.settings.json must not decide the figures.
        options = ["--port", "0", "--settings", "/dev/null", "--keys", FUNCTION_KEY]
        command = [sys.executable, "-m", "local.host", *options]
        super().__init__(name, command, env, ready="Functions host listening on ")
        mint = f"{self.url}/api/realtime/client_secrets?code={FUNCTION_KEY}"
        self.mint = Target("POST", mint, _JSON, "{}")
        self.health = Target("GET", f"{self.url}/api/health", {}, "")


def call(target: Target) -> None:
    """Make the request once; raises what `requests` raises for a refusal."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(
            target.method, target.url, data=target.body, headers=dict(target.headers), timeout=30
        )
        answer.raise_for_status()


def bare(upstream: Upstream, app: App) -> Target:
    """Return the very request that the app sends upstream, token and body, for a client without the app."""
    upstream.set(record=True)
    upstream.forget()
    call(app.mint)
    sent = upstream.recorded(MINT_PATH)[-1]
    upstream.set(record=False)
    headers = _JSON | {"Authorization": sent["headers"]["authorization"]}
    return replace(app.mint, url=f"{upstream.url}{MINT_PATH}", headers=headers, body=json.dumps(sent["body"]))
