"""TRANSCRIPTION_MODE: a service that breaks, mends and lies, and callers who never notice.

The upstream here is a stand-in for Azure's half of `Upstream.send`, so that any sequence of states can be driven
with the clock in hand; tests/test_auto.py runs the same over HTTP.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mint.errors import MintError
from mint.evidence import LONGEST_INTERVAL
from mint.outcome import Minted, Remedy, UpstreamError
from mint.profiles import DIRECTORY, SCHEMA_FILE
from mint.session import Session, with_block
from mint.settings import FLAT_FIELD, GA_FIELD, Settings
from mint.transcription import SHORTEST_LIFETIME, Transcription
from mint.trip import Trip
from tests.simulated import until

pytestmark = pytest.mark.workaround
BLOCK = {"model": "transcribe"}
SESSION = Session("default", {"type": "realtime", "model": "realtime"}, BLOCK, None)
INTERVAL = 300


def refusal(status: int, code: str = "upstream_unavailable", remedy: Remedy = Remedy.NONE) -> UpstreamError:
    return UpstreamError(code, "refused", upstream_status=status, remedy=remedy)


DOWN = refusal(503, remedy=Remedy.AGAIN)
STATES: dict[str, Callable[[bool], UpstreamError | None]] = {
    # what a mint with (True) or without (False) the block gets: None for success
    "works": lambda _: None,
    "broken": lambda block: refusal(500, remedy=Remedy.AGAIN) if block else None,
    "rejects": lambda block: refusal(400, "upstream_rejected") if block else None,
    "drops": lambda _: None,
    "throttled": lambda _: refusal(429, "upstream_throttled"),
    "denied": lambda _: refusal(401, "upstream_denied"),
    "denied-with-block": lambda block: refusal(403, "upstream_denied") if block else None,
    "no-deployment-with-block": lambda block: refusal(404, "deployment_not_found") if block else None,
    "down": lambda _: DOWN,
    "all-500": lambda _: refusal(500, remedy=Remedy.AGAIN),
    "slow-with-block": lambda block: UpstreamError("upstream_timeout", "late") if block else None,
    "unreachable-with-block": lambda block: (
        UpstreamError("upstream_unavailable", "x", remedy=Remedy.AGAIN) if block else None
    ),
}


@dataclass
class Azure:
    """Azure as `Upstream` sees it: one state at a time, and a record of every call."""

    state: str = "works"
    takes_expires_after: bool = True
    calls: list[tuple[bool, int | None]] = field(default_factory=list)

    def send(
        self,
        session: Session,
        trip: Trip,
        *,
        transcribed: bool = False,
        final: Callable[[UpstreamError], bool] = lambda _: False,
    ) -> Minted:
        while True:
            trip.attempts += 1
            self.calls.append((transcribed, session.expires_after_seconds))
            error = STATES[self.state](transcribed)
            if session.expires_after_seconds is not None and not self.takes_expires_after:
                error = refusal(500, remedy=Remedy.AGAIN)
            if error is None:
                echoed = transcribed and self.state != "drops"
                echo = with_block({}, "audio.input.transcription", BLOCK) if echoed else {}
                return Minted("ek_x", 1, "sess_1", echo)
            if final(error) or error.remedy is Remedy.NONE or trip.attempts >= 2:
                raise error

    def mint(self, session: Session, trip: Trip) -> Minted:
        minted = self.send(session, trip, transcribed=session.transcription is not None)
        return replace(minted, configured="mint_time") if session.transcription else minted


@dataclass
class World:
    """The app's half: a clock that the test moves, and probes that run when the test says."""

    mode: str = "auto"
    interval: int = INTERVAL
    place: str = GA_FIELD
    now: float = 0.0
    azure: Azure = field(default_factory=Azure)
    probes: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = Settings(
            endpoint="https://res.openai.azure.com",
            deployment="realtime",
            transcription_deployment="transcribe",
            transcription_mode=self.mode,
            transcription_field=self.place,
            probe_seconds=self.interval,
        )
        self.app = Transcription(
            settings,
            self.azure,  # type: ignore[arg-type]  # the half of Upstream that is used
            clock=lambda: self.now,
            wall=lambda: 1_795_000_000 + self.now,
            run_probe=self.probes.append,
        )

    def mint(self, session: Session = SESSION) -> Minted:
        return self.app.mint(session, Trip(self.now + 8, clock=lambda: self.now))

    def run_probes(self) -> int:
        """Run the probes that are due; return how many upstream calls they took."""
        before = len(self.azure.calls)
        while self.probes:
            self.probes.pop(0)()
        return len(self.azure.calls) - before

    def settled(self) -> str:
        """Mint, let a probe run, and return what the next mint says."""
        self.mint()
        self.run_probes()
        return self.mint().configured


