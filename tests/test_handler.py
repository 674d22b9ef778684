"""What becomes of a request where this process fails it: the handler itself, called as the runtime calls it."""

import asyncio
import gc
import json
from collections.abc import Callable, Iterator
from typing import Any

import azure.functions as func
import pytest
from urllib3.exceptions import HTTPError

import function_app
from mint.errors import MintError
from mint.service import Service
from mint.settings import Settings
from tests.test_settings import REQUIRED

Answer = tuple[int, str, dict[str, Any]]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """What the handler finds; nothing listens where it leads."""
    running = Service(Settings.read(REQUIRED | {"AZURE_OPENAI_ENDPOINT": "http://127.0.0.1:9"}))
    monkeypatch.setattr(function_app, "service", lambda: running)
    yield running
    running.threads.shutdown()


@pytest.fixture
def mint(service: Service, caplog: pytest.LogCaptureFixture) -> Callable[[], Answer]:  # noqa: ARG001 - it is there
    """`mint()` gives the status, the code and the log line."""

    def mint() -> Answer:
        caplog.clear()
        route = function_app.client_secrets.build(function_app.app.auth_level).get_user_function()
        request = func.HttpRequest(method="POST", url="/", params={}, headers={}, body=b"")
        response = asyncio.run(route(request))
        line = json.loads(caplog.records[-1].getMessage())
        return response.status_code, json.loads(response.get_body())["error"]["code"], line

    return mint


def fail(error: Exception) -> Callable[..., Any]:
    """Return what fails with it, however it is called."""

    def failing(*_: object) -> None:
        raise error

    return failing


def test_a_timeout_of_some_other_kind_is_not_taken_for_the_deadline(
    mint: Callable[[], Answer], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be a fault of ours, and its traceback is what finds it."""
    monkeypatch.setattr(service.upstream, "mint", fail(TimeoutError("another")))

    status, code, line = mint()

    assert (status, code) == (500, "internal_error")
    assert "TimeoutError: another" in line["traceback"]


def test_a_thread_that_is_not_to_be_had_takes_no_place(
    mint: Callable[[], Answer], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or every such failure would leave room for one mint less."""
    monkeypatch.setattr(service.threads, "submit", fail(RuntimeError("can't start new thread")))

    status, code, _ = mint()

    assert (status, code, service.in_flight) == (500, "internal_error", 0)


def errors() -> list[Any]:
    """Return what the garbage collector knows of errors that a mint may leave."""
    return [one for one in gc.get_objects() if isinstance(one, MintError | OSError | HTTPError)]


def test_a_failed_mint_leaves_nothing_to_the_garbage_collector(
    mint: Callable[[], Answer], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes after so many objects, and a circle of errors and frames may hold a reply of any size."""
    monkeypatch.setattr(service._identity, "token", lambda _: "token")
    codes = {mint()[1] for _ in range(3)}  # nobody listens there
    gc.collect()
    others = errors()
    gc.disable()
    try:
        mint()
        left = [repr(one) for one in errors() if not any(one is other for other in others)]
    finally:
        gc.enable()

    assert codes == {"upstream_unavailable"}
    assert left == []
