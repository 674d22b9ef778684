"""MINT_QUOTA: how often a caller may mint, what is given back, and what a Redis that fails does to callers."""

import json
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import parse_many

from mint.errors import MintError
from mint.quota import Count, Quota
from mint.settings import Settings
from mint.shared_count import PING_EVERY, SharedCount
from tests.conftest import Endpoint
from tests.simulated import SimulatedAzure, until
from tests.stores import PASSWORD, Store
from tests.test_callers import EASY_AUTH, signed_in
from tests.test_settings import REQUIRED


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def quota_of(mint_quota: str, **settings: str) -> tuple[Quota, Clock]:
    clock = Clock()
    return Quota(Settings.read(REQUIRED | {"MINT_QUOTA": mint_quota} | settings), clock), clock


def refused_for(quota: Quota, caller: str = "ann") -> int:
    """Return the Retry-After of a caller who is refused."""
    with pytest.raises(MintError) as caught:
        quota.spend(caller)
    assert (caught.value.code, caught.value.status) == ("quota_exceeded", 429)
    return int(caught.value.headers()["Retry-After"])


def spends(quota: Quota, caller: str = "ann") -> bool:
    try:
        quota.spend(caller)
    except MintError:
        return False
    return True


def test_each_caller_has_a_quota_of_their_own() -> None:
    """One who has spent theirs takes nothing from another."""
    quota, _ = quota_of("2/minute")

    admitted = [spends(quota, caller) for caller in ("ann", "ann", "ann", "bob", "bob", "bob")]

    assert admitted == [True, True, False, True, True, False]


def test_retry_after_is_honest() -> None:
    """Whoever waits that long mints, and whoever comes a moment before does not."""
    quota, clock = quota_of("2/minute")
    quota.spend("ann")
    clock.now += 20.5
    quota.spend("ann")
    clock.now += 0.25

    wait = refused_for(quota)
    clock.now += wait - 1
    early = spends(quota)
    clock.now += 1

    assert wait == 40
    assert not early
    assert spends(quota)
    assert refused_for(quota) == 20


def test_all_windows_hold_at_once_and_the_longest_wait_counts() -> None:
    """With the minute and the hour both full, it is the hour that has to be waited for."""
    quota, clock = quota_of("2/minute;3/hour")
    admitted = [spends(quota) for _ in range(3)]
    minute = refused_for(quota)
    clock.now += 60
    admitted.append(spends(quota))

    hour = refused_for(quota)
    clock.now += hour

    assert admitted == [True, True, False, True]
    assert (minute, hour) == (60, 3540)
    assert spends(quota)


def test_a_refused_request_spends_nothing() -> None:
    """Hammering does not put the next mint off, in any window."""
    quota, clock = quota_of("2/minute;4/hour")
    for _ in range(2):
        quota.spend("ann")
    for _ in range(50):
        refused_for(quota)
    clock.now += 60

    admitted = [spends(quota) for _ in range(3)]

    assert admitted == [True, True, False]


def test_what_is_given_back_can_be_spent_again() -> None:
    """Exactly the mint that failed, so that the others keep their times."""
    quota, clock = quota_of("2/minute")
    first = quota.spend("ann")
    clock.now += 30
    quota.spend("ann")
    assert first

    quota.give_back(first)

    assert spends(quota)
    assert refused_for(quota) == 60


def test_off_is_off() -> None:
    """Nothing is counted and nothing kept."""
    quota, _ = quota_of("off")

    assert [quota.spend("ann") for _ in range(1000)] == [None] * 1000


def test_the_default_is_twenty_a_minute_and_two_hundred_a_day() -> None:
    """Without a setting there is a quota."""
    quota, clock = quota_of("")
    minute = sum(spends(quota) for _ in range(30))
    day = minute
    for _ in range(20):
        clock.now += 60
        day += sum(spends(quota) for _ in range(30))

    assert (minute, day) == (20, 200)


def test_threads_together_get_the_quota_and_no_more() -> None:
    """32 threads, one caller."""
    quota, _ = quota_of("100/hour;50/minute")

    with ThreadPoolExecutor(32) as pool:
        admitted = list(pool.map(lambda _: spends(quota), range(500)))

    assert sum(admitted) == 50


