"""The token: fetched once, renewed before its end and off the caller's path."""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from azure.core.exceptions import ClientAuthenticationError

from mint.errors import MintError
from mint.identity import MOST_FETCHES, PATIENCE, REPLACE_EVERY, RETRY_EVERY, Identity, platform_credential
from mint.service import Service
from mint.settings import Settings
from tests.answering import Answer, Answering
from tests.conftest import Endpoint
from tests.simulated import SimulatedAzure, until
from tests.test_settings import REQUIRED


@dataclass
class Token:
    """What azure-identity hands out."""

    token: str
    expires_on: int
    refresh_on: int | None = None


@dataclass
class Late:
    """An answer that waits until the test lets it go."""

    answer: Token | Exception
    gate: threading.Event = field(default_factory=threading.Event)


@dataclass
class Entra:
    """A credential that hands out what the test says, when the test says."""

    tokens: list[Token | Exception | Late]
    made: int = 0
    asked: int = 0
    closed: int = 0
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
        if isinstance(token, Late):
            token.gate.wait(10)
            token = token.answer
        if isinstance(token, Exception):
            raise token
        return token

    def close(self) -> None:
        self.closed += 1


class Clock:
    """Time that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def both(clock: Clock) -> dict[str, Clock]:
    """Return one clock in the place of both."""
    return {"clock": clock, "wall": clock}


def settle() -> None:
    """Wait until no fetch is under way."""
    for thread in threading.enumerate():
        if thread.name == "identity":
            thread.join(10)


def test_a_token_is_kept_until_it_is_due() -> None:
    """One fetch serves every caller until `refresh_on`."""
    clock, entra = Clock(), Entra([Token("a", 90_000, refresh_on=40_000)])
    identity = Identity("scope", entra.credential, **both(clock))

    tokens = {identity.token(1) for _ in range(3)}
    clock.now = 39_999

    assert tokens | {identity.token(1)} == {"a"}
    assert entra.asked == 1


def test_a_token_that_is_due_is_renewed_behind_the_callers_back() -> None:
    """The old one is handed out while the new one is fetched: nobody waits."""
    clock, entra = Clock(), Entra([Token("a", 90_000), Token("b", 180_000)])
    identity = Identity("scope", entra.credential, **both(clock))
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
    identity = Identity("scope", entra.credential, **both(clock))
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
    identity = Identity("scope", entra.credential, **both(clock))
    identity.token(1)
    clock.now = 2_001

    with pytest.raises(MintError) as caught:
        identity.token(1)

    assert caught.value.code == "identity_unavailable"


def test_waiting_for_a_token_ends() -> None:
    """A hanging identity endpoint is an answer in time, and the fetch under way serves the next caller."""
    entra = Entra([Token("a", 90_000)])
    entra.gate.clear()
    identity = Identity("scope", entra.credential, **both(Clock()))

    with pytest.raises(MintError) as caught:
        identity.token(0.01)
    entra.gate.set()

    assert caught.value.code == "identity_unavailable"
    assert identity.token(5) == "a"
    assert entra.asked == 1


def test_a_refused_token_is_replaced_through_a_new_credential() -> None:
    """azure-identity caches in the credential object: the same one would give the same token again."""
    entra = Entra([Token("a", 90_000), Token("b", 90_000)])
    identity = Identity("scope", entra.credential, **both(Clock()))
    identity.token(1)

    identity.discard("something older")
    kept = identity.token(1)
    identity.discard(kept)

    assert (kept, identity.token(1)) == ("a", "b")
    assert entra.made == 2


def test_every_credential_is_closed_once_it_has_been_asked() -> None:
    """It would keep a connection until the garbage collector came."""
    clock, entra = Clock(), Entra([OSError("down"), OSError("down"), Token("a", 2_000), Token("b", 90_000)])
    identity = Identity("scope", entra.credential, **both(clock))

    with pytest.raises(MintError):
        identity.token(1)
    identity.token(1)
    clock.now = 2_000
    identity.token(1)

    assert (entra.made, entra.closed) == (4, 4)


def test_a_fetch_that_fails_is_made_once_more_for_all_who_wait() -> None:
    """An identity endpoint that fails in passing costs nobody an error, and one that stays down two fetches."""
    entra = Entra([OSError("passing"), Token("a", 90_000)])
    entra.gate.clear()
    identity = Identity("scope", entra.credential, **both(Clock()))

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(identity.token, 5) for _ in range(8)]
        entra.gate.set()

    assert {one.result() for one in waiting} == {"a"}
    assert entra.asked == 2


def test_tokens_that_are_all_refused_do_not_load_the_identity_endpoint() -> None:
    """With a wrong scope every token is refused: one is replaced, and the next only after a while."""
    clock, entra = Clock(), Entra([Token("a", 90_000), Token("b", 90_000), Token("c", 90_000)])
    identity = Identity("scope", entra.credential, **both(clock))

    first = identity.discard(identity.token(1))
    again = [identity.discard(identity.token(1)) for _ in range(5)]
    asked = entra.asked
    clock.now += REPLACE_EVERY
    later = identity.discard(identity.token(1))

    assert (first, again, later) == (True, [False] * 5, True)
    assert asked == 2


LONGER = PATIENCE + 0.1


def in_vain(identity: Identity, entra: Entra, asked: int) -> None:
    """Wait for a token that does not come in time; there are to have been so many fetches by then."""
    with pytest.raises(MintError, match="in time"):
        identity.token(0.01)
    until(lambda: entra.asked >= asked)
    assert entra.asked == asked


def test_a_fetch_that_hangs_is_not_what_later_callers_wait_for() -> None:
    """Another begins beside it, though not for every caller; what the old one brings in the end counts as well."""
    slow = Late(Token("slow", 90_000))
    clock, entra = Clock(), Entra([slow, Token("fast", 2_000)])
    identity = Identity("scope", entra.credential, **both(clock))
    for _ in range(3):
        in_vain(identity, entra, 1)
    clock.now += LONGER

    fast = identity.token(5)
    slow.gate.set()
    settle()
    clock.now = 2_001

    assert (fast, identity.token(0)) == ("fast", "slow")


def test_a_slow_fetch_serves_those_who_wait_for_a_newer_one() -> None:
    """Where the identity endpoint is slow at all, the oldest fetch is the one that is about to end."""
    slow, newer = Late(Token("slow", 90_000)), Late(Token("newer", 90_000))
    clock, entra = Clock(), Entra([slow, newer])
    identity = Identity("scope", entra.credential, **both(clock))
    in_vain(identity, entra, 1)
    clock.now += LONGER
    in_vain(identity, entra, 2)
    threading.Timer(0.05, slow.gate.set).start()

    first = identity.token(5)
    newer.gate.set()

    assert first == "slow"


def test_a_fetch_that_fails_beside_one_under_way_is_nobodys_answer() -> None:
    """Callers are told of a failure when no fetch is left that could bring a token."""
    slow, broken = Late(Token("slow", 90_000)), Late(OSError("down"))
    clock, entra = Clock(), Entra([slow, broken])
    identity = Identity("scope", entra.credential, **both(clock))
    in_vain(identity, entra, 1)
    clock.now += LONGER
    in_vain(identity, entra, 2)
    threading.Timer(0.05, broken.gate.set).start()
    threading.Timer(0.3, slow.gate.set).start()

    assert identity.token(5) == "slow"


def test_a_fetch_that_fails_late_brings_no_renewal_forward() -> None:
    """The token that another has brought meanwhile is not due because of it."""
    hung = Late(OSError("hung"))
    clock, entra = Clock(), Entra([hung, Token("a", 90_000, refresh_on=40_000)])
    identity = Identity("scope", entra.credential, **both(clock))
    in_vain(identity, entra, 1)
    clock.now += LONGER
    identity.token(5)
    hung.gate.set()
    settle()
    clock.now += 2 * RETRY_EVERY

    assert identity.token(0) == "a"
    settle()
    assert entra.asked == 2


def test_the_time_that_making_a_credential_takes_is_not_the_identity_endpoints() -> None:
    """Importing azure-identity may take a cold process a second: that is no reason to ask twice."""
    clock, entra, imported = Clock(), Entra([Token("a", 90_000)]), threading.Event()

    def credential() -> Entra:
        imported.wait(10)
        return entra.credential()

    identity = Identity("scope", credential, **both(clock))
    in_vain(identity, entra, 0)
    clock.now += LONGER
    in_vain(identity, entra, 0)
    imported.set()

    assert identity.token(5) == "a"
    settle()
    assert entra.asked == 1


def test_fetches_beside_one_another_are_bounded() -> None:
    """An identity endpoint that hangs for minutes costs a few threads, and once it is well again none."""
    hanging = [Late(OSError("hung")) for _ in range(MOST_FETCHES)]
    clock, entra = Clock(), Entra([*hanging, Token("a", 90_000)])
    identity = Identity("scope", entra.credential, **both(clock))
    for number in range(2 * MOST_FETCHES):
        in_vain(identity, entra, min(number + 1, MOST_FETCHES))
        clock.now += LONGER
    for one in hanging:
        one.gate.set()
    settle()

    assert identity.token(1) == "a"


def test_a_renewal_that_hangs_gets_no_company() -> None:
    """While the token lasts nobody waits, and the identity endpoint is left in peace."""
    slow = Late(Token("b", 180_000))
    clock, entra = Clock(), Entra([Token("a", 90_000), slow])
    identity = Identity("scope", entra.credential, **both(clock))
    identity.token(1)
    clock.now = 89_800

    during = set()
    for _ in range(5):
        during.add(identity.token(0))
        until(lambda: entra.asked == 2)
        clock.now += LONGER
    slow.gate.set()
    settle()

    assert (during, entra.asked, identity.token(0)) == ({"a"}, 2, "b")


@pytest.fixture
def platform(required: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Identity:
    """The managed identity as azure-identity asks for it, in this process; every token is past its end already."""
    for name, value in required.items():
        monkeypatch.setenv(name, value)
    settings, clock = Settings.read(), Clock()
    clock.now = time.time() + 10 * 86400
    return Identity(settings.scope, lambda: platform_credential(settings), **both(clock))


@pytest.fixture
def sockets() -> Iterator[Callable[[], int]]:
    """`sockets()` counts this process's open sockets; the garbage collector does not run meanwhile."""

    def count() -> int:
        found = 0
        for file in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):
                found += str(file.readlink()).startswith("socket:")
        return found

    gc.collect()
    gc.disable()
    yield count
    gc.enable()


