"""What is known of whether Azure mints with the transcription block, and when to ask next.

State is per process: every instance finds out for itself, with a probe of its own an interval. Part of the
workaround; it goes with mint/transcription.py.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mint.body import Json

LONGEST_INTERVAL = 3600
"""Seconds between probes, however many have failed; unless the interval that is set is longer."""


class Evidence:
    """The answer so far for one resource, and the schedule of its probes.

    `clock` gives seconds that only grow, for the schedule; `wall` Unix seconds, for `checked_at`.
    """

    def __init__(
        self,
        interval_seconds: float,
        *,
        adopts: bool,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`adopts`: what works is used (`auto`), rather than only told (`post_connect`)."""
        self._interval = interval_seconds
        self._adopts = adopts
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._works: bool | None = None
        self._checked_at: float | None = None
        self._bad_probes = 0
        self._next_probe = clock()
        self._probing = False
        self._notices: deque[Json] = deque()
        self.in_use = False
        """Whether callers are minted for with the block."""

    def claim_probe(self) -> bool:
        """Tell the one caller of many after whose mint a probe is due; it must end in one of the three below."""
        if self.in_use or not self._interval or self._clock() < self._next_probe:
            return False
        with self._lock:
            if self._probing or self._clock() < self._next_probe:
                return False
            self._probing = True
            return True

    def probe_worked(self) -> None:
        """Note a probe that was minted and echoed."""
        with self._lock:
            self._bad_probes = 0
            self._probe_over(self._interval)
            self._learn(works=True)
            self.in_use = self._adopts

    def probe_refused(self) -> None:
        """Note a probe that was refused for its block, or whose block was dropped."""
        with self._lock:
            longest = max(LONGEST_INTERVAL, self._interval)
            self._probe_over(min(self._interval * 2**self._bad_probes, longest))
            self._bad_probes = min(self._bad_probes + 1, 32)
            self._learn(works=False)

    def probe_inconclusive(self) -> None:
        """Note a probe that says nothing about the block: throttled, denied, no reply, an outage."""
        with self._lock:
            self._probe_over(self._interval)

    def mint_worked(self) -> None:
        """Note a caller's mint with the block: while it is in use, each one is the evidence."""
        self._checked_at = self._wall()

    def forced_mint(self, *, echoed: bool) -> None:
        """Note what a mint with the block got where the setting forces it; nobody needs telling what to set."""
        self._works, self._checked_at = echoed, self._wall()

    def mint_refused(self) -> None:
        """Note a caller's mint that failed with the block and then succeeded without it."""
        with self._lock:
            if self.in_use:
                self.in_use = False
                self._next_probe = self._clock() + self._interval
                self._learn(works=False)

    def health(self) -> Json:
        """Return the two evidence fields of /api/health."""
        checked = self._checked_at
        return {
            "mint_time_works": self._works,
            "checked_at": None
            if checked is None
            else datetime.fromtimestamp(checked, UTC).isoformat(timespec="seconds"),
        }

    def take_notices(self) -> list[dict[str, Any]]:
        """Return what has changed since the last call, for the log."""
        taken = []
        while self._notices:
            taken.append(self._notices.popleft())
        return taken

    def _probe_over(self, wait: float) -> None:
        self._probing = False
        self._next_probe = self._clock() + wait

    def _learn(self, *, works: bool) -> None:
        first_or_changed = works is not self._works
        self._works, self._checked_at = works, self._wall()
        if first_or_changed:
            self._notices.append(
                {
                    "event": "transcription_evidence",
                    "mint_time_works": works,
                    "advice": _WORDS[self._adopts, works],
                }
            )


_WORDS = {
    (True, True): "Azure mints with the transcription block now, and it is in use. "
    "TRANSCRIPTION_MODE=mint_time would make that final.",
    (True, False): "Azure does not mint with the transcription block; callers get session_update. "
    "TRANSCRIPTION_MODE=auto can stay.",
    (
        False,
        True,
    ): "Azure mints with the transcription block now. Set TRANSCRIPTION_MODE to mint_time, or to auto.",
    (False, False): "Azure does not mint with the transcription block. Leave TRANSCRIPTION_MODE at post_connect.",
}