def test_a_probe_that_finds_no_thread_costs_the_caller_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mint went well; the next one sets a probe off again."""
    world = World()

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(world.app, "_run_probe", refuse)
        first = world.mint()
    world.now += world.interval
    world.mint()

    assert first.configured == "post_connect"
    assert len(world.probes) == 1


def test_auto_starts_as_post_connect_and_probes_behind_the_caller() -> None:
    """The first caller is served without the block; the probe comes after, and what it finds is used."""
    world = World()

    first = world.mint()
    calls_of_the_caller = list(world.azure.calls)
    world.run_probes()

    assert first.configured == "post_connect"
    assert first.session_update is not None
    assert calls_of_the_caller == [(False, None)]
    assert world.azure.calls[1:] == [(True, SHORTEST_LIFETIME)]
    assert world.mint().configured == "mint_time"
    assert world.app.health(SESSION)["mint_time_works"] is True


def test_while_a_probe_runs_no_other_starts() -> None:
    """One probe at a time, however many callers mint meanwhile."""
    world = World()

    for _ in range(10):
        world.mint()
        world.now += 1000

    assert len(world.probes) == 1


def test_a_probe_runs_at_most_once_an_interval() -> None:
    """Between probes callers mint and nothing else happens."""
    world = World(azure=Azure("broken"))
    world.mint()
    world.run_probes()

    world.now = INTERVAL - 1
    world.mint()
    early = len(world.probes)
    world.now = INTERVAL
    world.mint()

    assert (early, len(world.probes)) == (0, 1)


def test_the_interval_doubles_to_an_hour_and_falls_back_after_a_good_probe() -> None:
    """A fault that lasts is asked about less and less often; after a mend the first interval holds again."""
    world = World(azure=Azure("broken"))
    waits = []
    for _ in range(7):
        world.mint()
        world.run_probes()
        started = world.now
        while not world.probes:
            world.now += 1
            world.mint()
        waits.append(world.now - started)
    world.azure.state = "works"
    world.run_probes()
    world.azure.state = "broken"
    world.mint()
    started = world.now
    while not world.probes:
        world.now += 1
        world.mint()

    assert waits == [300, 600, 1200, 2400, LONGEST_INTERVAL, LONGEST_INTERVAL, LONGEST_INTERVAL]
    assert world.now - started == INTERVAL


@pytest.mark.parametrize("state", ["broken", "rejects", "drops", "no-deployment-with-block"])
def test_a_caller_is_minted_for_again_when_the_block_stops_working(state: str) -> None:
    """Same request, without the block: the caller gets a secret and the update, and the mode falls back."""
    world = World()
    world.settled()
    world.azure.state = state
    world.azure.calls.clear()

    minted = world.mint()

    assert (minted.configured, minted.value) == ("post_connect", "ek_x")
    assert minted.session_update is not None
    assert [block for block, _ in world.azure.calls] == ([True] if state == "drops" else [True, False])
    assert world.app.health(SESSION)["configured"] == "post_connect"
    assert world.app.health(SESSION)["mint_time_works"] is False


@pytest.mark.parametrize("state", ["throttled", "denied", "down", "all-500"])
def test_an_outage_concludes_nothing(state: str) -> None:
    """Refused with and without the block: not the block's fault, and mint-time use goes on afterwards."""
    world = World()
    world.settled()
    world.azure.state = state

    with pytest.raises(MintError):
        world.mint()
    world.azure.state = "works"

    assert world.mint().configured == "mint_time"


