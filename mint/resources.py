"""A second Azure OpenAI resource for when the first one cannot serve: the same request, within the same deadline.

State is per process: each instance finds out for itself which resource is out of order. With one resource nothing
here decides anything.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from mint.body import Json
from mint.outcome import Minted, UpstreamError
from mint.session import Session
from mint.trip import Trip

FAILURES = 3
"""Failures in a row after which a resource is skipped."""
FIRST_REST = 5.0
LONGEST_REST = 60.0
"""Seconds for which it is skipped: the first time, and at most; each failed try of it doubles the rest."""

_ELSEWHERE = {"upstream_unavailable", "upstream_timeout", "upstream_throttled"}
"""Errors that another resource may not have. A 400 or a missing role would only hide there."""


class Mints(Protocol):
    """What mints at one resource: `Upstream`, or what stands in its place."""

    def mint(self, session: Session, trip: Trip) -> Minted:
        """Mint; raises `MintError`."""
        ...

    def health(self, session: Session) -> Json:
        """Return what /api/health says of transcription."""
        ...

    def take_notices(self) -> list[Json]:
        """Return log events that no request of its own stands for."""
        ...


class Rest:
    """Whether one resource is being skipped, and who may try it again: one request at a time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._rest = FIRST_REST
        self._until = 0.0
        self._being_tried = False

    def may_try(self) -> bool:
        """Tell whether to mint here; each yes must be followed by `worked`, `failed` or `unknown`."""
        if not self._until:
            return True
        with self._lock:
            if self._being_tried or self._clock() < self._until:
                return False
            self._being_tried = True
            return True

    def worked(self) -> None:
        """Note a mint."""
        if self._failures or self._until:
            with self._lock:
                self._failures, self._until, self._rest = 0, 0.0, FIRST_REST
                self._being_tried = False

    def failed(self, wait: float | None) -> None:
        """Note a failure; `wait` is what a throttling resource asked for, in seconds."""
        with self._lock:
            self._failures += 1
            if self._being_tried:
                self._rest = min(self._rest * 2, LONGEST_REST)
            if self._failures >= FAILURES or wait:
                self._until = self._clock() + min(max(self._rest, wait or 0.0), LONGEST_REST)
            self._being_tried = False

    def unknown(self) -> None:
        """Note an error that says nothing about whether the resource is in order."""
        with self._lock:
            self._being_tried = False


class Resources:
    """One resource, or two; stands where the one would."""

    def __init__(self, resources: list[tuple[str, Mints]], clock: Callable[[], float] = time.monotonic) -> None:
        """`resources` are (endpoint, what mints there), the preferred one first."""
        self._resources = [(endpoint, mints, Rest(clock)) for endpoint, mints in resources]

    def mint(self, session: Session, trip: Trip) -> Minted:
        """Mint at the first resource that is in order; if it fails there, at the next.

        Raises what the last one tried raised. If all are being skipped, the preferred one is tried all the same.
        """
        failure: UpstreamError | None = None
        for number, (endpoint, mints, rest) in enumerate(self._resources):
            if (failure is None or trip.may_call()) and rest.may_try():
                with trip.leg(last=number == len(self._resources) - 1):
                    outcome = _try(mints, rest, session, trip)
                if isinstance(outcome, Minted):
                    return replace(outcome, endpoint=endpoint)
                failure = outcome
        if failure:
            raise failure
        endpoint, mints, _ = self._resources[0]
        return replace(mints.mint(session, trip), endpoint=endpoint)

    def health(self, session: Session) -> Json:
        """Return what the preferred resource says."""
        return self._resources[0][1].health(session)

    def take_notices(self) -> list[Json]:
        """Return every resource's notices; the second one's say so."""
        return [
            notice | ({"resource": "fallback"} if number else {})
            for number, (_, mints, _) in enumerate(self._resources)
            for notice in mints.take_notices()
        ]


def _try(mints: Mints, rest: Rest, session: Session, trip: Trip) -> Minted | UpstreamError:
    """Mint, and tell `rest` how it went; return an error that another resource may not have, raise any other."""
    try:
        minted = mints.mint(session, trip)
    except BaseException as error:
        if isinstance(error, UpstreamError) and error.code in _ELSEWHERE:
            rest.failed(error.retry_after)
            return error
        rest.unknown()
        raise
    rest.worked()
    return minted
