"""A worker: many callers in one process, over plain sockets. Reads an order on stdin, writes a result to stdout.

Written out by hand because a client library would need more CPU time than the endpoint it calls.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

WARM_SECONDS = 0.3
ANSWER_SECONDS = 30
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection with one request under way; of the answer it reads the status and the length."""

    def __init__(self) -> None:
        self.open = False
        self._got = bytearray()
        self._end = 0
        self._answer: asyncio.Future[str] | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport, self.open = transport, True

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that is under way."""
        self.open = False
        if self._answer and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed before the answer"))

    def data_received(self, data: bytes) -> None:
        """Collect the answer until it is whole."""
        self._got += data
        if not self._end:
            head = self._got.find(b"\r\n\r\n")
            if head < 0:
                return
            length = _LENGTH.search(self._got, 0, head + 2)
            self._end = head + 4 + (int(length[1]) if length else 0)
        if len(self._got) >= self._end and self._answer and not self._answer.done():
            self._answer.set_result(self._got[9:12].decode())

    async def ask(self, request: bytes) -> str:
        """Send a request and return the status of its answer."""
        assert self._transport is not None
        self._got.clear()
        self._end = 0
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer


class Caller:
    """Someone who asks again and again, and connects anew only when the server has hung up."""

    def __init__(self, target: dict[str, Any]) -> None:
        url = urlsplit(target["url"])
        self._address = (url.hostname, url.port)
        body = target["body"].encode()
        headers = {"Host": url.netloc, **target["headers"], "Content-Length": str(len(body))}
        lines = [f"{target['method']} {url.path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
        self._request = "\r\n".join([*lines, "", ""]).encode() + body
        self._connection = Connection()

    async def ask(self) -> str:
        """Return the answer's status, or the name of what went wrong."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if not self._connection.open:
                    loop = asyncio.get_running_loop()
                    _, self._connection = await loop.create_connection(Connection, *self._address)
                return await self._connection.ask(self._request)
        except (OSError, TimeoutError) as error:
            return type(error).__name__


async def steady(target: dict[str, Any], callers: int, seconds: float) -> dict[str, Any]:
    """Let each caller ask again as soon as it is answered."""
    latencies: list[float] = []
    statuses: Counter[str] = Counter()
    counted_from = time.perf_counter() + WARM_SECONDS
    until = counted_from + seconds

    async def keep_asking(caller: Caller) -> None:
        while (started := time.perf_counter()) < until:
            statuses[await caller.ask()] += 1
            # Without those that began in the warm-up or ended after the last moment, the rate is exact.
            if counted_from <= started and (now := time.perf_counter()) <= until:
                latencies.append(now - started)

    await asyncio.gather(*(keep_asking(Caller(target)) for _ in range(callers)))
    return {"latencies": latencies, "seconds": seconds, "statuses": statuses, "cpu_seconds": time.process_time()}


async def bursts(target: dict[str, Any], callers: int, rounds: int, warm_up: int) -> list[dict[str, Any]]:
    """Let all callers ask at once, round after round."""
    everybody = [Caller(target) for _ in range(callers)]
    results = []
    for _ in range(warm_up + rounds):
        started = time.perf_counter()
        statuses = Counter(await asyncio.gather(*(caller.ask() for caller in everybody)))
        results.append({"seconds": time.perf_counter() - started, "statuses": statuses})
        await asyncio.sleep(0.2)
    return results[warm_up:]


def main() -> None:
    """Carry out the order."""
    order = json.load(sys.stdin)
    kinds: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {"steady": steady, "bursts": bursts}
    json.dump(asyncio.run(kinds[order.pop("kind")](**order)), sys.stdout)


if __name__ == "__main__":
    main()
