"""The JSON of each mint: as it is sent, and as it may be shown.

What a profile says in words (instructions, prompts, tools, keywords) is replaced, since the report leaves the
house; everything else is the session exactly as sent.
"""

from diagnose.records import Variant
from mint.body import Json
from mint.session import Session, with_block

EXPIRES_AFTER = {"anchor": "created_at", "seconds": 10}
"""The shortest lifetime there is."""
_WORDS = frozenset({"instructions", "prompt", "tools", "tracing", "keywords"})


def payload(session: Session, variant: Variant) -> Json:
    """Return the body of a mint; `session.transcription` goes where the variant says."""
    body = session.body
    if variant.field and session.transcription is not None:
        body = with_block(body, variant.field, session.transcription)
    sent: Json = {"session": body}
    if variant.expires_after:
        sent["expires_after"] = dict(EXPIRES_AFTER)
    return sent


def shown(value: Json) -> Json:
    """Return a payload with placeholders for what is nobody else's to read."""
    return {
        name: f"<{name}>" if name in _WORDS else shown(inner) if isinstance(inner, dict) else inner
        for name, inner in value.items()
    }
