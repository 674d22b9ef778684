"""A TCP proxy that stands between two programs and breaks what passes, in the ways that networks do.

It knows nothing of HTTP but where a reply's head ends. One thread, all connections; `mode` may change at any time
and holds for connections that exist as well as for new ones.
"""

import asyncio
import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self
from urllib.parse import urlsplit

MODES = {
    "pass": "nothing is broken",
    "reset-at-once": "a connection is reset as soon as there is a request on it, and none of it passed on",
    "reset-after-request": "the request is passed on, and the connection reset before a byte of the reply",
    "reset-in-head": "ten bytes of the reply's head, then a reset",
    "reset-in-body": "the head and ten bytes of the body, then a reset",
    "half-a-body": "the head and ten bytes of the body, then an orderly end",
    "silence": "connections are accepted and nothing is ever answered",
    "refuse": "nobody listens",
}
_BYTES_OF_BODY = 10


class Between:
    """A proxy to `targets` (URLs of which host and port count), each new connection to the next one in turn."""

    def __init__(self, *targets: str) -> None:
        addresses = [(urlsplit(target).hostname, urlsplit(target).port) for target in targets]
        self._targets = itertools.cycle(addresses)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="between", daemon=True)
        self._listener: socket.socket | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._mode = "pass"
        self._thread.start()
        self.port = 0
        self._run(self._listen)
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def mode(self) -> str:
        """Which of `MODES` holds."""
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        if mode not in MODES:
            raise ValueError(f"no such mode: {mode}")
        self._run(lambda: self._set(mode))

    def close(self) -> None:
        """End it and every connection."""
        self._run(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)

    async def _listen(self) -> None:
        # Not an asyncio.Server: closed while it accepts, that one fails aloud on Python 3.13.0.
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self._listener.settimeout(0)
        self.port = self._listener.getsockname()[1]
        self._loop.add_reader(self._listener, self._accept_one, self._listener)

    def _accept_one(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it has gone already
            call = self._loop.create_task(self._accept(listener.accept()[0]))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    def _stop_listening(self) -> None:
        if self._listener:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def _set(self, mode: str) -> None:
        if mode == "refuse":
            self._stop_listening()
            for writer in set(self._open):
                _reset(writer)
        elif self._listener is None:
            await self._listen()
        if self._mode == "silence" and mode != "silence":
            for writer in set(self._open):  # what was swallowed is never answered
                _reset(writer)
        self._mode = mode

    async def _end(self) -> None:
        self._stop_listening()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _accept(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        self._open.add(writer)
        upward, ways = None, []
        try:
            from_target, upward = await asyncio.open_connection(*next(self._targets))
            self._open.add(upward)
            ways = [
                asyncio.ensure_future(self._requests(reader, upward, writer)),
                asyncio.ensure_future(self._replies(from_target, writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.CancelledError):
            pass  # nobody behind it, or the end
        finally:
            for way in ways:
                way.cancel()
            for one in (writer, upward):
                if one:
                    self._open.discard(one)
                    one.close()

    async def _requests(
        self, reader: asyncio.StreamReader, upward: asyncio.StreamWriter, down: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self._mode == "reset-at-once":
                    _reset(down)
                    return
                if self._mode == "silence":
                    continue
                upward.write(data)
                await upward.drain()

    async def _replies(self, reader: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                head = data.find(b"\r\n\r\n") + 4
                match self._mode:
                    case "reset-after-request":
                        _reset(down)
                        return
                    case "reset-in-head":
                        await _last(down, data[:10], reset=True)
                        return
                    case "reset-in-body":
                        await _last(down, data[: head + _BYTES_OF_BODY], reset=True)
                        return
                    case "half-a-body":
                        await _last(down, data[: head + _BYTES_OF_BODY], reset=False)
                        return
                    case "silence":
                        continue
                down.write(data)
                await down.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    # SO_LINGER with a time of 0 makes the kernel send RST in place of FIN.
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _last(writer: asyncio.StreamWriter, data: bytes, *, reset: bool) -> None:
    writer.write(data)
    await writer.drain()
    await asyncio.sleep(0.02)  # or the reset would overtake what was written
    if reset:
        _reset(writer)
