"""How often a caller may mint: MINT_QUOTA's moving windows, counted here or in a Redis that instances share.

Counted per process, so that each instance grants the whole quota, unless QUOTA_STORAGE_URI names a Redis; and
for as long as that Redis is down.
"""

import hmac
import math
import secrets
import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mint.body import Json
from mint.errors import MintError
from mint.settings import Settings

if TYPE_CHECKING:
    from limits import RateLimitItem

MAX_CALLERS = 100_000
"""Callers remembered at once. Beyond it the one who has not minted for longest starts afresh."""


@dataclass(frozen=True, slots=True)
class Spent:
    """One mint taken from a caller's quota; what it takes to give it back."""

    key: str = field(repr=False)
    id: str
    at: float


class Quota:
    """Spends each caller's quota. A refused caller has spent nothing."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        windows = []
        if settings.mint_quota != "off":
            from limits import parse_many  # noqa: PLC0415 - it brings an asyncio half that costs every cold start

            windows = parse_many(settings.mint_quota)
        self._clock = clock
        # Not a random one, as for the log: instances that share a Redis have to agree on a caller's name.
        self._hash_key = (settings.caller_hash_key or "").encode()
        self._here = Count(windows) if windows else None
        self._shared = None
        if windows and settings.quota_storage_uri != "memory://":
            from mint.shared_count import SharedCount  # noqa: PLC0415 - 55 ms of redis, for this storage alone

            self._shared = SharedCount(settings.quota_storage_uri, windows, clock)

    def spend(self, caller: str) -> Spent | None:
        """Take one mint from the caller's quota, None if there is no quota; raises `MintError` `quota_exceeded`.

        What Redis admits is counted here too, so that a Redis that goes down does not fill every quota again.
        """
        if not self._here:
            return None
        name = hmac.digest(self._hash_key, caller.encode(), "sha256").hex()
        spent = Spent(name, secrets.token_hex(8), self._clock())
        wait = self._shared.spend(spent.key, spent.id) if self._shared else None
        if wait is None:
            wait = self._here.spend(spent.key, spent.at)
        elif not wait:
            self._here.add(spent.key, spent.at)
        if wait:
            raise MintError(
                "quota_exceeded",
                "You have minted as often as MINT_QUOTA allows for now. Wait as long as Retry-After says.",
                retry_after=math.ceil(wait),
            )
        return spent

    def give_back(self, spent: Spent) -> None:
        """Undo `spend`, without waiting for anything."""
        if self._here:
            self._here.give_back(spent.key, spent.at)
        if self._shared:
            self._shared.give_back(spent.key, spent.id)

    def take_notices(self) -> list[Json]:
        """Return the log events that wait to be written, each once."""
        return self._shared.take_notices() if self._shared else []


class Count:
    """The mints of each caller in this process: the times of the newest ones, oldest first.

    Not limits' own memory storage (5.8): it keeps an entry for every caller ever seen, walks through all of them
    up to a hundred times a second, takes one window at a time and nothing back.
    """

    def __init__(self, windows: "Sequence[RateLimitItem]", max_callers: int = MAX_CALLERS) -> None:
        self._windows = [(window.amount, window.get_expiry()) for window in windows]
        self._most = max(amount for amount, _ in self._windows)
        self._longest = max(seconds for _, seconds in self._windows)
        self._max_callers = max_callers
        self._lock = threading.Lock()
        self._callers: OrderedDict[str, list[float]] = OrderedDict()  # who minted last comes last

    def spend(self, key: str, now: float) -> float:
        """Count a mint and return 0; or count nothing, and return the seconds until there would be room."""
        with self._lock:
            times = self._callers.get(key, [])
            full = (window for window in self._windows if len(times) >= window[0])
            wait = max((times[-amount] + seconds - now for amount, seconds in full), default=0.0)
            if wait > 0:
                return wait
            self._add(key, now)
            return 0.0

    def add(self, key: str, now: float) -> None:
        """Count a mint that was admitted elsewhere."""
        with self._lock:
            self._add(key, now)

    def give_back(self, key: str, at: float) -> None:
        """Forget the mint of that time."""
        with self._lock:
            times = self._callers.get(key, [])
            if at in times:
                times.remove(at)
            if not times:
                self._callers.pop(key, None)

    def callers(self) -> int:
        """Return how many callers are remembered."""
        return len(self._callers)

    def _add(self, key: str, now: float) -> None:
        times = self._callers.setdefault(key, [])
        times.insert(bisect_right(times, now), now)  # threads come here a little out of order
        del times[: max(bisect_right(times, now - self._longest), len(times) - self._most)]
        self._callers.move_to_end(key)
        while len(self._callers) > self._max_callers or self._oldest() <= now - self._longest:
            self._callers.popitem(last=False)

    def _oldest(self) -> float:
        return next(iter(self._callers.values()))[-1]
