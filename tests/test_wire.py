"""One call over real sockets: what goes out, how long a reply may take, and when a connection is kept."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from mint.outcome import UpstreamError
from mint.trip import Trip
from mint.wire import Wire
from tests.answering import Accepting

BODY = b'{"session":{}}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server(Accepting):
    """One listener; `script` answers each request of each connection, `received` is what came, as it came.

    A request is what comes `at_once`, in as many bytes at most.
    """

    def __init__(self, script: Callable[[socket.socket], None], at_once: int) -> None:
        self._script, self._at_once = script, at_once
        self.received: list[bytes] = []
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}/path?a=b"

    def talk(self, connection: socket.socket) -> None:
        """Keep what comes, and answer it by the script."""
        while data := connection.recv(self._at_once):
            self.received.append(data)
            self._script(connection)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """`serve(script)`: a server that answers by the script."""
    started: list[Server] = []

    def start(
        script: Callable[[socket.socket], None] = lambda connection: connection.sendall(OK), at_once: int = 65536
    ) -> Server:
        started.append(Server(script, at_once))
        return started[-1]

    yield start
    for server in started:
        server.close()


def trip(seconds: float = 10.0) -> Trip:
    """Return a caller's way with that much time."""
    return Trip(time.monotonic() + seconds)


def drip(start: bytes) -> Callable[[socket.socket], None]:
    """Return a script that sends `start`, and then a byte every 20 ms without end."""

    def script(connection: socket.socket) -> None:
        connection.sendall(start)
        for _ in count():
            time.sleep(0.02)
            connection.sendall(b"x")

    return script


def test_head_and_body_leave_together(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """In two pieces they would wake the other side twice."""
    server, sent = serve(), []
    send = socket.socket.sendall

    def record(of: socket.socket, data: bytes) -> None:
        sent.append(bytes(data))
        send(of, data)

    with monkeypatch.context() as patched:
        patched.setattr(socket.socket, "sendall", record)
        Wire(server.url, 1).post(BODY, "the-token", trip())

    (received,) = (data for data in sent if data != OK)
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /path?a=b HTTP/1.1"
    assert "Authorization: Bearer the-token" in lines
    assert "Content-Type: application/json" in lines
    assert f"Content-Length: {len(BODY)}" in lines
    assert body == BODY


def test_a_connection_is_used_again(serve: Callable[..., Server]) -> None:
    """As long as the server keeps it open."""
    server = serve()
    wire = Wire(server.url, 1)

    for _ in range(3):
        assert wire.post(BODY, "token", trip()).body == b"{}"

    assert server.connections == 1


def test_a_connection_that_was_warmed_is_the_one_that_mints(serve: Callable[..., Server]) -> None:
    """Warming leaves one in the pool, whatever the reply to its request says."""
    server = serve(lambda connection: connection.sendall(b"HTTP/1.1 404 Nothing\r\nContent-Length: 2\r\n\r\n{}"))
    wire = Wire(server.url, 1)

    wire.warm()
    wire.post(BODY, "token", trip())

    assert server.connections == 1
    assert server.received[0].startswith(b"GET ")
    assert b"Authorization" not in server.received[0]


def test_a_reply_that_ends_with_its_connection_is_read_whole(serve: Callable[..., Server]) -> None:
    """The reply holds the socket when http.client has let go of the connection."""

    def once(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{")
        connection.sendall(b"}")
        connection.shutdown(socket.SHUT_RDWR)

    server = serve(once)
    wire = Wire(server.url, 1)

    assert [wire.post(BODY, "token", trip()).body for _ in range(2)] == [b"{}", b"{}"]
    assert server.connections == 2


def test_a_reply_in_chunks_and_compressed_is_read_whole(serve: Callable[..., Server]) -> None:
    """Not asked for, but gateways do it; the first chunk is gzip's header alone, which unpacks to nothing."""
    secret = b'{"value": "' + bytes(range(48, 58)) * 5_000 + b'"}'
    packed = gzip.compress(secret)
    chunks = [packed[:10], packed[10:11], packed[11:40], packed[40:]]

    def chunked(connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n"
            + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        )
        time.sleep(0.02)
        connection.sendall(b"0\r\n\r\n")

    server = serve(chunked)
    wire = Wire(server.url, 1)

    assert [wire.post(BODY, "token", trip()).body for _ in range(2)] == [secret, secret]
    assert server.connections == 1


@pytest.mark.parametrize("size", [len(BODY), 16_000_000], ids=["sent", "sending"])
@pytest.mark.parametrize(
    "early", [b"", b"HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\n{}"], ids=["nothing", "413"]
)
def test_an_answer_to_half_a_request_is_the_answer(early: bytes, size: int, serve: Callable[..., Server]) -> None:
    """It counts though the rest of the request met a closed connection; without one the connection was lost."""
    closed = threading.Event()

    def hasty(connection: socket.socket) -> None:
        if server.connections == 1:
            connection.sendall(early)
            connection.close()
            closed.set()
        else:
            connection.recv(65536)
            connection.sendall(OK)

    server = serve(hasty, at_once=1)
    wire = Wire(server.url, 1)

    try:
        outcome: object = wire.post(bytes(size), "token", trip()).status
    except UpstreamError as error:
        outcome = error.code

    assert closed.wait(10)
    assert outcome == (413 if early else "upstream_unavailable")
    assert wire.post(BODY, "token", trip()).body == b"{}"
    assert server.connections == 2


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["status", "header", "body", "body-without-length"],
)
def test_a_reply_that_drips_ends_with_the_trips_share(start: bytes, serve: Callable[..., Server]) -> None:
    """Each byte starts a socket's timeout anew; what counts is this call's time, so that another can be made."""
    server = serve(drip(start))
    way = trip(1.2)

    with pytest.raises(UpstreamError) as caught, way.half_the_time():
        Wire(server.url, 1).post(BODY, "token", way)

    assert caught.value.code == "upstream_timeout"
    assert way.seconds_to_deadline() > 0


def test_no_time_left_is_not_a_call_without_a_limit(serve: Callable[..., Server]) -> None:
    """A timeout of 0 would mean a socket that never blocks."""
    server = serve(lambda _: None)

    with pytest.raises(UpstreamError) as caught:
        Wire(server.url, 1).post(BODY, "token", trip(0))

    assert caught.value.code == "upstream_timeout"


def test_what_is_left_of_a_broken_reply_is_not_read_by_the_next(serve: Callable[..., Server]) -> None:
    """A connection whose reply was not read to its end is closed and not used again."""
    replies = iter([b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 2_000_000, OK])
    server = serve(lambda connection: connection.sendall(next(replies)))
    wire = Wire(server.url, 1)

    with pytest.raises(UpstreamError, match="too large"):
        wire.post(BODY, "token", trip())

    assert wire.post(BODY, "token", trip()).body == b"{}"
    assert server.connections == 2
