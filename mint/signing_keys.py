"""The keys that an issuer signs its tokens with: fetched when a token needs them, kept, and fetched anew.

State is per process. PyJWKClient is not used: it holds one lock for every caller while it fetches, tries again
at once after each failure, and bounds neither the whole time nor the size of a reply (PyJWT 2.15).
"""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from jwt import PyJWK

from mint.errors import MintError, RefusedCallerError
from mint.issuer import IssuerError, fetch_keys
from mint.settings import Settings

RENEW_AFTER = 3600
"""Seconds after which keys are fetched anew, while callers go on with the ones that are there."""
COOLDOWN = 30
"""Seconds between two fetches once there are keys, however many unknown key ids arrive."""
COLD_COOLDOWN = 5
"""Seconds between two fetches as long as there are none."""
FETCH_SECONDS = 5
"""What one fetch may take in all."""
PATIENCE = 2
"""Seconds that a caller with an unknown key id waits while there are keys: anyone can make such a token."""


class SigningKeys:
    """Knows the issuer's keys by their id; fetches them in a thread of its own, one fetch at a time."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        fetch: Callable[[Settings, float], dict[str, PyJWK]] = fetch_keys,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._fetch = fetch
        self._lock = threading.Lock()
        self._keys: dict[str, PyJWK] = {}
        self._renew_at = float("inf")
        self._rest_until = float("-inf")
        self._flight: Future[None] | None = None
        self._give_up_at = 0.0  # a server that drips its headers escapes every timeout of a socket

    def find(self, key_id: str, wait_seconds: float) -> PyJWK:
        """Return the key, waiting at most `wait_seconds` for the issuer if it is not here yet.

        Raises `RefusedCallerError` if the issuer has no such key, and `MintError` `keys_unavailable` if nothing
        is known of its keys.
        """
        if key := self._keys.get(key_id):
            if self._clock() >= self._renew_at:
                self._ask(None)
            return key
        failure: Exception | None = None
        patience = min(wait_seconds, PATIENCE) if self._keys else wait_seconds
        if flight := self._ask(key_id):
            try:
                flight.result(timeout=patience)
            except (IssuerError, TimeoutError) as error:
                failure = error
        if key := self._keys.get(key_id):
            return key
        detail = f"{type(failure).__name__}: {failure}" if failure else None
        if self._keys:
            raise RefusedCallerError(
                "unauthenticated",
                "The token is signed with a key that its issuer does not publish. Get a new token.",
                challenge='Bearer error="invalid_token"',
                detail=detail,
            ) from failure
        raise MintError(
            "keys_unavailable",
            "The keys of the token's issuer cannot be fetched, so that no token can be checked. Try again; if it "
            "lasts, check JWT_ISSUER and JWT_JWKS_URL.",
            retry_after=math.ceil(self._rest_until - self._clock()),
            detail=detail,
        ) from failure

    def _ask(self, key_id: str | None) -> "Future[None] | None":
        """Return the fetch that is under way, or a new one; None if the key is here now, or it is too soon."""
        with self._lock:
            if key_id in self._keys:
                return None
            now = self._clock()
            if self._flight is None or now >= self._give_up_at:
                if now < self._rest_until:
                    return None
                self._rest_until = now + (COOLDOWN if self._keys else COLD_COOLDOWN)
                self._give_up_at = now + 2 * FETCH_SECONDS
                self._flight = Future()
                threading.Thread(target=self._fly, args=(self._flight,), name="keys", daemon=True).start()
            return self._flight

    def _fly(self, flight: "Future[None]") -> None:
        keys, failure = None, None
        try:
            keys = self._fetch(self._settings, FETCH_SECONDS)
        except IssuerError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - a fault of our own, and those who wait must wake
            failure = IssuerError(f"{type(error).__name__}: {error}")
        with self._lock:
            if self._flight is flight:  # else it was given up, and what it brings is old
                self._flight = None
                if keys:
                    if not self._keys:
                        self._rest_until = self._clock()  # the first unknown key id after this may fetch at once
                    self._keys = keys
                    self._renew_at = self._clock() + RENEW_AFTER
        if failure:
            flight.set_exception(failure)
        else:
            flight.set_result(None)
