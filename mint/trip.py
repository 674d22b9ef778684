"""One caller's way upstream: the time and calls it has left, and what its log line tells of it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

MAX_CALLS = 3
"""Upstream calls for one request, whatever happens."""


@dataclass(slots=True)
class Trip:
    """One caller's way upstream: the time and calls it has left, and what its log line tells of it."""

    deadline: float
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    safety_identifier: str | None = None
    attempts: int = 0
    calls_allowed: int = MAX_CALLS
    block_sent: bool = False
    upstream_seconds: float = 0.0
    upstream_status: int | None = None
    apim_request_id: str | None = None
    region: str | None = None
    ends_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.ends_at = self.deadline

    def seconds_left(self) -> float:
        """Return the time that the call under way may take, never below 0."""
        return max(0.0, self.ends_at - self.clock())

    def seconds_to_deadline(self) -> float:
        """Return the time until the caller must be answered, never below 0: what a token may be waited for."""
        return max(0.0, self.deadline - self.clock())

    def may_call(self) -> bool:
        """Tell whether another upstream call is allowed."""
        return self.attempts < self.calls_allowed and self.seconds_left() > 0

    @contextmanager
    def on_the_whole_times_account(self) -> Iterator[None]:
        """Do not take what this block of code lasts from a call's share: a token is for all resources."""
        started = self.clock()
        try:
            yield
        finally:
            self.ends_at = min(self.deadline, self.ends_at + self.clock() - started)

    @contextmanager
    def leg(self, *, last: bool) -> Iterator[None]:
        """Unless it is the `last`, keep a call and half of the time for the next resource."""
        if last:
            yield
            return
        self.calls_allowed -= 1
        try:
            with self.half_the_time():
                yield
        finally:
            self.calls_allowed += 1

    @contextmanager
    def half_the_time(self) -> Iterator[None]:
        """Keep half of the time that is left for what comes after this block of code."""
        whole = self.ends_at
        self.ends_at -= self.seconds_left() / 2
        try:
            yield
        finally:
            self.ends_at = whole
