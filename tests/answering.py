"""Servers inside the test's own process: of HTTP, which answers what the test says, and of bare sockets."""

import abc
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass
class Answer:
    """One answer; `before` is waited for."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None


@dataclass
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


class Answering:
    """The server, a context manager: each path's answers in order, the last one for ever; `otherwise` without."""

    def __init__(self, otherwise: Answer = Answer(status=404)) -> None:  # noqa: B008 - nothing changes an Answer
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[Asked] = []
        self._otherwise = otherwise
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def answer(self, asked: Asked) -> Answer:
        """Keep the request, and return what it gets."""
        self.asked.append(asked)
        answers = self.answers.get(asked.path, [self._otherwise])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(server: Answering) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer."""
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = server.answer(Asked(self.path, dict(self.headers.items()), body))
            answer.before()
            with suppress(OSError):  # whoever asked has gone
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

        do_POST = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


class Accepting(abc.ABC):
    """A listener on `port`, and a thread for each connection."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop taking connections."""
        self._listener.close()

    @abc.abstractmethod
    def talk(self, connection: socket.socket) -> None:
        """Say what is to be said; the connection ends with it, or with an OSError."""

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.talk(connection)
