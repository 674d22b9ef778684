"""Faults in random order under load, for minutes: `python -m benchmarks.soak [--minutes 10] [--seed N]`.

Callers keep asking while the network, Azure and the identity endpoint break and mend. It ends with a tally; the
exit code tells whether everybody was answered in time, and the process is as it was at the start. Linux only.

What it holds is read twice, each time after every fault has come once, briefly and in the same order.
"""

import argparse
import os
import random
import secrets
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.between import Between
from benchmarks.crowd import Answer, Crowd, codes
from benchmarks.figures import aligned
from benchmarks.processes import CannotRunError
from benchmarks.targets import App, Upstream

CALLERS = 64
PAUSE = 0.2
"""Seconds between a caller's answer and its next call: the machine should not be what is measured."""
DEADLINE = 2.0
ANSWERED_IN = 0.25
LATENCY_MS = 20
TOKEN_SECONDS = 30
"""A token's lifetime: short, so that there are renewals in the middle of faults."""
BACK_WITHIN = 1.0
LONGEST_FAULT = 6.0
SHORT_FAULT = 0.5
SLOWER = 3
"""Times as long as before all faults, a tenth of a second and the callers' own lateness: still full speed."""
MORE_MEMORY = 1.1
"""Growth of memory that is no leak, outside the arenas of glibc's malloc."""
MORE_WITH_ARENAS = 1.5
"""The same with them: they keep now more, now less of what 64 huge replies at once took."""

SWITCHES: dict[str, dict[str, object]] = {
    # Outlasts its end, as on a connection that the network has forgotten: what asked meanwhile is never answered.
    "no token, identity silent": {"revoke_tokens": True, "identity_latency_ms": 60_000},
    "hang": {"fault": "hang"},
    "slow headers": {"fault": "slow-headers"},
    "slow body": {"fault": "slow-body"},
    "not JSON": {"fault": "200-not-json"},
    "half a body, by the server": {"fault": "200-truncated"},
    "huge": {"fault": "200-huge-chunked"},
    "500": {"fault": "500"},
    "503": {"fault": "503"},
    "401": {"fault": "401-audience"},
    "429 storm": {"fault": "429-retry-after-ms"},
    "30 % 5xx": {"faults": []},  # drawn anew each time
    "brown-out, 20 x latency": {"latency_ms": 20 * LATENCY_MS},
    "tokens revoked": {"revoke_tokens": True},
    "identity down": {"identity_fault": "reset"},
    "identity 500": {"identity_fault": "500"},
    "identity hangs": {"identity_fault": "hang"},
    "identity slow": {"identity_latency_ms": 700},
    "no token, identity down": {"revoke_tokens": True, "identity_fault": "reset"},
    "no token, identity hangs": {"revoke_tokens": True, "identity_fault": "hang"},
    "no token, identity slow": {"revoke_tokens": True, "identity_latency_ms": 3000},
}
WIRES = [
    "reset-at-once",
    "reset-after-request",
    "reset-in-head",
    "reset-in-body",
    "half-a-body",
    "silence",
    "refuse",
]
FAULTS = [*SWITCHES, *WIRES]
USUAL: dict[str, object] = {
    "fault": None,
    "faults": [],
    "latency_ms": LATENCY_MS,
    "identity_fault": None,
    "identity_latency_ms": 0,
}
KNOWN = {
    "minted",
    "overloaded",
    "identity_unavailable",
    "upstream_denied",
    "upstream_throttled",
    "upstream_unavailable",
    "upstream_timeout",
}
"""What may be answered: any other code is a fault of the endpoint's."""


class Held(NamedTuple):
    """What a process holds."""

    threads: int
    connections: int
    files: int
    """Connections among them."""
    memory_mb: float
    arenas_mb: float

    @classmethod
    def by(cls, pid: int) -> "Held":
        """Read it from /proc."""
        process = Path("/proc") / str(pid)
        pages = int((process / "statm").read_text("ascii").split()[1])
        threads = len(list((process / "task").iterdir()))
        files = []
        for file in (process / "fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                files.append(str(file.readlink()))
        connections = sum(file.startswith("socket:") for file in files)
        memory = round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)
        return cls(threads, connections, len(files), memory, _arenas(process))

    def exceeds(self, other: "Held") -> bool:
        """Tell whether it is more than another time, which no memory that merely moves about explains."""
        counts = zip(self[:3], other[:3], strict=True)
        outside, outside_then = (held.memory_mb - held.arenas_mb for held in (self, other))
        return (
            any(now > then for now, then in counts)
            or outside > outside_then * MORE_MEMORY
            or self.memory_mb > other.memory_mb * MORE_WITH_ARENAS
        )


