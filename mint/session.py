"""Composes the session that is minted: the profile's, with what the client asked for where it may.

Pure functions. The server owns the session; a field that a client may not set is refused by name, wherever in
the body it hides. A minted configuration is still a default and not a lock: see "Limits" in README.md.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from mint.body import Json
from mint.errors import MintError
from mint.profiles import InvalidValueError, Profile, Schema
from mint.settings import MisconfiguredError, Settings


@dataclass(frozen=True, slots=True)
class Session:
    """What is to be minted. `transcription` is kept beside `body`, because where it goes depends on the flag."""

    profile: str
    body: Json
    transcription: Json | None
    expires_after_seconds: int | None

    @property
    def type(self) -> str:
        """`realtime`, or `transcription` for a session that only transcribes."""
        return str(self.body["type"])


def compose(asked: Json, profile: Profile, schema: Schema, settings: Settings) -> Session:
    """Return the session that a request body `asked` gets from `profile`.

    Raises `MintError` `unknown_field`, `field_not_allowed` or `invalid_value`, with the field's path in `param`.
    """
    ours = {"session.type": profile.type, "expires_after.anchor": "created_at"}
    if settings.transcription_deployment:
        ours["session.audio.input.transcription.model"] = settings.transcription_deployment
    deployment = settings.deployment if profile.type == "realtime" else settings.transcription_deployment
    if deployment:
        ours["session.model"] = deployment
    wishes = list(_wishes(asked, schema.request, "", profile.client_may_set, schema, ours))
    if wishes:
        _check_values(wishes, schema)
    body = deepcopy(dict(profile.session))
    off = body.get("audio", {}).get("input", {}).get("transcription", {}) is None  # and no client turns it on
    seconds = profile.expires_after_seconds or settings.ttl_seconds
    for path, value in wishes:
        if path == ["expires_after", "seconds"]:
            seconds = _lifetime(int(value), settings)
        else:
            _put(body, path[1:], value)
    body["type"] = profile.type
    if profile.type == "realtime":
        body["model"] = settings.deployment
    elif settings.transcription_deployment is None:
        problem = (
            f"AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT is missing: sessions/{profile.name}.json only transcribes, so "
            "it must be the name of a deployment of a transcription model."
        )
        raise MisconfiguredError([problem])
    block = body.get("audio", {}).get("input", {}).pop("transcription", {})
    if settings.transcription_deployment is None or off:
        return Session(profile.name, body, None, seconds)
    return Session(profile.name, body, {"model": settings.transcription_deployment, **block}, seconds)


def with_block(body: Json, field: str, block: Json) -> Json:
    """Return `body` with the transcription block at `field`, a path of dots; `body` itself is left alone."""
    placed = deepcopy(body)
    _put(placed, field.split("."), block)
    return placed


def _wishes(
    asked: Json, schema_here: Json, prefix: str, may_set: frozenset[str], schema: Schema, ours: Mapping[str, str]
) -> Iterator[tuple[list[str], Any]]:
    """Yield (path, value) of every field asked for that the client may set; refuse all others by name."""
    known = schema.fields(schema_here)
    for name, value in asked.items():
        path = f"{prefix}{name}"
        if "." not in name and _restates(path, value, ours):
            continue
        if name not in known:
            raise MintError(
                "unknown_field", "The body has a field that is not known. Leave it out.", param=path[:200]
            )
        if path in may_set:
            _refuse_unknown_inside(value, known[name], path, schema)
            yield path.split("."), value
        elif isinstance(value, dict) and schema.has_choices_below(path):
            yield from _wishes(value, known[name], f"{path}.", may_set, schema, ours)
        elif value is not None and schema.has_choices_below(path):
            raise MintError("invalid_value", f"{path} must be an object.", param=path)
        else:
            raise MintError(
                "field_not_allowed",
                "The server decides this field, and the profile does not let a client set it. Leave it out.",
                param=path,
            )


def _restates(path: str, value: object, ours: Mapping[str, str]) -> bool:
    """Tell whether a field only says what holds anyway, as OpenAI's SDKs do (`session: {type: "realtime"}`)."""
    if value is None and path in ("session", "expires_after"):
        return True
    if path not in ours:
        return False
    if value != ours[path]:
        raise MintError(
            "invalid_value",
            f"{path} is not what this endpoint mints. Leave it out: the server sets it.",
            param=path,
        )
    return True


def _refuse_unknown_inside(value: object, schema_here: Json, path: str, schema: Schema) -> None:
    """Name a field that the schema does not know, inside a value that the client may set."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_unknown_inside(item, schema.items(schema_here), f"{path}[{index}]", schema)
    known = schema.fields(schema_here)
    if isinstance(value, dict) and known:
        for name, inner in value.items():
            if name not in known:
                raise MintError(
                    "unknown_field",
                    "The body has a field that is not known. Leave it out.",
                    param=f"{path}.{name}"[:200],
                )
            _refuse_unknown_inside(inner, known[name], f"{path}.{name}", schema)


def _check_values(wishes: list[tuple[list[str], Any]], schema: Schema) -> None:
    asked: Json = {}
    for path, value in wishes:
        _put(asked, path, value)
    try:
        schema.check("request", asked)
    except InvalidValueError as error:
        raise MintError("invalid_value", f"{error}.", param=error.path) from error


def _lifetime(seconds: int, settings: Settings) -> int:
    if settings.ttl_seconds and seconds > settings.ttl_seconds:
        raise MintError(
            "invalid_value",
            f"expires_after.seconds may be at most {settings.ttl_seconds} here.",
            param="expires_after.seconds",
        )
    return seconds


def _put(target: Json, path: list[str], value: object) -> None:
    for name in path[:-1]:
        inner = target.get(name)
        target[name] = inner if isinstance(inner, Mapping) else {}
        target = target[name]
    target[path[-1]] = value
