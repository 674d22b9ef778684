"""Which answers count, for both kinds of callers: the one place where a rate comes from.

Callers ask without a pause, so that some calls lie across each end of the window, and at a long latency they are a
good part of all. Left out, they make a rate too low; counted where they end, they make it a matter of chance, as
callers that began together end together. So each counts by the share of it that lies inside.
"""

import math
import threading
import time
from typing import Any

WARM_SECONDS = 0.3


class Window:
    """The time that counts. It begins once every caller has been answered, which is one latency at least."""

    def __init__(self, callers: int, seconds: float) -> None:
        self._lock = threading.Lock()
        self._unanswered = callers
        self._seconds = seconds
        self._from = time.perf_counter() + WARM_SECONDS
        self._until = math.inf
        self._calls: list[tuple[float, float]] = []  # appending is atomic

    def over(self) -> bool:
        """Tell whether callers are to stop."""
        return time.perf_counter() >= self._until

    def warm(self) -> None:
        """Note that one more of the callers has had its first answer."""
        with self._lock:
            self._unanswered -= 1
            if not self._unanswered:
                self._from = max(self._from, time.perf_counter())
                self._until = self._from + self._seconds

    def note(self, began: float) -> None:
        """Note a call that has been answered just now."""
        self._calls.append((began, time.perf_counter()))

    def result(self) -> dict[str, Any]:
        """Return what was counted, the times as seconds from the beginning of the window."""
        share = sum(
            max(0.0, min(ended, self._until) - max(began, self._from)) / (ended - began)
            for began, ended in self._calls
        )
        # Those that ended inside: what lies across the end has gone on while callers were leaving.
        inside = [
            (began - self._from, ended - self._from)
            for began, ended in self._calls
            if self._from <= ended <= self._until
        ]
        at = time.time() - time.perf_counter() + self._from
        return {"per_second": share / self._seconds, "calls": inside, "at": at}
