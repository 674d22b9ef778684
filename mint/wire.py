"""One call to Azure OpenAI: the warm connections, the time it may take, and the only eye on requests' exceptions.

State is per process: the connection pool. `requests.Session` has no thread safety (psf/requests#2766), follows
redirects and keeps cookies; threads share its adapter alone, which is urllib3's thread-safe pool underneath.
"""

import io
import socket
import threading
import time
from http.client import HTTPResponse
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util.ssl_ import create_urllib3_context

from mint import __version__
from mint.errors import forget_frames
from mint.outcome import Remedy, UpstreamError
from mint.replies import Reply
from mint.trip import Trip

MAX_REPLY_BYTES = 1 << 18
CONNECT_SECONDS = 5
"""What opening a connection ahead of the first mint may take."""


class Wire:
    """Warm connections to one URL."""

    def __init__(self, url: str, connections: int) -> None:
        """Keep up to `connections` open; proxies and CA bundle of the environment are looked up here, once."""
        self._url = url
        self._transport: Any = requests.Session().merge_environment_settings(
            url, proxies={}, stream=True, verify=None, cert=None
        )
        self._adapter = _OneUrl(self._request("GET"), self._transport, connections)

    def warm(self) -> None:
        """Open a connection and leave it in the pool, by a request that mints nothing.

        Raises requests' errors.
        """
        trip = Trip(time.monotonic() + CONNECT_SECONDS)
        self._send(self._request("GET"), trip).drain_conn()  # which puts the connection back into the pool

    def post(self, data: bytes, token: str, trip: Trip) -> Reply:
        """Make one call and read its reply to the end; the only place that sees requests' exceptions.

        It ends with the trip's time, except that urllib3 gives each address of a name that long to connect.
        """
        started = trip.clock()
        trip.attempts += 1
        trip.upstream_status = trip.apim_request_id = trip.region = None
        try:
            request = self._request("POST", data)
            request.headers["Authorization"] = f"Bearer {token}"
            if trip.safety_identifier:
                request.headers["OpenAI-Safety-Identifier"] = trip.safety_identifier
            response = self._send(request, trip)
            try:
                trip.upstream_status = response.status
                trip.apim_request_id = response.headers.get("apim-request-id")
                trip.region = response.headers.get("x-ms-region")
                return Reply(response.status, response.headers, _read(response, trip))
            finally:
                response.close()
                response.release_conn()
        except (requests.Timeout, ReadTimeoutError) as error:
            forget_frames(error)
            raise timeout(trip) from error
        except (requests.RequestException, HTTPError, OSError) as error:
            forget_frames(error)
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

    def _send(self, request: requests.PreparedRequest, trip: Trip) -> Any:  # noqa: ANN401 - urllib3's response, as `build_response` leaves it
        _on_this_thread.trip = trip
        return self._adapter.send(request, timeout=max(trip.seconds_left(), 0.001), **self._transport)

    def _request(self, method: str, data: bytes = b"") -> requests.PreparedRequest:
        """Return what `requests` would prepare; its own way takes the URL apart for every call."""
        request = requests.PreparedRequest()
        request.method, request.url, request.body = method, self._url, data
        request.headers = {"Content-Length": str(len(data)), **_HEADERS}  # type: ignore[assignment]
        return request


_HEADERS = {
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": f"realtime-token-endpoint/{__version__}",
}


