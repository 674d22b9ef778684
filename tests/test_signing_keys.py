"""The issuer's keys as they are kept: when they are fetched, who waits for that, and what a failure changes."""

import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import pytest

from mint.errors import MintError
from mint.issuer import IssuerError
from mint.settings import Settings
from mint.signing_keys import SigningKeys
from tests.simulated import until
from tests.test_settings import REQUIRED


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Published:
    """Stands for the issuer: what it publishes, and how often it was asked."""

    def __init__(self, *names: str) -> None:
        self.keys: dict[str, Any] = {name: object() for name in names}
        self.asked = 0
        self.down = False
        self.fault: Exception = IssuerError("down")
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self, _settings: Settings, _seconds: float) -> dict[str, Any]:
        self.asked += 1
        self.answers.wait(10)
        if self.down:
            raise self.fault
        return dict(self.keys)


def refusal(keys: SigningKeys, name: str, wait_seconds: float = 5) -> MintError:
    with pytest.raises(MintError) as caught:
        keys.find(name, wait_seconds)
    return caught.value


def keys_of(published: Published) -> tuple[SigningKeys, Clock]:
    clock = Clock()
    return SigningKeys(Settings.read(REQUIRED), clock, published), clock


def test_unknown_keys_are_asked_for_once_in_thirty_seconds() -> None:
    """A key that is published meanwhile is found when they are over."""
    published = Published("old")
    keys, clock = keys_of(published)
    keys.find("old", 5)
    codes = [refusal(keys, "new").code for _ in range(3)]
    published.keys["new"] = object()
    clock.now += 29.9
    codes.append(refusal(keys, "new").code)
    asked = published.asked
    clock.now += 0.1

    found = keys.find("new", 5)

    assert codes == ["unauthenticated"] * 4
    assert found is published.keys["new"]
    assert (asked, published.asked) == (2, 3)


def test_who_looks_just_before_the_keys_arrive_does_not_fetch_them_again() -> None:
    """The second look is taken under the lock: it is what keeps cold callers at one fetch."""
    published = Published("old")
    keys, _ = keys_of(published)
    keys.find("old", 5)

    fetch = keys._ask("old")

    assert fetch is None
    assert published.asked == 1


def test_old_keys_are_renewed_behind_the_callers() -> None:
    """Nobody waits for the fetch, and a withdrawn key goes with it."""
    published = Published("old", "withdrawn")
    keys, clock = keys_of(published)
    keys.find("old", 5)
    del published.keys["withdrawn"]
    published.answers.clear()
    clock.now += 3599
    keys.find("withdrawn", 0)
    within_the_hour = keys._flight
    clock.now += 1

    during = keys.find("withdrawn", 0)
    published.answers.set()

    assert within_the_hour is None
    assert during is not None
    until(lambda: "withdrawn" not in keys._keys)
    assert published.asked == 2


def test_keys_are_kept_while_the_issuer_is_down() -> None:
    """However old they are, and it is asked again every half a minute at most."""
    published = Published("old")
    keys, clock = keys_of(published)
    keys.find("old", 5)
    published.down = True

    for _ in range(10):
        clock.now += 3601
        before = published.asked
        assert keys.find("old", 5)
        until(lambda before=before: published.asked > before and keys._flight is None)  # type: ignore[misc]
        assert keys.find("old", 5)

    assert published.asked == 11


def test_without_keys_the_issuer_is_asked_every_five_seconds() -> None:
    """A first fetch that failed does not lock callers out for half a minute; Retry-After says for how long."""
    published = Published("key")
    published.down = True
    keys, clock = keys_of(published)
    errors = [refusal(keys, "key") for _ in range(3)]
    published.down = False
    clock.now += 5

    found = keys.find("key", 5)

    assert [error.code for error in errors] == ["keys_unavailable"] * 3
    assert [error.retry_after for error in errors] == [5, 5, 5]
    assert [error.detail for error in errors] == ["IssuerError: down", None, None]
    assert found
    assert published.asked == 2


def test_all_wait_for_the_fetch_that_is_under_way() -> None:
    """For ten seconds, after which it is given up."""
    published = Published("key")
    published.answers.clear()
    keys, clock = keys_of(published)
    first = keys._ask("key")
    clock.now += 9.9
    second = keys._ask("another")
    clock.now += 0.1
    third = keys._ask("key")
    published.answers.set()

    assert first
    assert second is first
    assert third is not first


def test_a_fetch_that_never_ends_is_given_up() -> None:
    """A server that drips its headers escapes a socket's timeout; it must not be the last one that was asked."""
    published = Published("key")
    published.answers.clear()
    keys, clock = keys_of(published)
    first = refusal(keys, "key", 0.01)
    stuck = published
    keys._fetch = lambda *_: dict(stuck.keys)
    clock.now += 10

    found = keys.find("key", 5)

    assert first.code == "keys_unavailable"
    assert found
    published.answers.set()


def test_a_fault_of_our_own_wakes_those_who_wait() -> None:
    """They are told at once what an issuer that is down would have them told, and the log has the fault."""
    published = Published()
    published.down, published.fault = True, ZeroDivisionError("a bug")
    keys, _ = keys_of(published)

    error = refusal(keys, "key")

    assert (error.code, error.detail) == ("keys_unavailable", "IssuerError: ZeroDivisionError: a bug")


class Never(Future[None]):
    """A fetch that does not end: it keeps how long it was waited for, and nobody has to."""

    waited: float | None = None

    def result(self, timeout: float | None = None) -> None:
        self.waited = timeout
        raise TimeoutError


@pytest.mark.parametrize(
    ("published", "wait_seconds", "waited"), [(["old"], 8, 2), (["old"], 1.5, 1.5), ([], 8, 8), ([], 1.5, 1.5)]
)
def test_a_made_up_key_is_not_waited_for_as_long_as_a_first_one(
    published: list[str], wait_seconds: float, waited: float
) -> None:
    """Anyone can make such a token: with keys at hand it holds a thread for two seconds at most."""
    issuer = Published(*published)
    issuer.down = not published
    keys, _ = keys_of(issuer)
    with suppress(MintError):
        keys.find("old", 5)
    fetch = Never()
    keys._ask = lambda _: fetch  # type: ignore[method-assign]

    error = refusal(keys, "made-up", wait_seconds)

    assert fetch.waited == waited
    assert error.code == ("unauthenticated" if published else "keys_unavailable")
