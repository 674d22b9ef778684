"""Renewal: what a mint takes while the token is being renewed, beside the others of the same run.

Tokens live for seconds here, so that some expire within the run. The app renews such a one RETRY_EVERY seconds
after it came.
"""

from collections.abc import Iterator
from datetime import datetime

from benchmarks.figures import Figure, Goal, percentile
from benchmarks.processes import CannotRunError
from benchmarks.targets import IDENTITY_PATH, App, Upstream, call
from benchmarks.workers import steady
from mint.identity import RETRY_EVERY

CALLERS = 8
UPSTREAM_MS = 20
IDENTITY_MS = 300
"""Of one identity call: so long that it shows if anybody waits for it."""
TOKEN_SECONDS = RETRY_EVERY + 2
RENEWALS = 2
P99_RATIO = 2.0


def measure() -> Iterator[Figure]:
    """Mint across some renewals, and past the expiry of the tokens that they replace."""
    with Upstream("renewal-upstream") as upstream, App(upstream, "renewal-app") as app:
        switches = {"token_lifetime_s": TOKEN_SECONDS, "identity_latency_ms": IDENTITY_MS}
        upstream.set(latency_ms=UPSTREAM_MS, record=True, **switches)
        call(app.mint)  # it waits for the first token, as the first one must
        upstream.forget()
        run = steady(
            app.mint, CALLERS, RENEWALS * (RETRY_EVERY + IDENTITY_MS / 1000) + TOKEN_SECONDS - RETRY_EVERY
        )
        asked = [_at(one["time"]) - run.at for one in upstream.recorded(IDENTITY_PATH)]
    during: list[float] = []
    others: list[float] = []
    for began, ended in run.calls:
        renewing = any(began <= at + IDENTITY_MS / 1000 and ended >= at for at in asked)
        (during if renewing else others).append(1000 * (ended - began))
    if not during:
        raise CannotRunError("No token was renewed while mints were under way.")
    section = (
        f"{len(during)} mints under way in an identity call of {IDENTITY_MS} ms, beside {len(others)} others; "
        f"upstream takes {UPSTREAM_MS} ms, a token lives {TOKEN_SECONDS} s"
    )
    goals = {50: None, 99: Goal(P99_RATIO, of_ratio=True), 100: Goal(IDENTITY_MS / 2)}
    for percent, goal in goals.items():
        name = f"p{percent}" if percent < 100 else "slowest"
        yield Figure(section, name, percentile(during, percent), "ms", percentile(others, percent), goal)
    yield Figure(section, "identity calls", len(asked), goal=Goal(RENEWALS))


def _at(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
