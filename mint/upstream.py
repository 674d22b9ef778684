"""The call to Azure OpenAI that mints: one warm pool of connections, a deadline, and a second try where it helps.

State is per process: the connection pool. `requests.Session` promises no thread safety (psf/requests#2766); what
threads share here is its adapter, urllib3's pool, which is thread-safe, and a cookie jar that accepts nothing.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from mint.body import Json
from mint.identity import Identity
from mint.replies import Minted, Remedy, Reply, UpstreamError
from mint.replies import read as read_reply
from mint.session import Session, with_block
from mint.settings import Settings

MAX_REPLY_BYTES = 1 << 20
MAX_CALLS = 3
"""Upstream calls for one request, whatever happens."""


@dataclass(slots=True)
class Trip:
    """One caller's way upstream: the time and calls it has left, and what its log line tells of it."""

    ends_at: float
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    attempts: int = 0
    upstream_seconds: float = 0.0
    upstream_status: int | None = None
    apim_request_id: str | None = None
    region: str | None = None

    def seconds_left(self) -> float:
        """Return the time until the deadline, never below 0."""
        return max(0.0, self.ends_at - self.clock())

    def may_call(self) -> bool:
        """Tell whether another upstream call is allowed."""
        return self.attempts < MAX_CALLS and self.seconds_left() > 0


class Upstream:
    """One Azure OpenAI resource."""

    def __init__(self, settings: Settings, identity: Identity) -> None:
        self._identity = identity
        self._field = settings.transcription_field
        self._url = f"{settings.endpoint}/openai/v1/realtime/client_secrets"
        if settings.api_version:
            self._url += f"?api-version={settings.api_version}"
        self._session = requests.Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        pool = HTTPAdapter(pool_connections=1, pool_maxsize=settings.max_concurrent_mints)
        self._session.mount("https://", pool)
        self._session.mount("http://", pool)
        # Proxies and CA bundle from the environment, looked up once instead of on every call.
        self._transport: Any = self._session.merge_environment_settings(
            self._url, proxies={}, stream=True, verify=None, cert=None
        )
        self._session.trust_env = False

    def mint(self, session: Session, trip: Trip) -> Minted:
        """Mint `session` with its transcription block, if it has one, in the payload.

        Raises `UpstreamError`, or `MintError` `identity_unavailable`.
        """
        if session.transcription is None:
            return self.send(session, trip)
        return replace(self.send(session, trip, transcribed=True), configured="mint_time")

    def send(self, session: Session, trip: Trip, *, transcribed: bool = False) -> Minted:
        """Send one mint, and once more where that may help: with a fresh token, or after a passing fault.

        `transcribed` puts the transcription block into the payload. A 500 is then an answer and not an accident:
        Azure gives it for a block that it cannot digest, every time
        (learn.microsoft.com/answers/questions/5908916).
        """
        body = session.body
        if transcribed and session.transcription is not None:
            body = with_block(body, self._field, session.transcription)
        payload: Json = {"session": body}
        if session.expires_after_seconds is not None:
            payload["expires_after"] = {"anchor": "created_at", "seconds": session.expires_after_seconds}
        data = json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()
        tried: set[Remedy] = set()
        while True:
            token = self._identity.token(trip.seconds_left())
            if not trip.seconds_left():
                raise _timeout(trip)
            try:
                return read_reply(self._post(data, token, trip))
            except UpstreamError as error:
                hopeless = transcribed and error.upstream_status == 500
                if error.remedy in tried | {Remedy.NONE} or hopeless or not trip.may_call():
                    raise
                tried.add(error.remedy)
                if error.remedy is Remedy.FRESH_TOKEN:
                    self._identity.discard(token)

    def _post(self, data: bytes, token: str, trip: Trip) -> Reply:
        """Make one call and read its reply to the end; the only place that sees requests' exceptions."""
        started = trip.clock()
        trip.attempts += 1
        trip.upstream_status = trip.apim_request_id = trip.region = None
        try:
            prepared = requests.Request(
                "POST",
                self._url,
                data=data,
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            ).prepare()
            # requests' timeout is for each read of the socket, so that the deadline needs watching besides.
            response = self._session.send(
                prepared,
                timeout=max(trip.seconds_left(), 0.001),
                allow_redirects=False,
                **self._transport,
            )
            try:
                trip.upstream_status = response.status_code
                trip.apim_request_id = response.headers.get("apim-request-id")
                trip.region = response.headers.get("x-ms-region")
                return Reply(response.status_code, response.headers, _read(response, trip))
            finally:
                response.close()
        except (requests.Timeout, ReadTimeoutError) as error:
            raise _timeout(trip) from error
        except (requests.RequestException, HTTPError, OSError) as error:
            raise UpstreamError(
                "upstream_unavailable",
                "Azure OpenAI cannot be reached, or broke off its reply. Try again; if it lasts, check "
                "AZURE_OPENAI_ENDPOINT.",
                remedy=Remedy.AGAIN,
                upstream_status=trip.upstream_status,
                upstream_request_id=trip.apim_request_id,
                detail=type(error).__name__,
            ) from error
        finally:
            trip.upstream_seconds += trip.clock() - started


def _read(response: requests.Response, trip: Trip) -> bytes:
    """Read the body, at most `MAX_REPLY_BYTES` of it, and not past the deadline however slowly it drips."""
    body = bytearray()
    while chunk := response.raw.read1(65536, decode_content=True):
        body += chunk
        if len(body) > MAX_REPLY_BYTES:
            raise UpstreamError(
                "upstream_unavailable",
                "Azure OpenAI's reply is too large to be a client secret. Check AZURE_OPENAI_ENDPOINT.",
                upstream_status=trip.upstream_status,
                upstream_request_id=trip.apim_request_id,
            )
        if not trip.seconds_left():
            raise _timeout(trip)
    return bytes(body)


def _timeout(trip: Trip) -> UpstreamError:
    return UpstreamError(
        "upstream_timeout",
        "Azure OpenAI did not answer within MINT_DEADLINE_SECONDS. Try again.",
        upstream_status=trip.upstream_status,
        upstream_request_id=trip.apim_request_id,
    )