class _OneUrl(HTTPAdapter):
    """requests' adapter, doing once what is the same for every call of one URL."""

    def __init__(self, request: requests.PreparedRequest, transport: Any, connections: int) -> None:  # noqa: ANN401 - what merge_environment_settings returns
        super().__init__(pool_connections=1, pool_maxsize=connections)
        pool: Any = super().get_connection_with_tls_context(
            request, transport["verify"], proxies=transport["proxies"], cert=transport["cert"]
        )
        pool.ConnectionCls = type("_Timed", (_Timed, pool.ConnectionCls), {})
        if pool.scheme == "https":
            super().cert_verify(pool, request.url, transport["verify"], transport["cert"])  # type: ignore[no-untyped-call]  # requests'
            # urllib3 would make a context for every connection, and read the whole CA bundle each time.
            context = create_urllib3_context()
            context.load_verify_locations(pool.ca_certs, pool.ca_cert_dir)
            pool.conn_kw["ssl_context"] = context
            pool.ca_certs = pool.ca_cert_dir = None
        self._pool: ConnectionPool = pool
        self._target = super().request_url(request, transport["proxies"])

    def get_connection_with_tls_context(self, *_request: Any, **_transport: Any) -> ConnectionPool:  # noqa: ANN401 - requests' own signature
        """Return the pool; requests asks for every request."""
        return self._pool

    def request_url(self, *_request: Any) -> str:  # noqa: ANN401 - as above
        """Return what stands in the request's first line."""
        return self._target

    def cert_verify(self, *_request: Any) -> None:  # noqa: ANN401 - as above
        """Do nothing for a request: the pool's context has the certificates."""

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> Any:  # noqa: ANN401, ARG002 - as above
        """Return urllib3's response as it is: nothing else of what requests makes of it is read here."""
        return resp


class _Timed:
    """A connection that sends a request in one piece, and reads its reply no longer than the trip may take."""

    sock: socket.socket
    _held: bytearray | None = None

    def request(self, *request: Any, **more: Any) -> None:  # noqa: ANN401 - urllib3's own signature
        """Send head and body together: http.client sends them apart, and the other side would wake twice."""
        self._held = bytearray()
        try:
            super().request(*request, **more)  # type: ignore[misc]  # urllib3's connection is the next base
        finally:
            held, self._held = self._held, None
        self.send(held)

    def send(self, data: bytes | bytearray) -> None:
        """Send, or hold what a request consists of until it is whole."""
        if self._held is None:
            super().send(data)  # type: ignore[misc]  # as above
        else:
            self._held += data

    @staticmethod
    def response_class(sock: socket.socket, *more: Any, **named: Any) -> HTTPResponse:  # noqa: ANN401 - http.client's own
        """Return the reply that is about to come."""
        return HTTPResponse(_Reading(sock, _on_this_thread.trip), *more, **named)  # type: ignore[arg-type]  # it wants makefile alone


class _Reading(io.RawIOBase):
    """What comes from a socket until the trip's time is up; the socket's own starts anew with every byte."""

    def __init__(self, sock: socket.socket, trip: Trip) -> None:
        self._sock, self._trip = sock, trip
        self._raw = sock.makefile("rb", buffering=0)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return it as the file that http.client reads."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - io's own
        """Read what has come; raises TimeoutError when the time is up."""
        left = self._trip.seconds_left()
        if not left:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Close the file, and the socket if nothing else holds it."""
        self._raw.close()
        super().close()


_on_this_thread = threading.local()
"""`trip`: whose call it is. urllib3 hands a connection out deep inside, where a trip cannot be passed."""


def _read(response: Any, trip: Trip) -> bytes:  # noqa: ANN401 - urllib3's, as `build_response` left it
    """Read the body, at most `MAX_REPLY_BYTES` of it."""
    body = bytearray()
    while chunk := response.read1(65536, decode_content=True):
        body += chunk
        if len(body) > MAX_REPLY_BYTES:
            raise UpstreamError(
                "upstream_unavailable",
                "Azure OpenAI's reply is too large to be a client secret. Check AZURE_OPENAI_ENDPOINT.",
                upstream_status=trip.upstream_status,
                upstream_request_id=trip.apim_request_id,
            )
    return bytes(body)


def timeout(trip: Trip) -> UpstreamError:
    """Return the error of a trip that ran out of time."""
    return UpstreamError(
        "upstream_timeout",
        "The mint did not end within MINT_DEADLINE_SECONDS. Try again.",
        upstream_status=trip.upstream_status,
        upstream_request_id=trip.apim_request_id,
    )