def _arenas(process: Path) -> float:
    """Return what malloc's arenas for threads hold, in MB: anonymous memory that begins at a multiple of 64 MB."""
    kilobytes, inside = 0, False
    for line in (process / "smaps").read_text("ascii", "replace").splitlines():
        words = line.split()
        if "-" in words[0]:
            inside = len(words) == 5 and int(words[0].split("-")[0], 16) % 2**26 == 0
        elif inside and words[0] == "Rss:":
            kilobytes += int(words[1])
    return round(kilobytes / 2**10, 1)


class Spell(NamedTuple):
    """One fault, and how the endpoint did after its end."""

    fault: str
    seconds: float
    back_after: float
    """Seconds from its end to the beginning of the last call that did not get a secret."""
    pace: float
    """What a call takes that begins after `BACK_WITHIN`, p50."""


class Soak:
    """A process under test, what it is put through, and what came of it."""

    def __init__(self, app: App, upstream: Upstream, between: Between, seed: int) -> None:
        self._app, self._upstream, self._between = app, upstream, between
        self._chance = random.Random(seed)  # noqa: S311 - a run that can be repeated, not a secret
        self.crowds: list[Crowd] = []
        self.spells: list[Spell] = []
        self.held: list[Held] = []
        self.pace = 0.0

    def mark(self) -> None:
        """Put the process through each fault once, and note what it holds after that, with nobody there."""
        with self._callers() as crowd:
            for fault in FAULTS:
                self._break(fault)
                time.sleep(SHORT_FAULT)
                self._mend()
            crowd.until(CALLERS, time.monotonic())
        self._upstream.set(latency_ms=10 * LATENCY_MS)  # so long that all places are taken: all connections exist
        with Crowd(self._app.mint.url, 2 * CALLERS, pause=0) as crowd:
            crowd.until(8 * CALLERS, 0)
        self._mend()
        readings = []
        for _ in range(10):  # the least of them: connections that the callers have closed go in their own time
            time.sleep(0.3)
            readings.append(Held.by(self._app.pid))
        self.held.append(min(readings))

    def run(self, minutes: float) -> None:
        """Break one thing after the other for that long."""
        ends = time.monotonic() + minutes * 60
        with self._callers() as crowd:
            crowd.until(CALLERS, 0)
            quiet = time.monotonic()
            crowd.until(4 * CALLERS, quiet)
            self.pace = _p50(crowd.since(quiet))
            faults: list[str] = []
            while time.monotonic() < ends:
                faults = faults or self._chance.sample(FAULTS, len(FAULTS))
                self._spell(faults.pop(), crowd)

    def _callers(self) -> Crowd:
        self.crowds.append(Crowd(self._app.mint.url, CALLERS, pause=PAUSE))
        return self.crowds[-1]

    def _spell(self, fault: str, crowd: Crowd) -> None:
        """Break one thing for a while, mend it, and see how soon everybody gets a secret again."""
        began = time.monotonic()
        self._break(fault)
        time.sleep(self._chance.uniform(SHORT_FAULT, LONGEST_FAULT))
        self._mend()
        ended = time.monotonic()
        time.sleep(BACK_WITHIN)
        crowd.until(CALLERS, ended + BACK_WITHIN)
        bad = [answer.began - ended for answer in crowd.since(ended) if answer.code != "minted"]
        pace = _p50(crowd.since(ended + BACK_WITHIN))
        self.spells.append(Spell(fault, ended - began, max(bad, default=0.0), pace))

    def _break(self, fault: str) -> None:
        if fault in WIRES:
            self._between.mode = fault
        elif fault == "30 % 5xx":
            weights = {"ok": 70, "500": 10, "502-html": 10, "503": 5, "504": 5}
            self._upstream.set(faults=self._chance.choices(list(weights), list(weights.values()), k=4000))
        else:
            self._upstream.set(**SWITCHES[fault])

    def _mend(self) -> None:
        self._between.mode = "pass"
        self._upstream.set(**USUAL)


