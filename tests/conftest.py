"""What tests share: the simulated resource, the app on the platform's runtime, an eye for leaked secrets."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

pytest_plugins = ["tests.simulated", "tests.hosting", "tests.browser", "tests.issuing", "tests.stores"]
pytest.register_assert_rewrite(*pytest_plugins)  # before they are imported below

from tests.hosting import Host  # noqa: E402 - see above
from tests.simulated import SimulatedAzure  # noqa: E402 - see above

INSTRUCTIONS = "You are a helpful voice assistant."
_SECRET = re.compile(
    r"ek_[0-9a-zA-Z]{8}"  # a client secret
    r"|eyJ[\w-]{8,}\.[\w-]+"  # an access token
    r"|simulated-identity-header|simulated-api-key|a-function-key"
    rf"|{re.escape(INSTRUCTIONS)}"
)


def secrets_in(text: str) -> list[str]:
    """Return every secret, token, key or instruction that a log may not hold."""
    return _SECRET.findall(text)


class Endpoint:
    """The app on the platform's runtime, called as a client calls it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.url = f"{host.url}/api/realtime/client_secrets"
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.mount("http://", HTTPAdapter(pool_maxsize=64))

    def mint(self, body: object = None, **options: Any) -> requests.Response:
        """POST, with `body` as JSON if it is not None."""
        if body is not None:
            options["json"] = body
        return self.http.post(self.url, timeout=20, **options)

    def warm(self) -> "Endpoint":
        """Mint until it works: the first mint of a cold process may outlast a short deadline on a busy machine."""
        for _ in range(10):
            if self.mint().status_code == 200:
                return self
        raise AssertionError(self.host.log)

    def health(self) -> requests.Response:
        """GET /api/health."""
        return self.http.get(f"{self.host.url}/api/health", timeout=20)

    def log_line(self, response: requests.Response) -> dict[str, Any]:
        """Return the log line of the request that `response` answers."""
        request_id = response.headers["x-request-id"]
        self.host.wait_for(f'"request_id": "{request_id}"')
        line = next(line for line in self.host.log.splitlines() if f'"request_id": "{request_id}"' in line)
        return dict(json.loads(line[line.index("{") :]))


@pytest.fixture(scope="session")
def required(azure_process: SimulatedAzure) -> dict[str, str]:
    """The environment of an app with nothing but what is required, and transcription."""
    return {
        **azure_process.app_env,
        "TRANSCRIPTION_PROBE_SECONDS": "0",  # a probe is a mint more, and tests count mints
        "MINT_QUOTA": "off",  # every test is the same caller: off Azure there is one bucket
    }


def _running(env: dict[str, str]) -> Iterator[Endpoint]:
    with Host(env) as host:
        endpoint = Endpoint(host)
        yield endpoint
        endpoint.http.close()
    assert not secrets_in(host.log)


@pytest.fixture(scope="session")
def shared_endpoint(required: dict[str, str]) -> Iterator[Endpoint]:
    """One app in post_connect for all tests that need no other."""
    yield from _running(required)


@pytest.fixture
def endpoint(shared_endpoint: Endpoint, azure: SimulatedAzure) -> Endpoint:
    """The app in post_connect, over a simulated resource with its switches at their defaults."""
    assert azure.url
    return shared_endpoint


@pytest.fixture(scope="session")
def shared_mint_time_endpoint(required: dict[str, str]) -> Iterator[Endpoint]:
    """One app in mint_time for all tests that need no other."""
    yield from _running(required | {"TRANSCRIPTION_MODE": "mint_time"})


@pytest.fixture
def mint_time_endpoint(shared_mint_time_endpoint: Endpoint, azure: SimulatedAzure) -> Endpoint:
    """The app in mint_time, over a simulated resource with its switches at their defaults."""
    assert azure.url
    return shared_mint_time_endpoint


@pytest.fixture
def start_endpoint(
    start_host: Callable[..., Host], required: dict[str, str], azure: SimulatedAzure
) -> Iterator[Callable[..., Endpoint]]:
    """`start_endpoint(*args, NAME=value, ...)`: an app of the test's own, with these settings besides."""
    assert azure.url
    started: list[Endpoint] = []

    def start(*args: str, **settings: str) -> Endpoint:
        started.append(Endpoint(start_host(required | settings, *args)))
        return started[-1]

    yield start
    for endpoint in started:
        endpoint.http.close()
        assert not secrets_in(endpoint.host.log)