@given(st.lists(st.floats(0, 40), max_size=60), st.integers(1, 5), st.integers(1, 9))
def test_no_window_ever_holds_more_than_its_amount(pauses: list[float], few: int, many: int) -> None:
    """Whatever the pauses, and a caller who waits as told is admitted."""
    windows = parse_many(f"{few}/20seconds;{many}/minute")
    count, now, admitted = Count(windows), 0.0, []
    for pause in pauses:
        now += pause
        wait = count.spend("ann", now)
        if wait:
            now += wait
            assert count.spend("ann", now + 1e-6) == 0
        admitted.append(now)

    for window in windows:
        for end in admitted:
            inside = [at for at in admitted if end - window.get_expiry() + 1e-3 < at <= end]
            assert len(inside) <= window.amount


def test_callers_are_forgotten_when_their_windows_have_passed() -> None:
    """Memory is for those who minted lately."""
    count = Count(parse_many("2/minute"))
    for number in range(1000):
        count.spend(str(number), float(number))

    assert count.callers() == 60


def test_memory_is_bounded_however_many_callers_come() -> None:
    """Hundred thousand callers within the window make room for the next by who minted longest ago."""
    count = Count(parse_many("2/minute;200/day"), max_callers=1000)
    for number in range(100_000):
        count.spend(str(number), 0.0)

    assert count.callers() == 1000
    assert count.spend("99999", 0.0) == 0
    assert count.spend("99999", 0.0) == 60


def test_room_is_made_by_who_has_not_minted_for_longest() -> None:
    """And not by who came first: whoever goes on minting stays counted."""
    count = Count(parse_many("2/minute"), max_callers=2)
    for caller in ("ann", "bob", "ann", "new"):
        assert count.spend(caller, 0.0) == 0

    assert count.spend("ann", 0.0) == 60
    assert count.callers() == 2


def test_who_was_given_everything_back_is_forgotten() -> None:
    """Nothing is kept of them, and the next caller is counted as ever."""
    quota, _ = quota_of("1/minute")
    spent = quota.spend("ann")
    assert spent

    quota.give_back(spent)

    assert quota._here
    assert quota._here.callers() == 0
    assert [spends(quota, "bob"), spends(quota, "bob")] == [True, False]


def test_what_is_kept_of_a_caller_is_not_printed() -> None:
    """The key stands for a person, and what is spent ends up in debuggers."""
    quota, _ = quota_of("1/minute")
    spent = quota.spend("ann@example.com")

    assert spent
    assert spent.key not in repr(spent)
    assert "ann" not in repr(spent) + spent.key


class Shared:
    """Stands for the count in Redis: the waits that it answers with (None: it is down), and what it is told."""

    def __init__(self, *waits: float | None) -> None:
        self.waits = list(waits)
        self.spent: list[tuple[str, str]] = []
        self.given_back: list[tuple[str, str]] = []

    def spend(self, *mint: str) -> float | None:
        self.spent.append(mint)  # type: ignore[arg-type]  # key and id
        return self.waits.pop(0)

    def give_back(self, *mint: str) -> None:
        self.given_back.append(mint)  # type: ignore[arg-type]  # key and id

    def take_notices(self) -> list[dict[str, Any]]:
        return [{"event": "quota_storage_down"}]


def quota_with(shared: Shared) -> Quota:
    quota, _ = quota_of("2/minute", QUOTA_STORAGE_URI="redis://127.0.0.1:1")
    quota._shared = shared  # type: ignore[assignment]
    return quota


def test_what_redis_admits_is_counted_here_too() -> None:
    """A Redis that goes down does not fill every quota again."""
    quota = quota_with(Shared(0.0, 0.0, None))

    assert [spends(quota) for _ in range(3)] == [True, True, False]


def test_what_redis_refuses_is_not_counted_here() -> None:
    """The wait is Redis's, in whole seconds, and when it goes down the caller has all of the local quota."""
    quota = quota_with(Shared(12.3, 12.3, None, None))

    waits = [refused_for(quota), refused_for(quota)]

    assert waits == [13, 13]
    assert [spends(quota), spends(quota)] == [True, True]


