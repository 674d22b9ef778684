"""A second resource: who is served there, when the first one is left alone, and when it is tried again."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from mint.errors import MintError
from mint.outcome import Minted, UpstreamError
from mint.resources import FAILURES, FIRST_REST, LONGEST_REST, Resources
from mint.session import Session
from mint.trip import Trip
from tests.conftest import Endpoint
from tests.simulated import SimulatedAzure

SESSION = Session("default", {"type": "realtime"}, None, None)


@dataclass
class Region:
    """One resource, as it is at the moment."""

    error: Exception | None = None
    mints: int = 0
    notices: list[dict[str, object]] = field(default_factory=list)
    allowed: tuple[int, float] | None = None

    def mint(self, _session: Session, trip: Trip) -> Minted:
        self.mints += 1
        self.allowed = trip.calls_allowed, trip.seconds_left()
        trip.attempts += 1
        if self.error:
            raise self.error
        return Minted("ek_x", 1, "sess_1", {})

    def health(self, _session: Session) -> dict[str, object]:
        return {"mints": self.mints}

    def take_notices(self) -> list[dict[str, object]]:
        return self.notices


class Two:
    """Two regions and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.first, self.second = Region(), Region()
        self.both = Resources([("one", self.first), ("two", self.second)], clock=lambda: self.now)

    def mint(self) -> str:
        return self.both.mint(SESSION, Trip(self.now + 8, clock=lambda: self.now)).endpoint

    def served(self) -> tuple[int, int]:
        """Return the mints at each since the last look."""
        counts = self.first.mints, self.second.mints
        self.first.mints = self.second.mints = 0
        return counts


def down() -> UpstreamError:
    return UpstreamError("upstream_unavailable", "down", upstream_status=503)


def test_the_preferred_resource_serves_while_it_is_in_order() -> None:
    """The second one costs nothing until it is needed."""
    two = Two()

    assert [two.mint() for _ in range(5)] == ["one"] * 5
    assert two.served() == (5, 0)


@pytest.mark.parametrize("code", ["upstream_unavailable", "upstream_timeout", "upstream_throttled"])
def test_a_request_that_fails_at_one_is_served_at_the_other(code: str) -> None:
    """The same request, so that no caller sees the failure."""
    two = Two()
    two.first.error = UpstreamError(code, "x")

    assert two.mint() == "two"


@pytest.mark.parametrize("code", ["upstream_rejected", "upstream_denied", "deployment_not_found"])
def test_a_mistake_of_ours_does_not_hide_at_the_other(code: str) -> None:
    """A 400 or a missing role is for a person to mend, and says nothing about the resource's health."""
    two = Two()
    two.first.error = UpstreamError(code, "x")

    for _ in range(FAILURES + 1):
        with pytest.raises(MintError, match="x"):
            two.mint()

    assert two.served() == (FAILURES + 1, 0)


def test_a_resource_that_keeps_failing_is_left_alone_for_a_while() -> None:
    """After some failures in a row callers no longer pay for trying it; then one request tries it again."""
    two = Two()
    two.first.error = down()
    for _ in range(FAILURES + 10):
        two.mint()
    while_resting = two.served()

    two.now += FIRST_REST
    two.mint()
    two.mint()

    assert while_resting == (FAILURES, FAILURES + 10)
    assert two.served() == (1, 2)


def test_only_failures_in_a_row_count() -> None:
    """A mint between them starts the count anew: a resource that fails now and then is not skipped."""
    two = Two()
    for error in (down(), down(), None, down(), down(), None):
        two.first.error = error
        two.mint()

    assert two.served() == (6, 4)


def test_three_failures_in_a_row_are_enough() -> None:
    """Any more would be callers who pay for an outage."""
    two = Two()
    two.first.error = down()

    for _ in range(4):
        two.mint()

    assert two.served() == (3, 4)


@pytest.mark.parametrize(
    "error", [UpstreamError("upstream_rejected", "x"), MintError("identity_unavailable", "x"), KeyError("a bug")]
)
def test_a_try_that_says_nothing_leaves_the_next_to_another_request(error: Exception) -> None:
    """Whatever it ends with, a resource that is being tried is not lost for ever."""
    two = Two()
    two.first.error = down()
    for _ in range(FAILURES):
        two.mint()
    two.now += FIRST_REST
    two.first.error = error

    with pytest.raises(type(error)):
        two.mint()
    two.first.error = None

    assert two.mint() == "one"


def test_a_second_outage_is_handled_as_the_first() -> None:
    """It is left alone again, for the first rest again, and tried again."""
    two = Two()
    served = []
    for _ in range(2):
        two.first.error = down()
        for _ in range(FAILURES):
            two.mint()
        two.now += FIRST_REST - 1
        served.append(two.mint())
        two.first.error = None
        two.now += 1
        served.append(two.mint())

    assert served == ["two", "one"] * 2


def test_the_rest_doubles_to_a_minute_and_ends_with_a_success() -> None:
    """A long outage is asked about less often; a mend is used at once."""
    two = Two()
    two.first.error = down()
    for _ in range(FAILURES):
        two.mint()
    rests = []
    for _ in range(6):
        two.served()
        started = two.now
        while not two.first.mints:
            two.now += 1
            two.mint()
        rests.append(two.now - started)
    two.first.error = None
    two.now += LONGEST_REST

    assert rests == [5, 10, 20, 40, 60, 60]
    assert [two.mint(), two.mint()] == ["one", "one"]


