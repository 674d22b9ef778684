"""What one request may take of time and calls, and what is kept for whom."""

from contextlib import suppress

from mint.trip import Trip


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def started() -> tuple[Trip, Clock]:
    """Return a trip of eight seconds."""
    clock = Clock()
    return Trip(clock.now + 8, clock=clock), clock


def test_time_runs_out_and_not_below_nothing() -> None:
    """Both for the call under way and for the token."""
    trip, clock = started()
    left = []
    for _ in range(3):
        left.append((trip.seconds_left(), trip.seconds_to_deadline()))
        clock.now += 5

    assert left == [(8, 8), (3, 3), (0, 0)]


def test_three_calls_are_allowed_while_there_is_time() -> None:
    """Whatever happens."""
    trip, clock = started()
    allowed = []
    for _ in range(4):
        allowed.append(trip.may_call())
        trip.attempts += 1
    trip.attempts = 0
    for moment in (107.5, 108.0):
        clock.now = moment
        allowed.append(trip.may_call())

    assert allowed == [True, True, True, False, True, False]


def test_half_of_the_time_is_kept_for_what_comes_after() -> None:
    """Of the time that is left, which the one before may have had nearly all of; afterwards all of it is there."""
    trip, clock = started()
    clock.now += 2
    with suppress(ValueError), trip.half_the_time():
        during = trip.seconds_left(), trip.seconds_to_deadline()
        clock.now += 1
        raise ValueError

    assert during == (3, 6)
    assert trip.seconds_left() == 5


def test_a_leg_keeps_a_call_for_the_next_one() -> None:
    """And the last one has all that is left."""
    trip, _ = started()
    with suppress(ValueError), trip.leg(last=False):
        first = trip.calls_allowed, trip.seconds_left()
        raise ValueError
    with trip.leg(last=True):
        last = trip.calls_allowed, trip.seconds_left()

    assert first == (2, 4)
    assert last == (3, 8)


def test_waiting_for_the_token_takes_nothing_from_a_calls_share() -> None:
    """The token is for all resources; the deadline stays what it is."""
    trip, clock = started()
    with trip.half_the_time():
        with trip.on_the_whole_times_account():
            clock.now += 1
        after_a_second = trip.seconds_left()
        with trip.on_the_whole_times_account():
            clock.now += 5
        after_all = trip.seconds_left()

    assert after_a_second == 4
    assert after_all == trip.seconds_to_deadline() == 2


def test_nothing_has_happened_yet() -> None:
    """What the log line of a request that sent nothing says."""
    trip, _ = started()

    assert (trip.attempts, trip.upstream_seconds, trip.block_sent) == (0, 0, False)


def test_a_trip_is_printed_as_figures() -> None:
    """Its clock does not help whoever reads a traceback."""
    trip, _ = started()

    assert "Clock" not in repr(trip)
