"""The switches of the simulated resource: their defaults, and what each one takes.

A patch is taken whole or not at all; an unknown switch or value is refused with the choices named.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from local.client_secrets import DEFECTS
from local.faults import CATALOGUE, IDENTITY_CATALOGUE


@dataclass
class Switches:
    """How the resource behaves from now on."""

    defect: str = "flat-fails"
    seed: int = 0
    unknown_fields: str = "500"
    expires_after: str = "honoured"
    accept_ai_audience: bool = False
    foreign_tokens: bool = False
    api_key: str = "simulated-api-key"
    keys_disabled: bool = False
    deployments: dict[str, str] = field(
        default_factory=lambda: {
            "gpt-realtime": "realtime",
            "gpt-4o-transcribe": "transcription",
            "whisper": "transcription",
            "gpt-4o": "chat",
        }
    )
    fault: str | None = None
    fault_times: int | None = None
    fault_when: str = "always"
    faults: list[str] = field(default_factory=list)
    latency_ms: float = 0
    identity_fault: str | None = None
    identity_latency_ms: float = 0
    identity_header: str = "simulated-identity-header"
    token_lifetime_s: int = 86400
    flat_update: str = "rejected"
    update_ack: str = "normal"
    transcription_result: str = "completed"
    record: bool = True


class UnknownSwitchError(ValueError):
    """A patch names a switch or a value that does not exist; the text says which there are."""


@dataclass(frozen=True)
class _Rule:
    takes: str
    fits: Callable[[object], bool]


def _one_of(names: Iterable[str], *, nullable: bool = False) -> _Rule:
    choices: list[str | None] = [*names, *([None] if nullable else [])]
    takes = "one of " + ", ".join("null" if choice is None else choice for choice in choices)
    return _Rule(takes, lambda value: (value is None or isinstance(value, str)) and value in choices)


def _is_count(value: object, least: int) -> bool:
    return type(value) is int and value >= least


_BOOLEAN = _Rule("true or false", lambda value: isinstance(value, bool))
_TEXT = _Rule("a text that is not empty", lambda value: isinstance(value, str) and value != "")
_INTEGER = _Rule("an integer", lambda value: type(value) is int)
_MILLISECONDS = _Rule("a number from 0", lambda value: type(value) in {int, float} and value >= 0)  # type: ignore[operator]  # just narrowed by type()
_KINDS = ("realtime", "transcription", "chat")
_SCRIPT = ("ok", *CATALOGUE)
_RULES: dict[str, _Rule] = {
    "defect": _one_of(DEFECTS),
    "seed": _INTEGER,
    "unknown_fields": _one_of(["500", "400"]),
    "expires_after": _one_of(["honoured", "refused"]),
    "accept_ai_audience": _BOOLEAN,
    "foreign_tokens": _BOOLEAN,
    "api_key": _TEXT,
    "keys_disabled": _BOOLEAN,
    "deployments": _Rule(
        f"an object of names, each with one of {', '.join(_KINDS)}",
        lambda value: isinstance(value, dict) and all(kind in _KINDS for kind in value.values()),
    ),
    "fault": _one_of(CATALOGUE, nullable=True),
    "fault_times": _Rule("an integer from 1, or null", lambda value: value is None or _is_count(value, 1)),
    "fault_when": _one_of(["always", "with-transcription", "without-transcription"]),
    "faults": _Rule(
        f"a list of {', '.join(_SCRIPT)}",
        lambda value: isinstance(value, list) and all(name in _SCRIPT for name in value),
    ),
    "latency_ms": _MILLISECONDS,
    "identity_fault": _one_of(IDENTITY_CATALOGUE, nullable=True),
    "identity_latency_ms": _MILLISECONDS,
    "identity_header": _TEXT,
    "token_lifetime_s": _Rule("an integer from 1", lambda value: _is_count(value, 1)),
    "flat_update": _one_of(["rejected", "accepted"]),
    "update_ack": _one_of(["normal", "lost", "error", "close"]),
    "transcription_result": _one_of(["completed", "failed", "close"]),
    "record": _BOOLEAN,
}
_ACTIONS = {"revoke_tokens": _Rule("true", lambda value: value is True)}


def patched(switches: Switches, patch: Mapping[str, Any]) -> Switches:
    """Return the switches with the patch applied; actions are checked but not carried out here."""
    for name, value in patch.items():
        rule = _RULES.get(name) or _ACTIONS.get(name)
        if rule is None:
            raise UnknownSwitchError(f"There is no switch {name!r}; there are {', '.join([*_RULES, *_ACTIONS])}.")
        if not rule.fits(value):
            raise UnknownSwitchError(f"{name} takes {rule.takes}.")
    changes = {name: value for name, value in patch.items() if name in _RULES}
    if "fault" in patch:  # a new fault starts with its own terms, not with what is left of the last one's
        changes = {"fault_times": None, "fault_when": "always"} | changes
    return replace(switches, **changes)


def shown(switches: Switches) -> dict[str, object]:
    """Return the switches as the control endpoint shows them."""
    return asdict(switches)


if set(_RULES) != {one.name for one in fields(Switches)}:
    raise AssertionError("every switch needs a rule, and every rule a switch")