@pytest.mark.parametrize("state", ["slow-with-block", "unreachable-with-block", "denied-with-block"])
def test_no_reply_is_no_evidence(state: str) -> None:
    """A timeout or a lost connection gets the caller a second mint, and blames nothing."""
    world = World()
    world.settled()
    world.azure.state = state

    minted = world.mint()
    world.azure.state = "works"

    assert minted.configured == "post_connect"
    assert world.mint().configured == "mint_time"


@pytest.mark.parametrize("state", ["throttled", "denied", "down", "slow-with-block", "unreachable-with-block"])
def test_an_inconclusive_probe_changes_nothing_but_the_time_of_the_next(state: str) -> None:
    """The answer stays unknown, and the interval is not doubled."""
    world = World()
    for _ in range(3):
        world.azure.state = "works"
        world.mint()
        world.azure.state = state
        world.run_probes()
        world.azure.state = "works"
        world.now += INTERVAL

    world.mint()

    assert len(world.probes) == 1
    assert world.app.health(SESSION) == {
        "mode": "auto",
        "configured": "post_connect",
        "mint_time_works": None,
        "checked_at": None,
    }


def test_a_refused_expires_after_is_not_blamed_on_the_block() -> None:
    """Whether Azure takes expires_after is unknown: a probe refused with it asks again without, and remembers."""
    world = World(azure=Azure(takes_expires_after=False))
    world.mint()

    first = world.run_probes()
    world.azure.state = "broken"
    world.mint()
    world.now += INTERVAL
    world.mint()
    world.azure.calls.clear()
    world.run_probes()

    assert first == 2
    assert world.azure.calls == [(True, None)]


def test_while_mint_time_is_in_use_there_are_no_probes() -> None:
    """Each mint is the evidence then, and moves the time of the last check."""
    world = World()
    world.settled()
    world.now += 10 * INTERVAL
    world.mint()

    assert world.probes == []
    assert world.app.health(SESSION)["checked_at"] == "2026-11-18T11:56:40+00:00"


def test_post_connect_only_tells() -> None:
    """The answer is in health and in one log line at the first and at each change; what is minted stays."""
    world = World(mode="post_connect")
    configured, notices = [], []
    for state in ["broken", "broken", "works", "works", "broken"]:
        world.azure.state = state
        configured.append(world.settled())
        notices.append([notice["mint_time_works"] for notice in world.app.take_notices()])
        world.now += 2 * LONGEST_INTERVAL

    assert set(configured) == {"post_connect"}
    assert notices == [[False], [], [True], [], [False]]


def test_the_log_line_names_the_setting_to_change() -> None:
    """Whoever reads it in the log knows what to do about it."""
    world = World(mode="post_connect")
    world.settled()

    (notice,) = world.app.take_notices()
    assert notice["event"] == "transcription_evidence"
    assert "Set TRANSCRIPTION_MODE to mint_time" in notice["advice"]


def test_mint_time_never_probes() -> None:
    """There is nothing to find out: the setting says it."""
    world = World(mode="mint_time")

    minted = world.mint()

    assert minted.configured == "mint_time"
    assert world.probes == []


@pytest.mark.parametrize(("state", "says"), [("works", "mint_time"), ("drops", "post_connect")])
def test_health_in_mint_time_says_what_a_mint_would(state: str, says: str) -> None:
    """Each mint there is the evidence: a block that is dropped means that callers get the update."""
    world = World(mode="mint_time", azure=Azure(state))

    minted = world.mint()

    health = world.app.health(SESSION)
    assert minted.configured == says == health["configured"]
    assert health["mint_time_works"] is (state == "works")
    assert world.app.take_notices() == []