@pytest.mark.parametrize("fault", [None, "500", "reset", "hang"])
def test_no_connection_to_the_identity_endpoint_is_left_behind(
    fault: str | None, platform: Identity, azure: SimulatedAzure, sockets: Callable[[], int]
) -> None:
    """However a fetch ends, and though azure-identity's objects refer to one another in circles."""
    before = sockets()

    for _ in range(5):
        azure.set(identity_fault=fault)
        if fault == "hang":  # until it is mended: then the second try is answered
            threading.Timer(0.1, azure.set, kwargs={"identity_fault": None}).start()
        with suppress(MintError):
            platform.token(5)
    settle()

    assert len(azure.identity_calls()) >= 5
    assert sockets() == before


def test_a_throttling_identity_endpoint_is_an_answer_and_not_a_pause(
    platform: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """azure-core would sleep for as long as Retry-After says, and the fetch with it."""
    with Answering(Answer(status=429, headers={"Retry-After": "3600"})) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")

        with pytest.raises(MintError) as caught:
            platform.token(2)

    assert "got no token" in caught.value.message


def test_an_identity_endpoint_that_hung_serves_the_next_caller_at_once(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """What hangs, hangs on, as it does on a connection that a network has forgotten: it holds up nobody."""
    azure.set(identity_latency_ms=60_000)
    endpoint = start_endpoint(MINT_DEADLINE_SECONDS="2")
    during = endpoint.mint()
    azure.set(identity_latency_ms=0)
    ended = time.monotonic()

    after = endpoint.mint()

    assert (during.status_code, after.status_code) == (502, 200)
    assert time.monotonic() - ended < 2


def test_an_identity_endpoint_slower_than_the_deadline_gives_a_token_in_the_end(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """Whoever waits for it is told, and a fetch goes on: its token is for those who come later."""
    azure.set(identity_latency_ms=3000)
    endpoint = start_endpoint(MINT_DEADLINE_SECONDS="1")
    began = time.monotonic()

    until(lambda: endpoint.mint().status_code == 200)

    assert 3 <= time.monotonic() - began < 6
    assert len(azure.identity_calls()) <= 5


def test_a_token_is_renewed_five_minutes_before_its_end() -> None:
    """Where Entra names no earlier time; and at its very end it is no longer handed out."""
    clock, entra = Clock(), Entra([Token("a", 90_000), *[OSError("down")] * 4])
    identity = Identity("scope", entra.credential, **both(clock))
    asked = []
    for clock.now in (1000, 89_699, 89_700, 89_999):
        identity.token(1)
        settle()
        asked.append(entra.asked)
    clock.now = 90_000

    assert asked == [1, 1, 2, 3]
    with pytest.raises(MintError):
        identity.token(1)


def test_a_token_that_is_short_of_its_end_from_the_start_is_kept_for_ten_seconds() -> None:
    """An identity endpoint that hands out such tokens is not asked for every mint."""
    clock, entra = Clock(), Entra([Token("a", 1100), Token("b", 1100)])
    identity = Identity("scope", entra.credential, **both(clock))
    asked = []
    for clock.now in (1000, 1009.9, 1010):
        identity.token(1)
        settle()
        asked.append(entra.asked)

    assert asked == [1, 1, 2]


def test_a_token_that_another_caller_has_discarded_is_worth_another_try() -> None:
    """There is a newer one by then; who was refused the older one did nothing wrong."""
    identity = Identity("scope", Entra([Token("a", 90_000), Token("b", 90_000)]).credential, **both(Clock()))
    identity.discard(identity.token(1))
    identity.token(1)

    assert identity.discard("a")
    assert identity.token(1) == "b"


def test_who_waits_begins_another_fetch_when_the_first_one_hangs() -> None:
    """Without a newcomer to do it for them."""
    hung = Late(OSError("hung"))
    clock, entra = Clock(), Entra([hung, Token("a", 90_000)])
    identity = Identity("scope", entra.credential, **both(clock))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(identity.token, 5)
        until(lambda: entra.answered.acquire(blocking=False))
        clock.now += LONGER

        got = waiting.result(3)
        hung.gate.set()

    assert got == "a"


def test_a_caller_waits_as_long_as_was_said() -> None:
    """And not only until they look again for the first time."""
    entra = Entra([Token("a", 90_000)])
    entra.gate.clear()
    identity = Identity("scope", entra.credential, **both(Clock()))
    started = time.monotonic()

    with pytest.raises(MintError):
        identity.token(0.3)
    took = time.monotonic() - started
    entra.gate.set()

    assert took >= 0.3


def test_a_failure_fills_no_more_than_a_line_of_the_log() -> None:
    """azure-identity's errors quote whole answers."""
    down = ClientAuthenticationError("x" * 600)
    identity = Identity("scope", Entra([down, down]).credential, **both(Clock()))

    with pytest.raises(MintError) as caught:
        identity.token(1)

    assert caught.value.detail == f"ClientAuthenticationError: {'x' * 473}"


def test_a_broken_answer_with_a_token_in_it_leaves_none_in_the_log(
    platform: Identity, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """azure-core's error quotes what it could not read, and azure-identity logs that error."""
    import function_app  # noqa: F401, PLC0415 - it says what those libraries may log

    broken = Answer(
        b'{"access_token":"eyJ-the-token","expires_on":"179', headers={"Content-Type": "application/json"}
    )
    with Answering(broken) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
        with pytest.raises(MintError) as caught:
            platform.token(5)

    assert caught.value.detail == "DecodeError"
    assert "eyJ-the-token" not in caplog.text


def test_a_thread_that_is_not_to_be_had_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that could not be started must not be waited for."""
    identity = Identity("scope", Entra([Token("a", 90_000)]).credential, **both(Clock()))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            identity.token(1)

    assert identity.token(1) == "a"


def refuse(_: threading.Thread) -> None:
    """Do as Python does when the system has no more threads."""
    raise RuntimeError("can't start new thread")


def test_a_fetch_that_comes_late_does_not_replace_a_newer_token() -> None:
    """It was asked for earlier, and may end earlier."""
    hung = Late(Token("old", 2_000))
    clock, entra = Clock(), Entra([hung, Token("new", 90_000)])
    identity = Identity("scope", entra.credential, **both(clock))
    in_vain(identity, entra, asked=1)
    clock.now += LONGER
    newer = identity.token(1)

    hung.gate.set()
    settle()

    assert (newer, identity.token(1)) == ("new", "new")


def test_a_clock_that_is_set_back_delays_nothing() -> None:
    """A token's end is told by the wall's clock, and every wait by one that nobody sets."""
    hung = Late(OSError("hung"))
    clock, wall = Clock(), Clock()
    entra = Entra([hung, Token("a", 90_000)])
    identity = Identity("scope", entra.credential, clock=clock, wall=wall)
    in_vain(identity, entra, asked=1)
    clock.now += LONGER
    wall.now -= 3600

    assert identity.token(1) == "a"
    hung.gate.set()


def test_a_tokens_end_is_told_by_the_walls_clock() -> None:
    """And so is the time to renew it, whatever the other clock began with."""
    clock, wall = Clock(), Clock()
    wall.now = 1_795_000_000.0
    entra = Entra([Token("a", 1_795_003_600, refresh_on=1_795_001_800), OSError("down"), *[OSError("down")] * 2])
    identity = Identity("scope", entra.credential, clock=clock, wall=wall)
    asked = []
    for seconds in (0, 1799, 1800, 3599):
        clock.now = 1000.0 + seconds
        identity.token(1)
        settle()
        asked.append(entra.asked)
    clock.now = 1000.0 + 3600

    assert asked == [1, 1, 2, 3]
    with pytest.raises(MintError):
        identity.token(1)


def test_what_a_developer_is_signed_in_with_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may start a program that takes seconds: a second one beside it would take as long."""
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("IDENTITY_ENDPOINT", raising=False)
    slow = Late(Token("a", round(time.time()) + 90_000))
    entra = Entra([slow])
    monkeypatch.setattr("mint.service.platform_credential", lambda _: entra)
    identity = Service.start()._identity

    with pytest.raises(MintError, match="in time"):
        identity.token(2 * PATIENCE)
    slow.gate.set()

    assert (identity.token(5), entra.asked) == ("a", 1)


@pytest.mark.parametrize(
    ("offered", "kind"), [(True, "ManagedIdentityCredential"), (False, "DefaultAzureCredential")]
)
def test_the_identity_is_the_platforms_where_it_offers_one(
    offered: bool,  # noqa: FBT001 - a parameter of the test
    kind: str,
) -> None:
    """Else what a developer is signed in with."""
    settings = Settings(endpoint="https://res.example", deployment="realtime", has_identity_endpoint=offered)

    with closing(platform_credential(settings)) as credential:
        assert type(credential).__name__ == kind


def test_no_token_in_any_representation() -> None:
    """What is printed by mistake in a log or a debugger holds no token."""
    identity = Identity("scope", Entra([Token("ey-secret", 90_000)]).credential, **both(Clock()))
    identity.token(1)

    assert "ey-secret" not in repr(identity) + repr(vars(identity))
