"""What it generally means when one variant, or one `session.update`, does not work. Pure.

These are for the line on the terminal; what to do about it is the verdict's to say, which sees all counts.
"""

from collections.abc import Iterable
from dataclasses import replace

from diagnose.records import Ack, Call, Help, Variant
from diagnose.tally import State, tally


def for_variant(calls: Iterable[Call], variant: Variant) -> Help | None:
    """Return what the counts of `variant` generally mean beside those without the block; None where it works."""
    calls = tuple(calls)
    state, beside = tally(calls, variant).state, tally(calls, replace(variant, field=None)).state
    if state is State.WORKS:
        return None
    if state is State.UNKNOWN:
        return Help("Throttling, refusals and lost connections say nothing about the session.")
    if state is State.IGNORED:
        return Help("Azure answers 200 and does not configure the block: a session.update after connecting may.")
    if variant.field is None or beside is not State.WORKS:
        also = ", ".join(variant.besides) or "the mint itself"
        return Help(f"It fails without the block too: an outage, or a fault of {also}.")
    return Help(
        "The same without the block works. Azure generally answers 500, not 400, to a field that its mint cannot "
        "digest. The verdict below says which settings avoid it."
    )


FOR_ACK = {
    Ack.ERROR: Help("Azure discards the whole update, so that no transcription is on: do not send this form."),
    Ack.IGNORED: Help("Azure acknowledges and does not configure the block: do not send this form."),
    Ack.CLOSED: Help("Azure ends the connection over it: do not send this form."),
    Ack.NO_ANSWER: Help("Nothing came back in time, which proves nothing; try a longer --timeout."),
    Ack.NOT_CONNECTED: Help(
        "No mint, or no WebSocket with its client secret; Azure documents WebRTC for those, so it is no fault."
    ),
}