def soak(minutes: float, seed: int) -> int:
    """Run it, print the tally, and return the exit code."""
    print(f"seed {seed}; {CALLERS} callers, {minutes:g} minutes, MINT_DEADLINE_SECONDS={DEADLINE:g}", flush=True)
    with Upstream("soak-upstream") as upstream, Between(upstream.url) as between:
        upstream.set(**USUAL, token_lifetime_s=TOKEN_SECONDS, record=False)
        more = {"AZURE_OPENAI_ENDPOINT": between.url, "MINT_DEADLINE_SECONDS": str(DEADLINE)}
        with App(upstream, "soak-app", more) as app:
            run = Soak(app, upstream, between, seed)
            run.mark()
            run.run(minutes)
            run.mark()
    return report(run)


def report(run: Soak) -> int:
    """Print what came of it; the result is the exit code."""
    answers = [answer for crowd in run.crowds for answer in crowd.answers]
    begun, late = sum(crowd.begun for crowd in run.crowds), max(crowd.late for crowd in run.crowds)
    unanswered = [answer for answer in answers if answer.status == 0]
    ids = Counter(answer.request_id for answer in answers if answer.status)
    twice = sum(ids.values()) - len(ids)
    strange = [answer for answer in answers if answer.code not in KNOWN]
    limit = DEADLINE + ANSWERED_IN + late
    slow = [answer for answer in answers if answer.seconds > limit]
    not_back = {spell.fault for spell in run.spells if spell.back_after > BACK_WITHIN}
    full_speed = SLOWER * run.pace + 0.1 + late
    start, end = run.held

    rows = [["fault", "times", "longest, s", "last call not served, s after it", "then p50, ms"]]
    tired = []
    for fault in FAULTS:
        of = [spell for spell in run.spells if spell.fault == fault]
        if of:
            longest, back_after = max(spell.seconds for spell in of), max(spell.back_after for spell in of)
            pace = min(spell.pace for spell in of)  # other programs' load slows down now this spell, now that
            tired += [fault] if pace > full_speed else []
            rows.append([fault, str(len(of)), f"{longest:.1f}", f"{back_after:.2f}", f"{1000 * pace:.0f}"])
    print(aligned(rows))
    print(f"\n{CALLERS} callers, {len(run.spells)} faults, {begun} calls begun, {len(answers)} answers:")
    for code, count in codes(answers).most_common():
        print(f"  {count:7d}  {code}")
    print(f"lost: {begun - len(answers)}; unanswered: {len(unanswered)}; answered with another's answer: {twice}; "
          f"answered otherwise than the table allows: {len(strange)}")  # fmt: skip
    slowest = max(answer.seconds for answer in answers)
    print(f"slowest answer {slowest:.3f} s; limit {limit:.3f} s ({late:.3f} of it the callers' own lateness); "
          f"beyond it: {len(slow)}")  # fmt: skip
    print(f"not back within {BACK_WITHIN:g} s of a fault's end: {', '.join(sorted(not_back)) or 'none'}")
    print(
        f"p50 before {1000 * run.pace:.0f} ms; over {1000 * full_speed:.0f} ms after: {', '.join(tired) or 'none'}"
    )
    held = [["start", *map(str, start)], ["end", *map(str, end)]]
    print(aligned([["", "threads", "connections", "files", "memory, MB", "arenas of it"], *held]))
    failed = bool(
        begun != len(answers) or unanswered or twice or strange or slow or not_back or tired or end.exceeds(start)
    )
    print("NOT as promised" if failed else "all as promised")
    return int(failed)


def _p50(answers: list[Answer]) -> float:
    return median(answer.seconds for answer in answers)


def main() -> int:
    """Read the command line and soak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="default %(default)s")
    parser.add_argument("--seed", type=int, help="repeats the order of the faults of a run that printed it")
    asked = parser.parse_args()
    try:
        return soak(asked.minutes, secrets.randbelow(10**6) if asked.seed is None else asked.seed)
    except CannotRunError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
