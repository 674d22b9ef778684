"""The token: fetched once, renewed before its end and off the caller's path."""

import threading
from dataclasses import dataclass, field

import pytest

from mint.errors import MintError
from mint.identity import RETRY_EVERY, Identity


@dataclass
class Token:
    """What azure-identity hands out."""

    token: str
    expires_on: int
    refresh_on: int | None = None


@dataclass
class Entra:
    """A credential that hands out what the test says, when the test says."""

    tokens: list[Token | Exception]
    made: int = 0
    asked: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    answered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __post_init__(self) -> None:
        self.gate.set()

    def credential(self) -> "Entra":
        self.made += 1
        return self

    def get_token_info(self, *_scopes: str) -> Token:
        self.asked += 1
        self.gate.wait(10)
        self.answered.release()
        token = self.tokens.pop(0)
        if isinstance(token, Exception):
            raise token
        return token


class Clock:
    """Time that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def settle() -> None:
    """Wait until no fetch is under way."""
    for thread in threading.enumerate():
        if thread.name == "identity":
            thread.join(10)


def test_a_token_is_kept_until_it_is_due() -> None:
    """One fetch serves every caller until `refresh_on`."""
    clock, entra = Clock(), Entra([Token("a", 90_000, refresh_on=40_000)])
    identity = Identity("scope", entra.credential, clock)

    tokens = {identity.token(1) for _ in range(3)}
    clock.now = 39_999

    assert tokens | {identity.token(1)} == {"a"}
    assert entra.asked == 1


def test_a_token_that_is_due_is_renewed_behind_the_callers_back() -> None:
    """The old one is handed out while the new one is fetched: nobody waits."""
    clock, entra = Clock(), Entra([Token("a", 90_000), Token("b", 180_000)])
    identity = Identity("scope", entra.credential, clock)
    identity.token(1)
    clock.now = 89_800
    entra.gate.clear()

    during = identity.token(0)
    entra.gate.set()
    settle()

    assert (during, identity.token(1)) == ("a", "b")
    assert entra.asked == 2


def test_a_failed_renewal_keeps_the_good_token_and_is_not_hammered() -> None:
    """While a token lasts, a broken identity endpoint costs callers nothing and is asked once in a while."""
    clock, entra = Clock(), Entra([Token("a", 90_000), OSError("down"), Token("b", 180_000)])
    identity = Identity("scope", entra.credential, clock)
    identity.token(1)
    clock.now = 89_800
    identity.token(0)
    settle()

    again = [identity.token(0) for _ in range(5)]
    asked = entra.asked
    clock.now += RETRY_EVERY
    identity.token(0)
    settle()

    assert again == ["a"] * 5
    assert asked == 2
    assert identity.token(1) == "b"


def test_an_expired_token_is_never_handed_out() -> None:
    """Past its end the caller waits for a new one, and is told if there is none."""
    clock, entra = Clock(), Entra([Token("a", 2_000), OSError("down")])
    identity = Identity("scope", entra.credential, clock)
    identity.token(1)
    clock.now = 2_001

    with pytest.raises(MintError) as caught:
        identity.token(1)

    assert caught.value.code == "identity_unavailable"


def test_waiting_for_a_token_ends() -> None:
    """A hanging identity endpoint is an answer in time, and the fetch under way serves the next caller."""
    entra = Entra([Token("a", 90_000)])
    entra.gate.clear()
    identity = Identity("scope", entra.credential, Clock())

    with pytest.raises(MintError) as caught:
        identity.token(0.01)
    entra.gate.set()

    assert caught.value.code == "identity_unavailable"
    assert identity.token(5) == "a"
    assert entra.asked == 1


def test_a_refused_token_is_replaced_through_a_new_credential() -> None:
    """azure-identity caches in the credential object: the same one would give the same token again."""
    entra = Entra([Token("a", 90_000), Token("b", 90_000)])
    identity = Identity("scope", entra.credential, Clock())
    identity.token(1)

    identity.discard("something older")
    kept = identity.token(1)
    identity.discard(kept)

    assert (kept, identity.token(1)) == ("a", "b")
    assert entra.made == 2


def test_tokens_that_are_all_refused_do_not_load_the_identity_endpoint() -> None:
    """With a wrong scope every token is refused: one is replaced, and the next only after a while."""
    clock, entra = Clock(), Entra([Token("a", 90_000), Token("b", 90_000), Token("c", 90_000)])
    identity = Identity("scope", entra.credential, clock)

    first = identity.discard(identity.token(1))
    again = [identity.discard(identity.token(1)) for _ in range(5)]
    asked = entra.asked
    clock.now += RETRY_EVERY
    later = identity.discard(identity.token(1))

    assert (first, again, later) == (True, [False] * 5, True)
    assert asked == 2


def test_no_token_in_any_representation() -> None:
    """What is printed by mistake in a log or a debugger holds no token."""
    identity = Identity("scope", Entra([Token("ey-secret", 90_000)]).credential, Clock())
    identity.token(1)

    assert "ey-secret" not in repr(identity) + repr(vars(identity))
