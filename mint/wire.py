"""One call to Azure OpenAI: the warm connections, the time it may take, and the only eye on requests' exceptions.

State is per process: the connection pool. `requests.Session` has no thread safety (psf/requests#2766), follows
redirects and keeps cookies; threads share its adapter alone, which is urllib3's thread-safe pool underneath.
"""

import socket
import threading
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util.ssl_ import create_urllib3_context

from mint import __version__
from mint.replies import Remedy, Reply, UpstreamError
from mint.trip import Trip

MAX_REPLY_BYTES = 1 << 20
CONNECT_SECONDS = 5
"""What opening a connection ahead of the first mint may take."""


class Wire:
    """Warm connections to one URL."""

    def __init__(self, url: str, connections: int) -> None:
        """Keep up to `connections` open; proxies and CA bundle of the environment are looked up here, once."""
        headers = {"Content-Type": "application/json", "User-Agent": f"realtime-token-endpoint/{__version__}"}
        self._template = requests.Request("POST", url, headers=headers).prepare()
        self._transport: Any = requests.Session().merge_environment_settings(
            url, proxies={}, stream=True, verify=None, cert=None
        )
        self._adapter = _OneUrl(self._template, self._transport, connections)

    def warm(self) -> None:
        """Open a connection and leave it in the pool, by a request that mints nothing.

        Raises requests' errors.
        """
        request = self._template.copy()
        request.method = "GET"
        response = self._adapter.send(request, timeout=CONNECT_SECONDS, **self._transport)
        _ = response.content  # read to the end, which is what puts the connection back

    def post(self, data: bytes, token: str, trip: Trip) -> Reply:
        """Make one call and read its reply to the end; the only place that sees requests' exceptions."""
        started = trip.clock()
        trip.attempts += 1
        trip.upstream_status = trip.apim_request_id = trip.region = None
        _on_this_thread.trip = trip
        try:
            request = self._template.copy()
            request.headers["Authorization"] = f"Bearer {token}"
            if trip.safety_identifier:
                request.headers["OpenAI-Safety-Identifier"] = trip.safety_identifier
            request.body = data
            request.prepare_content_length(data)
            # requests' timeout is for each read of the socket, so that the deadline needs watching besides.
            response = self._adapter.send(request, timeout=max(trip.seconds_left(), 0.001), **self._transport)
            try:
                trip.upstream_status = response.status_code
                trip.apim_request_id = response.headers.get("apim-request-id")
                trip.region = response.headers.get("x-ms-region")
                return Reply(response.status_code, response.headers, _read(response, trip))
            finally:
                response.close()
        except (requests.Timeout, ReadTimeoutError) as error:
            raise timeout(trip) from error
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
            trip.wire = _on_this_thread.trip = None
            trip.upstream_seconds += trip.clock() - started


class _OneUrl(HTTPAdapter):
    """requests' adapter, finding the connection pool of its one URL once instead of for every call."""

    def __init__(self, request: requests.PreparedRequest, transport: Any, connections: int) -> None:  # noqa: ANN401 - what merge_environment_settings returns
        super().__init__(pool_connections=1, pool_maxsize=connections)
        pool: Any = super().get_connection_with_tls_context(
            request, transport["verify"], proxies=transport["proxies"], cert=transport["cert"]
        )
        pool.ConnectionCls = type("_Tethered", (_Tether, pool.ConnectionCls), {})
        if pool.scheme == "https":
            super().cert_verify(pool, request.url, transport["verify"], transport["cert"])  # type: ignore[no-untyped-call]  # requests'
            # urllib3 would make a context for every connection, and read the whole CA bundle each time.
            context = create_urllib3_context()
            context.load_verify_locations(pool.ca_certs, pool.ca_cert_dir)
            pool.conn_kw["ssl_context"] = context
            pool.ca_certs = pool.ca_cert_dir = None
        self._pool: ConnectionPool = pool

    def get_connection_with_tls_context(self, *_request: Any, **_transport: Any) -> ConnectionPool:  # noqa: ANN401 - requests' own signature
        """Return the pool; requests asks for every request."""
        return self._pool

    def cert_verify(self, conn: ConnectionPool, url: str, verify: Any, cert: Any) -> None:  # noqa: ANN401 - requests' own signature
        """Do nothing for a request: the pool's context has the certificates."""


class _Tether:
    """Makes a connection known to the trip that uses it, so that the trip can hang up."""

    sock: socket.socket

    def getresponse(self) -> Any:  # noqa: ANN401 - urllib3's own
        """Wait for the reply; urllib3 calls this once the request has been sent."""
        if trip := getattr(_on_this_thread, "trip", None):
            trip.wire = self.sock
        return super().getresponse()  # type: ignore[misc]  # urllib3's connection is the next base


_on_this_thread = threading.local()


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
            raise timeout(trip)
    return bytes(body)


def timeout(trip: Trip) -> UpstreamError:
    """Return the error of a trip that ran out of time."""
    return UpstreamError(
        "upstream_timeout",
        "The mint did not end within MINT_DEADLINE_SECONDS. Try again.",
        upstream_status=trip.upstream_status,
        upstream_request_id=trip.apim_request_id,
    )