def test_what_is_given_back_is_given_back_in_redis_too() -> None:
    """By the mint's own id, so that other instances' mints stay counted; and here."""
    shared = Shared(0.0, 0.0, None)
    quota = quota_with(shared)
    first = quota.spend("ann")
    quota.spend("ann")
    assert first

    quota.give_back(first)

    assert shared.given_back == shared.spent[:1] == [(first.key, first.id)]
    assert spends(quota)


def test_what_redis_has_to_say_reaches_the_log() -> None:
    """Through the one place where notices are taken."""
    assert quota_with(Shared()).take_notices() == [{"event": "quota_storage_down"}]


def test_a_caller_over_quota_costs_no_upstream_call(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """429 with the time to wait; SDKs wait and try again, so that it is not marked hopeless."""
    endpoint = start_endpoint(MINT_QUOTA="2/hour")
    statuses = [endpoint.mint().status_code for _ in range(2)]

    response = endpoint.mint()

    assert statuses == [200, 200]
    assert (response.status_code, response.json()["error"]["code"]) == (429, "quota_exceeded")
    assert 3590 <= int(response.headers["Retry-After"]) <= 3600
    assert "x-should-retry" not in response.headers
    assert len(azure.mints()) == 2
    assert re.fullmatch(r"[0-9a-f]{32}", endpoint.log_line(response)["caller"])


def test_a_caller_may_mint_again_after_retry_after(start_endpoint: Callable[..., Endpoint]) -> None:
    """With the real clock, once."""
    endpoint = start_endpoint(MINT_QUOTA="1/second")
    endpoint.mint()
    refused = endpoint.mint()

    threading.Event().wait(int(refused.headers["Retry-After"]))

    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "1"
    assert endpoint.mint().status_code == 200


@pytest.mark.parametrize("fault", ["500", "503", "429-retry-after", "200-no-value", "400-unknown-parameter"])
def test_what_ends_in_5xx_is_given_back(
    fault: str, start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """A caller does not pay for our faults, Azure's, or those of our settings."""
    endpoint = start_endpoint(MINT_QUOTA="1/hour")
    azure.set(fault=fault)
    failed = {endpoint.mint().status_code // 100 for _ in range(3)}
    azure.set(fault=None)

    statuses = [endpoint.mint().status_code for _ in range(2)]

    assert failed == {5}
    assert statuses == [200, 429]


def test_a_timeout_is_given_back(start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure) -> None:
    """504 is 5xx too."""
    endpoint = start_endpoint(MINT_QUOTA="1/hour", MINT_DEADLINE_SECONDS="1")
    azure.set(latency_ms=2000)
    failed = endpoint.mint().status_code
    azure.set(latency_ms=0)

    statuses = [endpoint.mint().status_code for _ in range(2)]

    assert failed == 504
    assert statuses == [200, 429]


def test_overload_is_given_back(start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure) -> None:
    """Ten at once, one place: the nine that got 503 have spent nothing."""
    endpoint = start_endpoint(MINT_QUOTA="2/hour", MAX_CONCURRENT_MINTS="1")
    azure.set(latency_ms=500)

    with ThreadPoolExecutor(10) as pool:
        statuses = sorted(pool.map(lambda _: endpoint.mint().status_code, range(10)))
    azure.set(latency_ms=0)

    assert statuses == [200] + [503] * 9
    assert [endpoint.mint().status_code for _ in range(2)] == [200, 429]


def test_what_ends_in_4xx_is_not_given_back(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure
) -> None:
    """Probing for what the endpoint refuses costs quota."""
    endpoint = start_endpoint(MINT_QUOTA="2/hour")

    statuses = [endpoint.mint(data=b"{").status_code for _ in range(3)]

    assert statuses == [400, 400, 429]
    assert azure.mints() == []


def test_function_key_callers_are_counted_by_address(start_endpoint: Callable[..., Endpoint]) -> None:
    """On Azure the last hop tells them apart; what a client writes before it buys nothing."""
    endpoint = start_endpoint(MINT_QUOTA="1/hour", WEBSITE_SITE_NAME="app")
    hops = ["203.0.113.7:1", "203.0.113.7:2", "198.51.100.9, 203.0.113.7:3", "203.0.113.8:1"]

    statuses = [endpoint.mint(headers={"X-Forwarded-For": hop}).status_code for hop in hops]

    assert statuses == [200, 429, 429, 200]


def test_easy_auth_callers_are_counted_by_principal(start_endpoint: Callable[..., Endpoint]) -> None:
    """And not by address, which a whole office may share."""
    endpoint = start_endpoint(MINT_QUOTA="1/hour", **EASY_AUTH)
    users = [("ann", "aad"), ("ann", "aad"), ("bob", "aad"), ("ann", "google")]

    statuses = [endpoint.mint(headers=signed_in(*user)).status_code for user in users]

    assert statuses == [200, 429, 200, 200]


def shared(store: Store, mint_quota: str, **settings: str) -> tuple[Quota, Clock]:
    return quota_of(mint_quota, QUOTA_STORAGE_URI=store.uri, **settings)


def test_instances_share_one_count(
    start_endpoint: Callable[..., Endpoint], store: Store, azure: SimulatedAzure
) -> None:
    """Three processes and one Redis admit the quota between them, to the last mint."""
    endpoints = [start_endpoint(MINT_QUOTA="20/hour;50/day", QUOTA_STORAGE_URI=store.uri) for _ in range(3)]

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(lambda number: endpoints[number % 3].mint().status_code, range(60)))

    assert sorted(statuses) == [200] * 20 + [429] * 40
    assert len(azure.mints()) == 20
    assert PASSWORD not in "".join(endpoint.host.log for endpoint in endpoints)
    assert all("quota_storage_down" not in endpoint.host.log for endpoint in endpoints)


def test_redis_counts_as_memory_does(store: Store) -> None:
    """All windows at once, nothing spent by a refusal, exact giving back, and an honest wait."""
    quota, _ = shared(store, "2/minute;3/hour")
    first = quota.spend("ann")
    quota.spend("ann")
    minute = refused_for(quota)
    assert first
    quota.give_back(first)
    (name,) = store.command("KEYS", "*")  # type: ignore[misc]
    left = store.command("ZCARD", name)
    until_given_back = [spends(quota), spends(quota)]

    assert 59 <= minute <= 60
    assert left == 1
    assert until_given_back == [True, False]
    assert 0 < int(str(store.command("TTL", name))) <= 3600


def test_redis_and_a_passing_window(store: Store) -> None:
    """By Redis's own clock: after the wait that was stated there is room."""
    quota, _ = shared(store, "2/second")
    admitted = [spends(quota) for _ in range(3)]

    threading.Event().wait(refused_for(quota))

    assert admitted == [True, True, False]
    assert spends(quota)


def test_redis_forgets_what_is_older_than_every_window(store: Store) -> None:
    """A caller who mints for ever does not fill the store."""
    quota, _ = shared(store, "3/minute")
    quota.spend("ann")
    (name,) = store.command("KEYS", "*")  # type: ignore[misc]
    store.command("ZADD", name, "1", "a-mint-of-1970")

    admitted = [spends(quota) for _ in range(3)]

    assert admitted == [True, True, False]
    assert store.command("ZCARD", name) == 3


def test_nobody_waits_longer_than_a_quarter_second_whatever_redis_does() -> None:
    """A socket's timeout covers neither the name's lookup nor a handshake of many steps."""
    shared_count = SharedCount("redis://127.0.0.1:1", parse_many("2/minute"))
    end = threading.Event()
    shared_count._spend = lambda **_: end.wait(10)  # type: ignore[assignment]
    started = time.monotonic()

    first = shared_count.spend("ann", "1")
    first_took = time.monotonic() - started
    second = shared_count.spend("ann", "2")
    second_took = time.monotonic() - started - first_took
    end.set()

    assert (first, second) == (None, None)
    assert 0.2 < first_took < 0.35
    assert second_took < 0.05


def test_nothing_in_redis_names_a_caller(store: Store) -> None:
    """Names are hashes, the same on all instances, and keyed where CALLER_HASH_KEY is set."""
    caller = '["easy_auth", "aad", "ann@example.com"]'

    names = []
    for key in ("", "", "k" * 32, "k" * 32, "l" * 32):
        shared(store, "2/minute", CALLER_HASH_KEY=key)[0].spend(caller)
        names.append(store.command("KEYS", "*")[0])  # type: ignore[index]
        store.command("FLUSHDB")

    assert all(re.fullmatch(r"mint_quota:[0-9a-f]{64}", name) for name in names)
    assert [names.index(name) for name in names] == [0, 0, 2, 2, 4]


@pytest.mark.parametrize("how", ["stop", "hang"])
def test_minting_goes_on_while_redis_is_down(
    how: str, start_endpoint: Callable[..., Endpoint], store: Store
) -> None:
    """Counted in this process, with one warning; one caller waits 250 ms at most and the others not at all."""
    endpoint = start_endpoint(MINT_QUOTA="8/hour", QUOTA_STORAGE_URI=store.uri)
    before = [endpoint.mint().status_code for _ in range(3)]
    getattr(store, how)()

    responses = [endpoint.mint() for _ in range(6)]

    assert before == [200] * 3
    assert [response.status_code for response in responses] == [200] * 5 + [429]
    assert responses[0].elapsed.total_seconds() < 0.4
    assert max(response.elapsed.total_seconds() for response in responses[1:]) < 0.15
    assert endpoint.host.log.count("quota_storage_down") == 1
    assert PASSWORD not in endpoint.host.log


def test_a_redis_that_comes_back_is_used_again(start_endpoint: Callable[..., Endpoint], store: Store) -> None:
    """By itself, and without a caller who waits for it."""
    endpoint = start_endpoint(MINT_QUOTA="100/hour", QUOTA_STORAGE_URI=store.uri)
    endpoint.mint()
    store.stop()
    endpoint.mint()
    store.start()
    deadline = time.monotonic() + 10
    slowest = 0.0

    while not store.command("KEYS", "*"):
        assert time.monotonic() < deadline
        slowest = max(slowest, endpoint.mint().elapsed.total_seconds())

    assert slowest < 0.2


def test_an_unreachable_redis_costs_callers_no_time(start_endpoint: Callable[..., Endpoint]) -> None:
    """From the start, with many callers at once, none waits longer than 250 ms."""
    endpoint = start_endpoint(MINT_QUOTA="1000/hour", QUOTA_STORAGE_URI="redis://:secret@192.0.2.1:6379")
    endpoint.mint()

    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda _: endpoint.mint(), range(100)))

    assert {response.status_code for response in responses} == {200}
    assert max(response.elapsed.total_seconds() for response in responses) < 0.5