@dataclass
class Refusing(Azure):
    """Azure, always with the same refusal; `taken_as_final` is what its caller makes of it."""

    error: UpstreamError = DOWN
    taken_as_final: bool | None = None

    def send(
        self,
        session: Session,
        trip: Trip,  # noqa: ARG002 - the half of Upstream.send that matters here
        *,
        transcribed: bool = False,
        final: Callable[[UpstreamError], bool] = lambda _: False,
    ) -> Minted:
        self.calls.append((transcribed, session.expires_after_seconds))
        self.taken_as_final = final(self.error)
        raise self.error


def rejected(param: str | None = None, text: str = "") -> UpstreamError:
    return UpstreamError("upstream_rejected", "x", upstream_status=400, param=param, upstream_text=text)


@pytest.mark.parametrize(
    ("error", "blamed"),
    [
        (refusal(500, remedy=Remedy.AGAIN), True),
        (rejected(param="session.audio.input.transcription.model"), True),
        (rejected(text="Unknown parameter: 'session.input_audio_transcription'."), True),
        (rejected(param="session.audio.output.voice"), False),
        (rejected(), False),
        (refusal(503, remedy=Remedy.AGAIN), False),
        (UpstreamError("upstream_timeout", "late"), False),
    ],
)
def test_mint_time_says_that_it_was_the_block(error: UpstreamError, blamed: bool) -> None:  # noqa: FBT001 - an expectation
    """A 500, or a 400 that names it: at once, since trying again does not help. Anything else is what it is."""
    error.upstream_request_id, error.detail = "r-1", "a-code"
    azure = Refusing(error=error)

    with pytest.raises(MintError) as caught:
        World(mode="mint_time", azure=azure).mint()

    assert caught.value.code == ("transcription_rejected" if blamed else error.code)
    assert (caught.value.upstream_request_id, caught.value.detail) == ("r-1", "a-code")
    assert azure.taken_as_final is blamed
    assert azure.calls == [(True, None)]


@pytest.mark.parametrize(
    ("place", "session"),
    [
        (GA_FIELD, {"type": "realtime", "audio": {"input": {"transcription": BLOCK}}}),
        (FLAT_FIELD, {"type": "realtime", "input_audio_transcription": BLOCK}),
    ],
)
def test_the_update_turns_transcription_on(place: str, session: dict[str, object]) -> None:
    """It is the whole event, ready to be sent: the block, the session's type, an id of its own, and no more."""
    world = World(mode="post_connect", interval=0, place=place)

    updates = [world.mint().session_update or {} for _ in range(2)]

    assert [update | {"event_id": ""} for update in updates] == [
        {"type": "session.update", "event_id": "", "session": session}
    ] * 2
    assert updates[0]["event_id"] != updates[1]["event_id"]
    assert all(re.fullmatch("evt_[0-9a-f]{16}", update["event_id"]) for update in updates)


def test_a_probe_runs_in_a_thread_of_its_own() -> None:
    """Nobody waits for it, and nobody has to start it."""
    azure = Azure()
    settings = Settings(
        endpoint="https://res.openai.azure.com",
        deployment="realtime",
        transcription_deployment="transcribe",
        transcription_mode="auto",
    )
    app = Transcription(settings, azure)  # type: ignore[arg-type]  # the half of Upstream that is used

    app.mint(SESSION, Trip(time.monotonic() + 8))

    until(lambda: app.health(SESSION)["configured"] == "mint_time")
    assert [block for block, _ in azure.calls] == [False, True]


def test_a_probe_asks_for_the_least_that_can_be_asked_for() -> None:
    """Its secret is dropped, and shall not be good for long; less would be refused as a mistake."""
    lifetime = json.loads((DIRECTORY / SCHEMA_FILE).read_text("utf-8"))["definitions"]["lifetime"]

    assert lifetime["minimum"] == SHORTEST_LIFETIME


def test_a_probe_may_last_as_long_as_a_mint() -> None:
    """MINT_DEADLINE_SECONDS, from when it starts."""
    seconds = []

    class Timed(Azure):
        def send(self, session: Session, trip: Trip, **options: Any) -> Minted:
            seconds.append(trip.seconds_left())
            return super().send(session, trip, **options)

    world = World(azure=Timed())
    world.mint()
    world.now += 100
    world.run_probes()

    assert seconds == [8, 8]


