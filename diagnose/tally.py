"""Counts: how often each variant failed, and how far that could be chance. Pure.

The chance is Fisher's exact test, one-sided; it assumes that the calls were interleaved, which they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import comb, exp, log

from diagnose.records import EVIDENCE, RESOURCE, Call, Outcome, Variant
from mint.settings import FLAT_FIELD, GA_FIELD

LIKELY_CHANCE = 0.05
"""Above this, a difference may be luck and is not laid at the block's door."""


class State(StrEnum):
    """What the counts of one variant say of it."""

    WORKS = "works"
    FAILS = "fails"
    INTERMITTENT = "intermittent"
    IGNORED = "ignored"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Tally:
    """One variant's calls. `other` are those that are no evidence, such as 429."""

    variant: Variant
    minted: int = 0
    dropped: int = 0
    failed: int = 0
    other: int = 0
    reasons: tuple[str, ...] = ()

    @property
    def asked(self) -> int:
        """The calls that are evidence."""
        return self.minted + self.dropped + self.failed

    @property
    def state(self) -> State:
        """What the counts say, and no more."""
        if not self.asked:
            return State.UNKNOWN
        if self.failed:
            return State.FAILS if self.failed == self.asked else State.INTERMITTENT
        return State.IGNORED if self.dropped else State.WORKS

    @property
    def words(self) -> str:
        """Return for example "5 of 5 failed (500 InternalServerError)"."""
        why = f" ({', '.join(self.reasons)})" if self.reasons else ""
        if self.state is State.UNKNOWN:
            return f"nothing learnt{why}" if self.other else "not measured"
        if self.failed:
            said = f"{self.failed} of {self.asked} failed{why}"
        elif self.dropped:
            said = f"{self.asked} of {self.asked} answered 200, and {self.dropped} ignored the block"
        else:
            said = f"{self.minted} of {self.asked} succeeded"
        return f"{said}, {self.other} more told nothing" if self.other else said


def tally(calls: Iterable[Call], variant: Variant) -> Tally:
    """Count the calls of `variant` in the rounds."""
    mine = [call for call in calls if call.round and call.variant == variant]
    reasons = dict.fromkeys(reason(call) for call in mine if call.outcome not in (Outcome.MINTED, Outcome.DROPPED))
    return Tally(
        variant,
        minted=sum(call.outcome is Outcome.MINTED for call in mine),
        dropped=sum(call.outcome is Outcome.DROPPED for call in mine),
        failed=sum(call.outcome is Outcome.FAILED for call in mine),
        other=sum(call.outcome not in EVIDENCE for call in mine),
        reasons=tuple(reasons),
    )


def reason(call: Call) -> str:
    """Return what Azure said, in a word or two."""
    if call.status is None:
        return call.code or call.outcome.value
    return f"{call.status} {call.code}" if call.code and call.code != str(call.status) else str(call.status)


def chance(having: Tally, lacking: Tally) -> float:
    """Return how likely at least this many of the failures fall on `having`, were the block irrelevant."""
    failed, asked = having.failed + lacking.failed, having.asked + lacking.asked
    ways = sum(
        comb(having.asked, count) * comb(lacking.asked, failed - count)
        for count in range(having.failed, min(failed, having.asked) + 1)
    )
    return ways / comb(asked, failed)


def could_hide(asked: int) -> int:
    """Return the failure rate, in percent, below which `asked` good calls are no surprise (1 in 20)."""
    return round(100 * (1 - exp(log(0.05) / asked)))


def compared(one: Tally, plain: Tally) -> str:
    """Return the counts with and without the block, and how much they mean."""
    said = f"With {one.variant.field}: {one.words}; without: {plain.words}; interleaved."
    if one.state is State.WORKS:
        return (
            f"{said} A fault in up to {could_hide(one.asked)} % of mints could go unseen; --repeat narrows that."
        )
    if not one.failed:
        return said
    likely = chance(one, plain)
    runs = f"Were the block irrelevant, chance would split them so in 1 of {max(1, round(1 / likely))} runs."
    if likely > LIKELY_CHANCE:
        return f"{said} {runs} That is too few calls to blame the block: run it with a higher --repeat."
    if one.state is State.FAILS:
        kind = f"Every time: from {one.asked} calls, a rate under {100 - could_hide(one.asked)} % is unlikely."
    else:
        kind = "Intermittent."
    return f"{said} {runs} {kind}"


def elsewhere(calls: Iterable[Call], *, where: str = RESOURCE, auth: str) -> list[Tally]:
    """Return the tallies of the base variants under another credential or in another region."""
    calls = tuple(calls)
    asked = [Variant(name, auth=auth, where=where) for name in (None, GA_FIELD, FLAT_FIELD)]
    return [one for one in (tally(calls, variant) for variant in asked) if one.asked or one.other]
