"""One mint at a real resource, and its record.

Each call has a connection of its own, so that an intermittent fault behind a load balancer can show; its
milliseconds therefore include the TLS handshake, which the app's own warm connections do not pay.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from diagnose.records import API_KEY, Call, Outcome, Variant
from mint.body import Json
from mint.errors import MintError
from mint.outcome import Minted, UpstreamError
from mint.replies import Reply, read
from mint.settings import FLAT_FIELD

_MAX_REPLY_BYTES = 1 << 20
_OUTCOMES = {
    "upstream_throttled": Outcome.THROTTLED,
    "upstream_denied": Outcome.DENIED,
    "deployment_not_found": Outcome.NO_DEPLOYMENT,
    "deployment_not_realtime": Outcome.NOT_REALTIME,
}


class Resource:
    """One Azure OpenAI resource, and the credentials to mint there: `credentials[auth]()` gives the value."""

    def __init__(
        self,
        endpoint: str,
        api_version: str | None,
        credentials: Mapping[str, Callable[[], str]],
        timeout: float,
    ) -> None:
        self.endpoint = endpoint
        self.credentials = credentials
        self.timeout = timeout
        self._url = f"{endpoint}/openai/v1/realtime/client_secrets"
        self._query = {"api-version": api_version} if api_version else {}

    def reach(self) -> None:
        """Get any HTTP answer at all; raises what `requests` raises, or a `TimeoutError`."""
        within(
            self.timeout,
            lambda: requests.get(self.endpoint, timeout=self.timeout, allow_redirects=False, stream=True).close(),
        )

    def mint(self, variant: Variant, sent: Json, number: int, round_: int) -> tuple[Call, Minted | None]:
        """Send one mint and never a second; whatever happens, there is a record of it."""
        at, started = datetime.now(UTC), time.monotonic()
        reply, minted, error, lost = None, None, None, None
        try:
            value = self.credentials[variant.auth]()
            at, started = datetime.now(UTC), time.monotonic()
            reply = within(self.timeout, lambda: self._post(sent, variant.auth, value))
            minted = read(reply)
        except MintError as failure:
            error = failure
        except (requests.Timeout, TimeoutError):
            lost = "timeout"
        except (requests.RequestException, HTTPError, OSError):
            lost = "connection lost"
        outcome, code = _outcome(reply, minted, error, variant)
        call = Call(
            number=number,
            round=round_,
            variant=variant,
            at=at,
            outcome=outcome,
            status=reply.status if reply else None,
            milliseconds=round((time.monotonic() - started) * 1000),
            code=code or lost,
            param=error.param if error else None,
            request_id=_word(reply.request_id) if reply else None,
            region=_word(reply.headers.get("x-ms-region")) if reply else None,
            retry_after=error.retry_after if error else None,
        )
        return call, minted

    def _post(self, sent: Json, auth: str, value: str) -> Reply:
        def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
            # As `auth=`, because a header alone would be overwritten from a ~/.netrc that knows the host.
            name, text = ("api-key", value) if auth == API_KEY else ("Authorization", f"Bearer {value}")
            request.headers[name] = text
            return request

        with requests.post(
            self._url,
            params=self._query,
            data=json.dumps(sent, ensure_ascii=False).encode(),
            headers={"Content-Type": "application/json"},
            auth=sign,
            timeout=self.timeout,
            allow_redirects=False,
            stream=True,
        ) as response:
            body = bytearray()
            while len(body) <= _MAX_REPLY_BYTES and (chunk := response.raw.read1(65536, decode_content=True)):
                body += chunk
            return Reply(response.status_code, response.headers, bytes(body))


def within[T](seconds: float, function: Callable[[], T]) -> T:
    """Run `function` for at most `seconds`, however slowly a server drips; raises `TimeoutError`.

    A function that is late is left behind in its daemon thread: requests' own timeout begins anew with each byte.
    """
    flight: Future[T] = Future()

    def fly() -> None:
        try:
            flight.set_result(function())
        except Exception as error:  # noqa: BLE001 - raised again where the result is asked for
            flight.set_exception(error)

    threading.Thread(target=fly, daemon=True).start()
    return flight.result(timeout=seconds)


def _outcome(
    reply: Reply | None, minted: Minted | None, error: MintError | None, variant: Variant
) -> tuple[Outcome, str | None]:
    """Return the outcome, and Azure's own error code where it is a plain word."""
    if minted is not None:
        dropped = variant.field is not None and not has_block(minted.echo)
        return (Outcome.DROPPED if dropped else Outcome.MINTED), None
    if reply is None:
        return Outcome.NO_ANSWER, error.code if error else None
    code = _word((error.detail or "").partition(":")[0]) if error else None
    if not isinstance(error, UpstreamError):
        return Outcome.FAILED, code
    return _OUTCOMES.get(error.code, Outcome.FAILED), code


def has_block(session: Json) -> bool:
    """Tell whether a session that Azure shows has a transcription block, in either place."""
    nested: Any = session
    for name in ("audio", "input", "transcription"):
        nested = nested.get(name) if isinstance(nested, dict) else None
    return isinstance(nested, dict) or isinstance(session.get(FLAT_FIELD), dict)


def _word(text: str | None) -> str | None:
    """Return `text` if it is a name or an id: a server's words end in a report, and may hold anything."""
    return text if text and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", text) else None
