"""The answer so far on mint-time transcription, and when to ask again. Part of the workaround; goes with it."""

import pytest

from mint.evidence import LONGEST_INTERVAL, Evidence

pytestmark = pytest.mark.workaround


class Case:
    """Evidence, and the clocks it goes by."""

    def __init__(self, interval: float = 300, *, adopts: bool = True) -> None:
        self.now = 1000.0
        self.evidence = Evidence(interval, adopts=adopts, clock=lambda: self.now, wall=lambda: self.now)

    def due_in(self) -> int:
        """Claim a probe as soon as one is due, and return the seconds until then, to the second."""
        started = self.now
        for waited in range(2 * 7200):
            self.now = started + waited
            if self.evidence.claim_probe():
                return waited
        raise AssertionError("never due")


def test_the_first_probe_is_due_at_once_and_for_one_caller() -> None:
    """Whoever else mints meanwhile sets none off."""
    case = Case()

    assert [case.evidence.claim_probe() for _ in range(3)] == [True, False, False]
    assert case.evidence.health() == {"mint_time_works": None, "checked_at": None}


def test_no_interval_means_no_probe() -> None:
    """0 is never."""
    assert not Case(0).evidence.claim_probe()


def test_bad_probes_are_asked_less_and_less_often() -> None:
    """Twice the wait each time, to an hour; a good one starts over."""
    case = Case(adopts=False)
    waits = []
    case.due_in()
    for _ in range(6):
        case.evidence.probe_refused()
        waits.append(case.due_in())
    case.evidence.probe_worked()
    after_good = case.due_in()
    case.evidence.probe_refused()

    assert waits == [300, 600, 1200, 2400, LONGEST_INTERVAL, LONGEST_INTERVAL]
    assert after_good == 300
    assert case.due_in() == 300
    assert LONGEST_INTERVAL == 3600


def test_an_interval_beyond_an_hour_stays_what_it_is() -> None:
    """Nobody asked for more probes than that."""
    case = Case(7200)
    case.evidence.claim_probe()
    case.evidence.probe_refused()

    assert case.due_in() == 7200


def test_a_probe_that_says_nothing_changes_nothing() -> None:
    """It is tried again after the interval, and does not count as bad."""
    case = Case()
    case.evidence.claim_probe()
    case.evidence.probe_inconclusive()
    wait = case.due_in()
    case.evidence.probe_refused()

    assert wait == 300
    assert case.due_in() == 300


def test_what_works_is_used_or_told() -> None:
    """`auto` mints with the block from then on, without probes; `post_connect` says so, and goes on asking."""
    told, used = Case(adopts=False), Case(adopts=True)
    for case in (told, used):
        case.evidence.claim_probe()
        case.evidence.probe_worked()
        case.now += 86400

    assert (told.evidence.in_use, used.evidence.in_use) == (False, True)
    assert (told.evidence.claim_probe(), used.evidence.claim_probe()) == (True, False)
    assert told.evidence.health() == {"mint_time_works": True, "checked_at": "1970-01-01T00:16:40+00:00"}


def test_a_refused_mint_ends_the_use() -> None:
    """Until the next good probe, which is due after the interval."""
    case = Case()
    case.evidence.claim_probe()
    case.evidence.probe_worked()
    case.evidence.take_notices()

    case.evidence.mint_refused()

    assert not case.evidence.in_use
    assert case.evidence.health()["mint_time_works"] is False
    assert case.due_in() == 300
    assert [notice["mint_time_works"] for notice in case.evidence.take_notices()] == [False]


def test_a_mint_that_was_refused_before_the_use_says_nothing() -> None:
    """A late one, of a caller who began while the block was in use."""
    case = Case()

    case.evidence.mint_refused()

    assert case.evidence.health()["mint_time_works"] is None
    assert case.evidence.take_notices() == []


def test_every_mint_in_use_is_a_check() -> None:
    """The time of the last one is told."""
    case = Case()
    case.now = 60

    case.evidence.mint_worked()

    assert case.evidence.health()["checked_at"] == "1970-01-01T00:01:00+00:00"


@pytest.mark.parametrize("adopts", [True, False])
def test_a_change_is_told_once_with_what_to_do(adopts: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """The first answer and each change; the same answer again is no news."""
    case = Case(adopts=adopts)
    for outcome in ("probe_refused", "probe_refused", "probe_worked", "probe_worked", "probe_refused"):
        getattr(case.evidence, outcome)()

    notices = case.evidence.take_notices()

    assert [notice["mint_time_works"] for notice in notices] == [False, True, False]
    assert {notice["event"] for notice in notices} == {"transcription_evidence"}
    assert [set(notice) for notice in notices] == [{"event", "mint_time_works", "advice"}] * 3
    assert all("TRANSCRIPTION_MODE" in notice["advice"] for notice in notices)
    assert ("and it is in use" in notices[1]["advice"]) == adopts
    assert case.evidence.take_notices() == []


def test_after_a_hundred_bad_probes_the_arithmetic_still_holds() -> None:
    """A power that grows for ever would end in an overflow."""
    case = Case(adopts=False)
    for _ in range(5000):
        case.evidence.probe_refused()

    assert case.due_in() == LONGEST_INTERVAL
