"""What the measurements support: which settings to use, and whether anything has to change. Pure.

A mint's 200 is no proof that transcripts arrive: Azure looks the transcription deployment up only once it has
heard audio. Nothing here can tell that.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from diagnose.records import API_KEY, Ack, Fault, Findings, Update, Variant
from diagnose.remedies import unset_command
from diagnose.tally import LIKELY_CHANCE, State, Tally, chance, compared, elsewhere, tally
from mint.settings import FLAT_FIELD, GA_FIELD

HEALTHY, FAULTY, NOT_RUN = 0, 1, 2
_NOT_RUN = {Fault.SETTINGS, Fault.IDENTITY, Fault.UNREACHABLE}
_FAULTS = {
    Fault.SETTINGS: "Nothing was measured: the settings cannot be used.",
    Fault.IDENTITY: "Nothing was measured: there is no token for the identity.",
    Fault.UNREACHABLE: "Nothing was measured: the endpoint cannot be reached from here.",
    Fault.ROLE: "The identity lacks the role; transcription was not measured with it.",
    Fault.AUDIENCE: "Azure refuses the identity's token for either audience; transcription was not measured.",
    Fault.NETWORK_RULES: "The resource's network rules keep this machine out; transcription was not measured.",
    Fault.FORBIDDEN: "Azure forbids the call; transcription was not measured.",
    Fault.NO_DEPLOYMENT: "The realtime deployment does not exist; transcription was not measured.",
    Fault.NOT_REALTIME: "The deployment is not of a realtime model; transcription was not measured.",
    Fault.REJECTED: "Azure rejects the session without transcription too; nothing is concluded about the block.",
    Fault.NOT_FOUND: "The endpoint does not know the mint's path; transcription was not measured.",
    Fault.THROTTLED: "Azure is throttling; nothing is concluded about the block.",
    Fault.NO_ANSWER: "Azure does not answer a mint; nothing is concluded about the block.",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`settings` are those that the counts support; `exit_status` is 1 only where something has to be changed.

    `new` tells that the settings are not what they are already.
    """

    exit_status: int
    headline: str
    because: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    new: bool = False


def decide(findings: Findings) -> Verdict:
    """Return the verdict on one run."""
    fault, now = findings.fault, findings.current
    if fault and fault is not Fault.OTHER_AUDIENCE:
        keyed = [f"{one.variant.label}: {one.words}." for one in elsewhere(findings.calls, auth=API_KEY)]
        return Verdict(NOT_RUN if fault in _NOT_RUN else FAULTY, _FAULTS[fault], tuple(keyed))
    plain = tally(findings.calls, Variant(None))
    if plain.state is not State.WORKS:
        return _no_baseline(findings, plain)
    with_block = {name: tally(findings.calls, Variant(name)) for name in _measured(findings)}
    headline, settings = "Minting works, and transcription is off.", dict[str, str]()
    because = [] if with_block else [f"Without transcription: {plain.words}."]
    if with_block:
        headline, mode, field = _choice(findings, with_block)
        settings = {"TRANSCRIPTION_MODE": mode, "TRANSCRIPTION_FIELD": field}
    because += [compared(one, plain) for one in with_block.values()]
    because += [_on_update(update) for update in findings.updates]
    lifetime = tally(findings.calls, Variant(None, expires_after=True))
    if lifetime.failed:
        because.append(f"With expires_after and without transcription: {lifetime.words}.")
    if findings.scope_that_works:
        settings["AZURE_OPENAI_SCOPE"] = findings.scope_that_works
    troubles = [*_troubles(findings, with_block, lifetime)]
    if with_block and now.mode == "auto" and not troubles:
        settings["TRANSCRIPTION_MODE"] = "auto"  # it does what the counts support, and goes on asking
    current = {"TRANSCRIPTION_MODE": now.mode, "TRANSCRIPTION_FIELD": now.field, "AZURE_OPENAI_SCOPE": now.scope}
    return Verdict(
        exit_status=FAULTY if troubles else HEALTHY,
        headline=headline,
        because=(*because, *(troubles or [_calm(findings)])),
        settings=tuple(settings.items()),
        new=not settings.items() <= current.items(),
    )