def test_a_refused_block_is_not_blamed_on_expires_after() -> None:
    """Refused with it and without it, the block was at fault: the next probe asks for a short life again."""
    world = World(azure=Azure("broken"))
    probed = []
    for _ in range(2):
        world.now += INTERVAL
        world.mint()
        world.azure.calls.clear()
        world.run_probes()
        probed.append(list(world.azure.calls))

    assert probed == [[(True, SHORTEST_LIFETIME), (True, None)]] * 2


def test_throttling_is_passed_on_at_once() -> None:
    """Another call would only add to it."""
    world = World()
    world.settled()
    world.azure.state = "throttled"
    world.azure.calls.clear()

    with pytest.raises(MintError):
        world.mint()

    assert world.azure.calls == [(True, None)]


def test_without_a_call_left_the_refusal_is_the_answer() -> None:
    """Where the block has taken the only one that was allowed."""
    world = World()
    world.settled()
    world.azure.state = "broken"
    world.azure.calls.clear()

    with pytest.raises(UpstreamError) as caught:
        world.app.mint(SESSION, Trip(8, clock=lambda: 0, calls_allowed=1))

    assert caught.value.upstream_status == 500
    assert world.azure.calls == [(True, None)]


@pytest.mark.parametrize(("deployment", "mode"), [("transcribe", "auto"), (None, "off")])
def test_health_without_transcription_says_off(deployment: str | None, mode: str) -> None:
    """For a profile that has none, and everywhere where no deployment is named for it."""
    world = World()
    world.app._settings = replace(world.app._settings, transcription_deployment=deployment)

    health = world.app.health(Session("default", SESSION.body, None, None))

    assert (health["mode"], health["configured"]) == (mode, "off")


def test_zero_means_never() -> None:
    """TRANSCRIPTION_PROBE_SECONDS=0 switches probes off."""
    world = World(interval=0)
    world.mint()
    world.now += 1e6
    world.mint()

    assert world.probes == []


def test_a_session_without_transcription_is_nobodys_evidence() -> None:
    """Where transcription is off there is nothing to send and nothing to ask."""
    world = World()

    minted = world.mint(Session("default", SESSION.body, None, None))

    assert (minted.configured, minted.session_update, world.probes) == ("off", None, [])


steps = st.lists(
    st.tuples(st.sampled_from(sorted(STATES)), st.sampled_from(["mint", "probe", "wait"])), max_size=60
)


@given(steps=steps, mode=st.sampled_from(["auto", "post_connect"]), takes_expires_after=st.booleans())
def test_whatever_azure_does_the_four_promises_hold(
    steps: list[tuple[str, str]],
    mode: str,
    takes_expires_after: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    """Any sequence of states and requests.

    No error that plain post_connect would not have got; no caller waits for a probe; at most one call with the
    block and three in all for a request; and session_update exactly when transcription is not configured.
    """
    world = World(mode=mode, azure=Azure(takes_expires_after=takes_expires_after))
    plain = World(mode="post_connect", interval=0, azure=Azure())
    for state, act in steps:
        world.azure.state = plain.azure.state = state
        if act == "wait":
            world.now += INTERVAL
        elif act == "probe":
            world.run_probes()
        else:
            world.azure.calls.clear()
            expected = outcome(plain)
            got = outcome(world)
            assert isinstance(got, Minted) == isinstance(expected, Minted)
            assert isinstance(got, Minted) or got == expected
            with_block_calls = [block for block, _ in world.azure.calls].count(True)
            assert with_block_calls <= 1
            assert len(world.azure.calls) <= 3
            if isinstance(got, Minted):
                configured = with_block_calls == 1 and world.azure.calls[-1][0] and state != "drops"
                assert (got.session_update is None) == configured == (got.configured == "mint_time")


def outcome(world: World) -> Minted | str:
    try:
        return world.mint()
    except MintError as error:
        return error.code
