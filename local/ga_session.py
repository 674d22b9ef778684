"""The GA session object: which fields it may have, its defaults, and what an update makes of it.

Values are not checked, only names and nesting; the preview's flat fields are unknown here.
"""

import secrets
from collections.abc import Mapping
from typing import Any

type Session = dict[str, Any]
type Fields = Mapping[str, "Fields | None"]  # None: any value, not looked into


def _any(names: str) -> Fields:
    return dict.fromkeys(names.split())


# openai/openai-openapi, RealtimeSessionCreateRequestGA and RealtimeTranscriptionSessionCreateRequestGA.
_TURN_DETECTION = _any(
    "type threshold prefix_padding_ms silence_duration_ms create_response interrupt_response idle_timeout_ms"
    " eagerness"
)
_INPUT: Fields = {
    "format": _any("type rate"),
    "transcription": _any("model language prompt languages keywords delay"),
    "noise_reduction": _any("type strength"),
    "turn_detection": _TURN_DETECTION,
}
_OUTPUT: Fields = {"format": _any("type rate"), "voice": _any("id"), "speed": None}
_REALTIME: Fields = {
    **_any("type model instructions output_modalities tools tool_choice max_output_tokens include"),
    **_any("parallel_tool_calls"),
    "audio": {"input": _INPUT, "output": _OUTPUT},
    "tracing": _any("workflow_name group_id metadata"),
    "truncation": {"type": None, "retention_ratio": None, "token_limits": _any("post_instructions")},
    "prompt": _any("id version variables"),
    "reasoning": _any("effort"),
}
_TRANSCRIPTION: Fields = {"type": None, "audio": {"input": _INPUT}, "include": None}

# MS Learn, realtime-audio-reference: the defaults of server_vad.
_SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "create_response": True,
    "interrupt_response": True,
    "idle_timeout_ms": None,
}


def first_unknown(session: Session) -> str | None:
    """Return the path of the first field that the GA schema does not have, or None."""
    return _first_unknown(
        session, _TRANSCRIPTION if session.get("type") == "transcription" else _REALTIME, "session"
    )


def _first_unknown(value: Mapping[str, object], fields: Fields, path: str) -> str | None:
    for name, inner in value.items():
        here = f"{path}.{name}"
        if name not in fields:
            return here
        known = fields[name]
        if known is not None and isinstance(inner, dict):
            found = _first_unknown(inner, known, here)
            if found:
                return found
    return None


def first_misshapen(session: Session) -> str | None:
    """Return the path of the first object of the session that is given as something else, or None."""
    audio = session.get("audio", {})
    if not isinstance(audio, dict):
        return "session.audio"
    return next(
        (f"session.audio.{side}" for side in ("input", "output") if not isinstance(audio.get(side, {}), dict)),
        None,
    )


def nested_transcription(session: Session) -> Session | None:
    """Return the block in its GA place; None stands for null as well as for nothing."""
    block = session.get("audio", {}).get("input", {}).get("transcription")
    return block if isinstance(block, dict) else None


def effective(asked: Session) -> Session:
    """Return the session as Azure echoes it: what was asked for over the defaults, under a new id."""
    pcm = {"type": "audio/pcm", "rate": 24000}
    identifier = f"sess_{secrets.token_hex(12)}"
    heard = {"format": pcm, "transcription": None, "noise_reduction": None, "turn_detection": _SERVER_VAD}
    if asked.get("type") == "transcription":
        defaults: Session = {
            "type": "transcription",
            "object": "realtime.transcription_session",
            "id": identifier,
            "expires_at": 0,
            "audio": {"input": heard},
            "include": None,
        }
    else:
        defaults = {
            "type": "realtime",
            "object": "realtime.session",
            "id": identifier,
            "model": None,
            "output_modalities": ["audio"],
            "instructions": "",
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "tracing": None,
            "truncation": "auto",
            "prompt": None,
            "expires_at": 0,
            "audio": {"input": heard, "output": {"format": pcm, "voice": "alloy", "speed": 1.0}},
            "include": None,
        }
    return merged(defaults, asked)


def merged(session: Session, changes: Session) -> Session:
    """Return `session` with only the given fields changed; neither argument is altered.

    Blocks such as transcription and turn_detection are replaced whole. That they are not merged field by
    field is inference.
    """
    result = {**session, **changes}
    if "audio" in changes:
        audio = dict(session["audio"])
        for side, fields in changes["audio"].items():
            audio[side] = {**audio.get(side, {}), **fields}
        turns = changes["audio"].get("input", {}).get("turn_detection")
        if isinstance(turns, dict) and turns.get("type", "server_vad") == "server_vad":
            audio["input"]["turn_detection"] = {**_SERVER_VAD, **turns}
        result["audio"] = audio
    return result
