"""The app's own identity: one access token for the upstream, shared by all callers.

State is per process: each instance holds one token. Every fetch has a credential of its own, and closes it:
azure-identity's hand out what they remember, a failure too, and keep a connection until they are collected.
"""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Protocol

from mint.errors import MintError
from mint.settings import Settings

RENEW_AHEAD = 300
"""Seconds before its end at which a token is renewed, unless Entra names an earlier time."""
RETRY_EVERY = 10
"""Seconds between tries to renew a token that is still good."""
REPLACE_EVERY = 1
"""Seconds between replacements of tokens that the upstream refuses."""
PATIENCE = 0.8
"""Seconds after which callers without a token no longer rely on the last fetch alone: another begins beside it.

Only where the platform has an identity endpoint: on a laptop a fetch may start a program, and take seconds."""
FETCH_SECONDS = 8
"""What connecting, and each wait for a byte, may take: a late token is for those who come then."""
MOST_FETCHES = 10
"""Fetches at once: an identity endpoint that never ends its answers does not fill the process with threads."""


class AccessToken(Protocol):
    """What azure-identity's `get_token_info` returns, as far as it is read here."""

    token: str
    expires_on: int
    refresh_on: int | None


class Credential(Protocol):
    """What azure-identity's credentials have in common, as far as it is used here."""

    def get_token_info(self, *scopes: str) -> AccessToken:
        """Return a token; raises what azure-identity raises."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    expires_at: float
    renew_at: float
    """Both by the clock that no one sets."""


def platform_credential(settings: Settings) -> Credential:
    """Return the managed identity where the platform offers one, else what a developer is signed in with.

    `ManagedIdentityCredential` does not read AZURE_CLIENT_ID by itself. Its defaults retry ten times over minutes;
    a caller waits for this, and azure-core would sleep for as long as a Retry-After says: `Identity.token` is what
    begins another fetch.
    """
    from azure.identity import (  # noqa: PLC0415 - 150 ms that no import of the app should wait for
        DefaultAzureCredential,
        ManagedIdentityCredential,
    )

    if settings.has_identity_endpoint:
        return ManagedIdentityCredential(
            client_id=settings.client_id,
            retry_total=0,
            connection_timeout=FETCH_SECONDS,
            read_timeout=FETCH_SECONDS,
        )
    return DefaultAzureCredential(managed_identity_client_id=settings.client_id)


class Identity:
    """Hands out the token; fetches and renews it in a thread of its own, or several while callers wait in vain."""

    def __init__(
        self,
        scope: str,
        new_credential: Callable[[], Credential],
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`patience` in place of `PATIENCE`; `wall` is the clock that a token's end is told by."""
        self._scope = scope
        self._new_credential = new_credential
        self._patience = patience
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._token: _Token | None = None
        self._coming: Future[_Token] = Future()
        self._fetches = 0
        self._asked_at = math.inf
        self._keep_until = float("-inf")

    def token(self, wait_seconds: float) -> str:
        """Return an access token, waiting at most `wait_seconds` if there is none yet.

        Raises `MintError` `identity_unavailable`. A token that is due for renewal is handed out while it lasts:
        only a caller who finds none waits.
        """
        token = self._token
        if token and self._clock() < min(token.renew_at, token.expires_at):
            return token.value
        give_up, failed = time.monotonic() + wait_seconds, False
        while True:
            token, coming = self._look()
            if token:
                return token.value
            left = give_up - time.monotonic()
            try:
                return coming.result(timeout=max(0.0, min(left, PATIENCE / 5))).value
            except TimeoutError as error:
                if left <= 0:
                    raise MintError(
                        "identity_unavailable", "The identity endpoint did not answer in time. Try again."
                    ) from error
            except MintError as error:
                if failed:
                    raise MintError(error.code, error.message, detail=error.detail) from error  # to each its own
                failed = True  # a passing fault, perhaps: one more fetch, for all who wait

    def discard(self, refused: str) -> bool:
        """Forget the token that the upstream `refused`; return whether asking for another may help.

        It may not where one has just been fetched for the same reason: a wrong scope or tenant would otherwise
        have every mint ask the identity endpoint.
        """
        with self._lock:
            if not self._token or self._token.value != refused:
                return True  # another caller has discarded it already
            if self._clock() < self._keep_until:
                return False
            self._keep_until = self._clock() + REPLACE_EVERY
            self._token = None
            return True

    def _look(self) -> tuple[_Token | None, Future[_Token]]:
        """Return the token if it is good, and what the next one will be in; begin a fetch where one is due.

        A fetch that hangs must not be what later callers wait for, once the identity endpoint is well again. It is
        not given up either: where the endpoint is slow, the first of several is the first to bring a token.
        """
        with self._lock:
            token, now = self._token, self._clock()
            if token and now >= token.expires_at:
                token = None
            slow = not token and now - self._asked_at >= self._patience and self._fetches < MOST_FETCHES
            if (not token or now >= token.renew_at) and (not self._fetches or slow):
                self._asked_at = math.inf
                threading.Thread(target=self._fetch, name="identity", daemon=True).start()
                self._fetches += 1  # not before: a thread that is not to be had must not be waited for
            return token, self._coming

    def _fetch(self) -> None:
        token, failure = None, None
        try:
            token = self._ask()
        except Exception as error:  # noqa: BLE001 - azure-identity's errors have no common base, and waiters must wake
            failure = _unavailable(error)
        with self._lock:
            self._fetches -= 1
            if token and (not self._token or token.expires_at > self._token.expires_at):
                self._token = token  # a fetch that comes late may bring an older one
            elif failure and self._token:
                later = max(self._token.renew_at, self._clock() + RETRY_EVERY)
                self._token = replace(self._token, renew_at=later)
            if failure and self._fetches:
                return  # another may still bring a token
            coming, self._coming = self._coming, Future()
        if token:
            coming.set_result(token)
        else:
            coming.set_exception(failure)

    def _ask(self) -> _Token:
        with closing(self._new_credential()) as credential:
            self._asked_at = self._clock()  # not before: importing azure-identity may take a second
            info = credential.get_token_info(self._scope)
        now, ago = self._clock(), self._clock() - self._wall()
        due = info.refresh_on or info.expires_on - RENEW_AHEAD
        return _Token(info.token, info.expires_on + ago, max(due + ago, now + RETRY_EVERY))


def _unavailable(error: Exception) -> MintError:
    from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 - azure-identity brings it

    # Its own words say what is missing. Those of other errors may quote a broken answer, with the token in it.
    words = f": {error}" if isinstance(error, ClientAuthenticationError) else ""
    failure = MintError(
        "identity_unavailable",
        "The app got no token for its identity. On Azure: is a managed identity assigned, and is AZURE_CLIENT_ID "
        "that of a user-assigned identity? On a laptop: az login.",
        detail=f"{type(error).__name__}{words}"[:500],
    )
    failure.__cause__ = error
    return failure
