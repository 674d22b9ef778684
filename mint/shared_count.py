"""The mints of each caller in a Redis that all instances share, and what is done while it does not answer.

One script counts all windows at once, by Redis's own clock. A caller waits 250 ms for it at most; once it has
failed nobody waits, until a ping in the background is answered.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from limits import RateLimitItem
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from mint.body import Json

PATIENCE = 0.25
"""Seconds that a caller waits for Redis."""
SOCKET_SECONDS = 0.2
PING_EVERY = 1.0
PING_GIVEN_UP = 30.0
WARN_EVERY = 60.0
THREADS = 16

# KEYS: the caller's sorted set of mint ids by time. ARGV: this mint's id, then amount and seconds of each window.
# limits' own script takes one window a call, and what it has taken cannot be told apart to give it back.
SPEND = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local wait, longest = 0, 0
for i = 2, #ARGV, 2 do
  local amount, seconds = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local oldest = redis.call('ZREVRANGE', KEYS[1], amount - 1, amount - 1, 'WITHSCORES')[2]
  if oldest then wait = math.max(wait, tonumber(oldest) + seconds - now) end
  longest = math.max(longest, seconds)
end
if wait <= 0 then
  redis.call('ZADD', KEYS[1], now, ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - longest)
  redis.call('EXPIRE', KEYS[1], longest)
end
return tostring(wait)
"""


class SharedCount:
    """Counts in Redis. `spend` returns None when Redis cannot be asked."""

    def __init__(
        self, uri: str, windows: Sequence[RateLimitItem], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._windows = [number for window in windows for number in (window.amount, window.get_expiry())]
        self._clock = clock
        self._redis = Redis.from_url(
            uri,
            socket_timeout=SOCKET_SECONDS,
            socket_connect_timeout=SOCKET_SECONDS,
            # Once more for a connection that was closed while idle; a timeout is not tried again.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        self._spend = self._redis.register_script(SPEND)
        # A thread of its own bounds what a socket's timeout does not: name lookup, handshake, several addresses.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="quota")
        self._lock = threading.Lock()
        self._up = True
        self._down_since = 0.0
        self._ping_at = 0.0
        self._warn_at = float("-inf")
        self._warned = False
        self._notices: list[Json] = []

    def spend(self, key: str, mint_id: str) -> float | None:
        """Count a mint and return 0; or return the seconds until there would be room; or None: Redis is down."""
        if not self._up:
            self._ping_if_due()
            return None
        asked = self._threads.submit(self._spend, keys=[_name(key)], args=[mint_id, *self._windows])
        try:
            return float(asked.result(timeout=PATIENCE))
        except (RedisError, OSError, UnicodeError) as error:  # TimeoutError is an OSError
            asked.cancel()
            self._down(error)
            return None

    def give_back(self, key: str, mint_id: str) -> None:
        """Forget a mint, without waiting. If Redis is down the mint stays counted there until it is old."""
        if self._up:
            self._threads.submit(self._redis.zrem, _name(key), mint_id)

    def take_notices(self) -> list[Json]:
        """Return the log events that wait to be written, each once."""
        if not self._notices:
            return []
        with self._lock:
            notices, self._notices = self._notices, []
        return notices

    def _down(self, error: Exception) -> None:
        with self._lock:
            now = self._clock()
            if self._up:
                self._up, self._down_since = False, now
            self._ping_at = now + PING_EVERY
            if now >= self._warn_at + WARN_EVERY:
                self._warn_at, self._warned = now, True
                self._notices.append(
                    {
                        "event": "quota_storage_down",
                        "cause": type(error).__name__,
                        "advice": "Quotas are counted per instance until QUOTA_STORAGE_URI can be reached again.",
                    }
                )

    def _ping_if_due(self) -> None:
        with self._lock:
            if self._clock() < self._ping_at:
                return
            self._ping_at = self._clock() + PING_GIVEN_UP  # one at a time
        self._threads.submit(self._ping)

    def _ping(self) -> None:
        try:
            self._redis.ping()
        except (RedisError, OSError, UnicodeError) as error:
            self._down(error)
        else:
            self._is_up()

    def _is_up(self) -> None:
        with self._lock:
            self._up = True
            if self._warned:  # one that comes and goes is told once a minute too
                self._warned = False
                seconds = round(self._clock() - self._down_since)
                self._notices.append({"event": "quota_storage_up", "down_seconds": seconds})


def _name(key: str) -> str:
    return f"mint_quota:{key}"
