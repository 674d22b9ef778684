"""Faults in random order under load, for minutes: `python -m benchmarks.soak [--minutes 10] [--seed N]`.

Callers keep asking while the network, Azure and the identity endpoint break and mend. It ends with a tally; the
exit code tells whether everybody was answered in time, and the process is as it was at the start. Linux only.
"""

import argparse
import os
import random
import secrets
import sys
import time
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
MORE_FILES = 4
"""Connections to the identity endpoint, of credentials that were dropped and are not yet collected."""
MORE_MEMORY = 1.25
"""Growth of memory that is no leak: what 64 threads leave between what they keep."""

SWITCHES: dict[str, dict[str, object]] = {
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
    files: int
    memory_mb: float

    @classmethod
    def by(cls, pid: int) -> "Held":
        """Read it from /proc."""
        process = Path("/proc") / str(pid)
        pages = int((process / "statm").read_text("ascii").split()[1])
        threads, files = (len(list((process / what).iterdir())) for what in ("task", "fd"))
        return cls(threads, files, round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1))


class Spell(NamedTuple):
    """One fault, and how the endpoint did after its end."""

    fault: str
    seconds: float
    back_after: float
    """Seconds from its end to the beginning of the last call that did not get a secret."""
    memory_mb: float
    """What the process held then."""


def soak(minutes: float, seed: int) -> int:
    """Run it, print the tally, and return the exit code."""
    chance = random.Random(seed)  # noqa: S311 - a run that can be repeated, not a secret
    print(f"seed {seed}; {CALLERS} callers, {minutes:g} minutes, MINT_DEADLINE_SECONDS={DEADLINE:g}", flush=True)
    with Upstream("soak-upstream") as upstream, Between(upstream.url) as between:
        upstream.set(**USUAL, token_lifetime_s=TOKEN_SECONDS, record=False)
        more = {"AZURE_OPENAI_ENDPOINT": between.url, "MINT_DEADLINE_SECONDS": str(DEADLINE)}
        with App(upstream, "soak-app", more) as app:
            upstream.set(fault="200-huge-chunked")
            settle(app)  # 64 replies of a megabyte at once: the heap has been as large as it will be
            upstream.set(**USUAL)
            settle(app)
            start = Held.by(app.pid)
            spells: list[Spell] = []
            began = time.monotonic()
            with Crowd(app.mint.url, CALLERS, pause=PAUSE) as crowd:
                crowd.until(CALLERS, 0)
                quiet = time.monotonic()
                crowd.until(4 * CALLERS, quiet)
                names: list[str] = []
                while time.monotonic() - began < minutes * 60:
                    names = names or chance.sample([*SWITCHES, *WIRES], len(SWITCHES) + len(WIRES))
                    spell = _spell(names.pop(), chance, crowd, upstream, between)
                    spells.append(spell._replace(memory_mb=Held.by(app.pid).memory_mb))
            took = time.monotonic() - began
            settle(app)
            end = Held.by(app.pid)
    return report(crowd, spells, Tally(start, end, quiet, took))


class Tally(NamedTuple):
    """What a run is judged by besides its answers."""

    start: Held
    end: Held
    quiet: float
    seconds: float


def settle(app: App) -> None:
    """Have twice as many callers as there will be places served, so that all threads and connections exist."""
    for callers in (CALLERS, 2 * CALLERS):
        with Crowd(app.mint.url, callers, pause=0) as crowd:
            crowd.until(4 * callers, 0)
    time.sleep(1.5)  # connections that the callers have closed are seen to be


def _spell(fault: str, chance: random.Random, crowd: Crowd, upstream: Upstream, between: Between) -> Spell:
    """Break one thing for a while, mend it, and see how soon everybody gets a secret again."""
    length = chance.uniform(0.5, LONGEST_FAULT)
    began = time.monotonic()
    if fault in WIRES:
        between.mode = fault
    else:
        switches = SWITCHES[fault]
        if fault == "30 % 5xx":
            drawn = chance.choices(["ok", "500", "502-html", "503", "504"], weights=[70, 10, 10, 5, 5], k=4000)
            switches = {"faults": drawn}
        upstream.set(**switches)
    time.sleep(length)
    between.mode = "pass"
    upstream.set(**USUAL)
    ended = time.monotonic()
    time.sleep(BACK_WITHIN)
    crowd.until(CALLERS, ended + BACK_WITHIN)
    bad = [answer.began - ended for answer in crowd.since(ended) if answer.code != "minted"]
    return Spell(fault, ended - began, max(bad, default=0.0), 0.0)


def report(crowd: Crowd, spells: list[Spell], tally: Tally) -> int:
    """Print what came of it; the result is the exit code."""
    answers = crowd.answers
    unanswered = [answer for answer in answers if answer.status == 0]
    strange = [answer for answer in answers if answer.code not in KNOWN]
    limit = DEADLINE + ANSWERED_IN + crowd.late
    slow = [answer for answer in answers if answer.seconds > limit]
    late = [spell for spell in spells if spell.back_after > BACK_WITHIN]
    before = [one for one in answers if one.ended < tally.quiet + 1 and one.code == "minted"]
    after = answers[-4 * CALLERS :]
    rows = [["fault", "times", "longest", "last call not served, s after it", "memory, MB"]]
    for name in sorted({spell.fault for spell in spells}):
        of = [spell for spell in spells if spell.fault == name]
        longest = max(spell.seconds for spell in of)
        rows.append([name, str(len(of)), f"{longest:.1f} s", f"{max(spell.back_after for spell in of):.2f}",
                     f"{of[-1].memory_mb:.0f}"])  # fmt: skip
    print(aligned(rows))
    print(f"\n{len(answers)} calls of {CALLERS} callers in {tally.seconds:.0f} s, {len(spells)} faults")
    for code, count in codes(answers).most_common():
        print(f"  {count:7d}  {code}")
    slowest, own = max(answer.seconds for answer in answers), crowd.late
    print(f"unanswered: {len(unanswered)}; answered otherwise than the table allows: {len(strange)}")
    print(f"slowest answer {slowest:.3f} s; limit {limit:.3f} s ({own:.3f} of it the callers' own lateness); "
          f"beyond it: {len(slow)}")  # fmt: skip
    names = ", ".join(sorted({spell.fault for spell in late}))
    print(f"not back within {BACK_WITHIN:g} s of a fault's end: {len(late)} {names}")
    print(f"answered in, p50: {_p50(before):.1f} ms before the first fault, {_p50(after):.1f} ms at the end")
    held = [["start", *map(str, tally.start)], ["end", *map(str, tally.end)]]
    print(aligned([["", "threads", "files", "memory, MB"], *held]))
    leaks = (
        tally.end.threads > tally.start.threads
        or tally.end.files > tally.start.files + MORE_FILES
        or tally.end.memory_mb > tally.start.memory_mb * MORE_MEMORY
    )
    failed = bool(unanswered or strange or slow or late or leaks)
    print("NOT as promised" if failed else "all as promised")
    return int(failed)


def _p50(answers: list[Answer]) -> float:
    return 1000 * median(answer.seconds for answer in answers)


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
