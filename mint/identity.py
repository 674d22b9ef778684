"""The app's own identity: one access token for the upstream, fetched once however many callers wait for it.

State is per process: each instance holds one token. azure-identity caches by credential object, so there is one
of those too; a refresh makes a new one, since that is the only way past its cache that every credential has.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Protocol

from mint.errors import MintError
from mint.settings import Settings

RENEW_AHEAD = 300
"""Seconds before its end at which a token is renewed, unless Entra names an earlier time."""
RETRY_EVERY = 10
"""Seconds between tries to renew a token that is still good, and between replacements of refused ones."""


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


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    expires_at: float
    renew_at: float


def platform_credential(settings: Settings) -> Credential:
    """Return the managed identity where the platform offers one, else what a developer is signed in with.

    `ManagedIdentityCredential` does not read AZURE_CLIENT_ID by itself. Its defaults retry ten times over minutes;
    a caller waits for this, so it tries twice, and each try ends with the mint's own deadline.
    """
    from azure.identity import (  # noqa: PLC0415 - 150 ms that no import of the app should wait for
        DefaultAzureCredential,
        ManagedIdentityCredential,
    )

    if settings.has_identity_endpoint:
        return ManagedIdentityCredential(
            client_id=settings.client_id,
            retry_total=1,
            retry_backoff_factor=0.1,
            connection_timeout=settings.deadline_seconds,
            read_timeout=settings.deadline_seconds,
        )
    return DefaultAzureCredential(managed_identity_client_id=settings.client_id)


class Identity:
    """Hands out the token; fetches and renews it in a thread of its own, one fetch at a time."""

    def __init__(
        self, scope: str, new_credential: Callable[[], Credential], clock: Callable[[], float] = time.time
    ) -> None:
        self._scope = scope
        self._new_credential = new_credential
        self._clock = clock
        self._lock = threading.Lock()
        self._credential: Credential | None = None
        self._token: _Token | None = None
        self._flight: Future[_Token] | None = None
        self._keep_until = float("-inf")

    def token(self, wait_seconds: float) -> str:
        """Return an access token, waiting at most `wait_seconds` if there is none yet.

        Raises `MintError` `identity_unavailable`. A token that is due for renewal is handed out while it lasts:
        only a caller who finds none waits.
        """
        token, now = self._token, self._clock()
        if token and now < token.renew_at:
            return token.value
        flight = self._fetch()
        if token and now < token.expires_at:
            return token.value
        try:
            return flight.result(timeout=max(0.0, wait_seconds)).value
        except FutureTimeoutError as error:
            raise MintError(
                "identity_unavailable", "The identity endpoint did not answer in time. Try again."
            ) from error
        except MintError as error:
            raise MintError(error.code, error.message, detail=error.detail) from error  # each waiter its own

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
            self._keep_until = self._clock() + RETRY_EVERY
            self._token = self._credential = None
            return True

    def _fetch(self) -> Future[_Token]:
        with self._lock:
            if self._flight is None:
                self._flight = Future()
                threading.Thread(target=self._fly, args=(self._flight,), name="identity", daemon=True).start()
            return self._flight

    def _fly(self, flight: Future[_Token]) -> None:
        token, failure = None, None
        try:
            token = self._ask()
        except Exception as error:  # noqa: BLE001 - azure-identity's errors have no common base, and waiters must wake
            failure = _unavailable(error)
        with self._lock:
            self._flight = None
            if not token:
                self._credential = None  # msal's would answer for 5 s that it failed, without asking again
            if token:
                self._token = token
            elif self._token:
                self._token = _Token(self._token.value, self._token.expires_at, self._clock() + RETRY_EVERY)
        if token:
            flight.set_result(token)
        else:
            flight.set_exception(failure)

    def _ask(self) -> _Token:
        if self._credential is None:
            self._credential = self._new_credential()
        info = self._credential.get_token_info(self._scope)
        due = info.refresh_on or info.expires_on - RENEW_AHEAD
        return _Token(info.token, info.expires_on, max(due, self._clock() + RETRY_EVERY))


def _unavailable(error: Exception) -> MintError:
    failure = MintError(
        "identity_unavailable",
        "The app got no token for its identity. On Azure: is a managed identity assigned, and is AZURE_CLIENT_ID "
        "that of a user-assigned identity? On a laptop: az login.",
        detail=f"{type(error).__name__}: {error}"[:500],
    )
    failure.__cause__ = error
    return failure