def _no_baseline(findings: Findings, plain: Tally) -> Verdict:
    """Without mints that succeed without the block there is nothing to compare with."""
    counts = [f"Without transcription: {plain.words}."]
    counts += [f"With {name}: {tally(findings.calls, Variant(name)).words}." for name in _measured(findings)]
    if plain.state is State.UNKNOWN:
        headline = "The mints without transcription told nothing; nothing is concluded about the block."
    else:
        headline = (
            "Mints fail without the transcription block too: an outage, or a fault of the mint itself. Nothing is "
            "concluded about the block."
        )
    return Verdict(FAULTY, headline, (*counts, "Change no setting for this; run it again later."))


def _measured(findings: Findings) -> list[str]:
    fields = {call.variant.field for call in findings.calls if call.round}
    return [name for name in (GA_FIELD, FLAT_FIELD) if name in fields]


def _calm(findings: Findings) -> str:
    now = findings.current
    if now.mode == "off":
        return "Nothing has to change: transcription is off."
    return f"Nothing has to change: nothing measured fails callers with the current {now.mode} and {now.field}."


def _choice(findings: Findings, with_block: dict[str, Tally]) -> tuple[str, str, str]:
    """Return the headline, mode and field that the counts support."""
    states = {name: one.state for name, one in with_block.items()}

    def first(wanted: State) -> str | None:
        return next((name for name, state in states.items() if state is wanted), None)

    if name := first(State.INTERMITTENT):
        said = f"Mints with the block at {name} fail some of the time: auto switches by itself."
        return said, "auto", first(State.WORKS) or name
    if name := first(State.WORKS):
        failing = first(State.FAILS)
        but = f", and fails at {failing}" if failing else ""
        if failing and chance(with_block[failing], with_block[name]) <= LIKELY_CHANCE:
            but += ": the fault is of that field, not of transcription"
        return f"The block works at mint time at {name}{but}.", "mint_time", name
    if name := first(State.IGNORED):
        said = f"Azure answers 200 and ignores the block at {name}: turn transcription on after connecting."
    elif first(State.FAILS):
        said = "The block fails the mint wherever it is put: turn transcription on after connecting."
    else:
        said = "Mints with the block told nothing; post_connect does not depend on them."
    taken = [update.field for update in findings.updates if update.ack is Ack.UPDATED]
    return said, "post_connect", taken[0] if taken else GA_FIELD


def _on_update(update: Update) -> str:
    if update.ack is Ack.NOT_CONNECTED:
        status = f" ({update.status})" if update.status else ""
        return f"No WebSocket was opened{status}: session.update with {update.field} was not tried."
    code = f" {update.code}" if update.code else ""
    return f"Once connected, a session.update with {update.field} got: {update.ack}{code}."


def _troubles(findings: Findings, with_block: dict[str, Tally], lifetime: Tally) -> Iterator[str]:
    """Yield why the current settings would fail callers, as far as anything measured says so."""
    now = findings.current
    if findings.scope_that_works:
        yield f"All of it was measured with the scope {findings.scope_that_works}: the current one is refused."
    if lifetime.failed and now.sends_expires_after:
        yield (
            "The app sends expires_after, which fails callers: take expires_after_seconds out of the profile, and "
            + unset_command("CLIENT_SECRET_TTL_SECONDS")
        )
    if now.mode == "off":
        return
    at_mint = with_block[now.field].state
    if now.mode == "mint_time" and at_mint in (State.FAILS, State.INTERMITTENT):
        yield f"The current mint_time with {now.field} fails callers: use the settings that the counts support."
        return
    refused = any(
        update.field == now.field and update.ack in (Ack.ERROR, Ack.IGNORED, Ack.CLOSED)
        for update in findings.updates
    )
    if refused and (now.mode == "post_connect" or at_mint is not State.WORKS):
        yield f"The current {now.mode} has clients send {now.field}, which turns nothing on: see the settings."