def test_one_request_at_a_time_tries_a_resting_resource() -> None:
    """While it is being tried the others go on elsewhere."""
    two = Two()
    two.first.error = down()
    for _ in range(FAILURES):
        two.mint()
    two.now += FIRST_REST
    two.served()
    inside: list[str] = []

    def mint_meanwhile(_session: Session, _trip: Trip) -> Minted:
        inside.append(two.mint())
        return Minted("ek_x", 1, "sess_1", {})

    two.first.mint = mint_meanwhile  # type: ignore[method-assign]  # a mint during which another comes

    assert two.mint() == "one"
    assert inside == ["two"]


def test_a_throttling_resource_rests_as_long_as_it_asked_for() -> None:
    """Its Retry-After is honoured at once, not after three failures."""
    two = Two()
    two.first.error = UpstreamError("upstream_throttled", "x", retry_after=30)
    two.mint()
    two.first.error = None
    two.served()

    two.now += 29
    early = two.mint()
    two.now += 1

    assert (early, two.mint()) == ("two", "one")


def test_no_resource_rests_longer_than_a_minute() -> None:
    """Whatever wait it asks for: it may be mended sooner."""
    two = Two()
    two.first.error = UpstreamError("upstream_throttled", "x", retry_after=86_400)
    two.mint()
    two.first.error = None
    two.now += LONGEST_REST

    assert two.mint() == "one"


def test_with_both_resting_the_preferred_one_is_tried_all_the_same() -> None:
    """A caller is never refused without a try."""
    two = Two()
    two.first.error = two.second.error = down()
    for _ in range(FAILURES):
        with pytest.raises(MintError):
            two.mint()
    two.served()
    two.first.error = None

    assert two.mint() == "one"
    assert two.served() == (1, 0)


def test_the_first_try_leaves_a_call_and_half_of_the_time_for_the_second() -> None:
    """Which then has all that is left, as a resource has that stands alone."""
    two, alone = Two(), Region()
    two.first.error = down()
    two.mint()
    Resources([("one", alone)], clock=lambda: 0.0).mint(SESSION, Trip(8, clock=lambda: 0.0))

    assert two.first.allowed == (2, 4.0)
    assert two.second.allowed == alone.allowed == (3, 8.0)


def test_without_a_call_left_the_first_failure_is_the_answer() -> None:
    """The second resource is no reason for more calls than a request may make."""
    two = Two()
    two.first.error = down()

    with pytest.raises(UpstreamError, match="down"):
        two.both.mint(SESSION, Trip(108, clock=lambda: 100.0, calls_allowed=1))

    assert two.served() == (1, 0)


def test_health_is_that_of_the_preferred_resource() -> None:
    """It says what a caller who mints now would get."""
    two = Two()
    two.mint()

    assert two.both.health(SESSION) == {"mints": 1}


def test_the_second_resources_notices_say_so() -> None:
    """Evidence is kept for each, and a log line that names no resource is about the first."""
    two = Two()
    two.first.notices, two.second.notices = [{"event": "a"}], [{"event": "b"}]

    assert two.both.take_notices() == [{"event": "a"}, {"event": "b", "resource": "fallback"}]


def test_a_slow_first_token_is_not_taken_for_a_slow_resource(
    start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure, other: SimulatedAzure
) -> None:
    """The token is for both resources: waiting for it ends at the deadline, not at the first one's share."""
    endpoint = start_endpoint(AZURE_OPENAI_FALLBACK_ENDPOINT=other.url, MINT_DEADLINE_SECONDS="4")
    azure.set(identity_latency_ms=2200)

    assert endpoint.mint().status_code == 200
    assert (len(azure.mints()), len(other.mints())) == (1, 0)


@pytest.fixture
def other() -> Iterator[SimulatedAzure]:
    """A second simulated resource, which takes the first one's identity tokens as Azure would."""
    simulated = SimulatedAzure()
    simulated.set(foreign_tokens=True)
    yield simulated
    simulated.stop()


@pytest.mark.parametrize(
    "fault", ["reset", "503", "429-retry-after", "hang", "slow-headers", "slow-body", "500-bare"]
)
def test_a_caller_of_a_region_that_is_out_gets_a_secret_of_the_other(
    fault: str, start_endpoint: Callable[..., Endpoint], azure: SimulatedAzure, other: SimulatedAzure
) -> None:
    """In the same request, within the deadline, in three calls at most; and the reply's URLs lead there."""
    endpoint = start_endpoint(AZURE_OPENAI_FALLBACK_ENDPOINT=other.url, MINT_DEADLINE_SECONDS="4")
    azure.set(fault=fault)

    response = endpoint.mint()

    assert response.status_code == 200, response.text
    assert response.json()["webrtc_url"].startswith(other.url)
    assert response.json()["websocket_url"].startswith(f"ws{other.url[4:]}")
    assert len(azure.mints()) + len(other.mints()) <= 3


def test_a_region_that_dies_under_load_is_not_noticed(
    start_endpoint: Callable[..., Endpoint], other: SimulatedAzure
) -> None:
    """32 callers, the first region killed among them: not one sees an error."""
    first = SimulatedAzure()
    first.set(foreign_tokens=True)
    endpoint = start_endpoint(AZURE_OPENAI_ENDPOINT=first.url, AZURE_OPENAI_FALLBACK_ENDPOINT=other.url)
    served_by_first = endpoint.mint().json()["webrtc_url"].startswith(first.url)

    with ThreadPoolExecutor(32) as pool:
        before = [pool.submit(endpoint.mint) for _ in range(200)]
        first.stop()
        after = [pool.submit(endpoint.mint) for _ in range(200)]

    assert served_by_first
    assert {call.result().status_code for call in before + after} == {200}
    assert after[-1].result().json()["webrtc_url"].startswith(other.url)