def test_the_warning_comes_once_a_minute(store: Store) -> None:
    """However many requests meet the failure; it names the cause and neither the address nor the password."""
    quota, clock = shared(store, "100000/day")
    store.stop()
    notices: list[dict[str, Any]] = []
    for _ in range(3):
        for _ in range(30):
            clock.now += 1
            quota.spend("ann")
            until_pinged(quota)
            notices += quota.take_notices()

    assert len(notices) == 2
    assert {notice["event"] for notice in notices} == {"quota_storage_down"}
    assert PASSWORD not in json.dumps(notices)
    assert "127.0.0.1" not in json.dumps(notices)
    assert PASSWORD not in repr(vars(quota))


def test_the_return_of_redis_is_told_once(store: Store) -> None:
    """With the seconds since the first failure; of one that goes again within the minute neither is told."""
    quota, clock = shared(store, "100000/day")
    count = quota._shared
    assert count
    told: list[list[dict[str, Any]]] = []
    for pause, outage in ((0, 45), (0, 5), (60, 5)):
        clock.now += pause
        store.stop()
        quota.spend("ann")
        clock.now += 2
        quota.spend("ann")
        until(lambda: count._ping_at == clock.now + PING_EVERY)  # a ping that failed
        clock.now += outage - 2
        store.start()
        quota.spend("ann")
        until(lambda: count._up)
        quota.spend("ann")
        told.append(quota.take_notices())
    count._redis.close()  # the traceback of a failure would hold it until the collector comes

    assert [[notice["event"] for notice in notices] for notices in told] == [
        ["quota_storage_down", "quota_storage_up"],
        [],
        ["quota_storage_down", "quota_storage_up"],
    ]
    assert [notices[1] for notices in told if notices] == [
        {"event": "quota_storage_up", "down_seconds": seconds} for seconds in (45, 5)
    ]


def until_pinged(quota: Quota) -> None:
    """Return when the ping in the background, if there is one, has failed."""
    assert quota._shared
    quota._shared._threads.submit(lambda: None).result(5)
