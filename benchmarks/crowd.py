"""Callers that ask the endpoint again and again while something else happens, and every answer they got.

They live in a thread of their own, over aiohttp, good for some hundred calls a second. `late` says how long that
thread itself was kept waiting, so that its own slowness is not taken for the endpoint's.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import aiohttp

_HEARTBEAT = 0.01


@dataclass(frozen=True, slots=True)
class Answer:
    """One call: when it began, what it took, its HTTP status (0: none came), and what it said."""

    began: float
    seconds: float
    status: int
    code: str
    """`minted`, the error's code, or, where no answer came, the name of what happened instead."""
    retry_after: str | None = None
    url: str = ""
    """Where a minted secret leads."""
    request_id: str | None = None

    @property
    def ended(self) -> float:
        """When the answer was complete."""
        return self.began + self.seconds


class Crowd:
    """`callers` callers for as long as the `with` block; each asks, waits `pause` seconds, and asks again."""

    def __init__(
        self, url: str, callers: int, *, pause: float = 0.05, patience: float = 30, method: str = "POST"
    ) -> None:
        """`patience`: seconds after which a call counts as unanswered."""
        self._url, self._callers, self._pause, self._method = url, callers, pause, method
        self._patience = patience
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="crowd", daemon=True)
        self.begun = 0
        """Calls so far; once the `with` block has ended there are as many answers."""
        self.answers: list[Answer] = []
        self.late = 0.0
        """Seconds by which the callers' own thread was late at worst."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Let the calls that are under way end, and close the connections."""
        self._stop.set()
        self._thread.join()

    def since(self, moment: float) -> list[Answer]:
        """Return the answers to what was asked at that moment or later."""
        return [answer for answer in list(self.answers) if answer.began >= moment]

    def until(self, count: int, since: float, seconds: float = 30) -> None:
        """Return when `count` calls that began since then are answered; TimeoutError where they are not."""
        give_up = time.monotonic() + seconds
        while len(self.since(since)) < count:
            if time.monotonic() > give_up:
                raise TimeoutError(f"{len(self.since(since))} of {count} answers in {seconds} s")
            self._stop.wait(0.02)

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=self._patience)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
            beat = asyncio.create_task(self._beat())
            await asyncio.gather(*(self._ask_on(session, number) for number in range(self._callers)))
            beat.cancel()

    async def _beat(self) -> None:
        while True:
            due = time.monotonic() + _HEARTBEAT
            await asyncio.sleep(_HEARTBEAT)
            self.late = max(self.late, time.monotonic() - due)

    async def _ask_on(self, session: aiohttp.ClientSession, number: int) -> None:
        await asyncio.sleep(self._pause * number / self._callers)  # not all at one moment
        while not self._stop.is_set():
            self.begun += 1
            self.answers.append(await self._ask(session))
            await asyncio.sleep(self._pause)

    async def _ask(self, session: aiohttp.ClientSession) -> Answer:
        began = time.monotonic()
        try:
            async with session.request(self._method, self._url) as response:
                text = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Answer(began, time.monotonic() - began, 0, type(error).__name__)
        seconds = time.monotonic() - began
        try:
            said = json.loads(text)
        except ValueError:
            said = {}
        code = "minted" if "value" in said else said.get("error", {}).get("code", said.get("status", "not ours"))
        of = response.headers
        url = said.get("webrtc_url", "")
        return Answer(began, seconds, response.status, code, of.get("Retry-After"), url, of.get("x-request-id"))


def codes(answers: Iterable[Answer]) -> Counter[str]:
    """Return how often each code was answered."""
    return Counter(answer.code for answer in answers)
