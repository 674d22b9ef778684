"""Loads the session profiles and holds them, and what clients send, to sessions/profile.schema.json.

That file is the only list of session fields there is: code and schema cannot drift apart. Profiles are read
once a process; a changed file needs a restart, which every deployment is.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastjsonschema

from mint.body import Json, strict_json
from mint.errors import MintError
from mint.settings import MisconfiguredError

DIRECTORY = Path(__file__).parent.parent / "sessions"
SCHEMA_FILE = "profile.schema.json"


@dataclass(frozen=True, slots=True)
class Profile:
    """One file of sessions/: what a session is minted with and what a client may choose."""

    name: str
    session: Mapping[str, Any]
    expires_after_seconds: int | None
    client_may_set: frozenset[str]

    @property
    def type(self) -> str:
        """`realtime`, or `transcription` for sessions that only transcribe."""
        return str(self.session.get("type", "realtime"))


class InvalidValueError(ValueError):
    """A value that the schema refuses; `path` is the field's, the message says what it takes."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


class Schema:
    """sessions/profile.schema.json, compiled once for both of its uses."""

    def __init__(self, document: Json) -> None:
        definitions = document["definitions"]
        self._definitions = definitions
        self._choices = document["properties"]["client_may_set"]["items"]["enum"]
        request = {
            "type": "object",
            "properties": {name: {"$ref": f"#/definitions/{name}"} for name in ("expires_after", "session")},
        }
        whole = {
            "$schema": document["$schema"],
            "properties": {"profile": document, "request": request},
            "definitions": definitions,
        }
        self.request = request
        self._validate = fastjsonschema.compile(whole, use_default=False)

    def check(self, kind: str, value: Json) -> None:
        """Hold `value`, a "profile" or a "request", to the schema; raises `InvalidValueError`."""
        try:
            self._validate({kind: value})
        except fastjsonschema.JsonSchemaValueException as error:
            path = field_path(error.path[2:])
            described = error.definition.get("description") if error.rule != "type" else None
            # The library's own words start with the path and never hold the value.
            words = f"must be {described}" if described else error.message.partition(" ")[2]
            raise InvalidValueError(path, f"{path or 'the object'} {words}") from error

    def fields(self, schema: Json) -> Json:
        """Return the schemas of the fields that an object under `schema` may have, of all its alternatives."""
        found: Json = {}
        for branch in self._branches(schema):
            found.update(branch.get("properties", {}))
        return found

    def has_choices_below(self, path: str) -> bool:
        """Tell whether a profile could let a client set a field inside the one at `path`."""
        return any(choice.startswith(f"{path}.") for choice in self._choices)

    def items(self, schema: Json) -> Json:
        """Return the schema of the items that an array under `schema` may have."""
        return next((branch["items"] for branch in self._branches(schema) if "items" in branch), {})

    def _branches(self, schema: Json) -> Iterator[Json]:
        if "$ref" in schema:
            schema = self._definitions[schema["$ref"].rpartition("/")[2]]
        yield schema
        for branch in schema.get("oneOf", ()):
            yield from self._branches(branch)


def field_path(parts: list[str]) -> str:
    """Return ["session", "tools", "0"] as "session.tools[0]"."""
    path = ""
    for part in parts:
        path += f"[{part}]" if part.isdigit() else f".{part}" if path else part
    return path


class Profiles:
    """Every profile by its file's name, and the schema they are held to."""

    def __init__(self, ttl_seconds: int | None, directory: Path = DIRECTORY) -> None:
        """Read the directory; `ttl_seconds` is CLIENT_SECRET_TTL_SECONDS, the cap on their lifetimes.

        Raises `MisconfiguredError` with a sentence for each profile that cannot be used.
        """
        try:
            self.schema = Schema(json.loads((directory / SCHEMA_FILE).read_text("utf-8")))
        except (OSError, ValueError, LookupError, fastjsonschema.JsonSchemaException) as error:
            raise MisconfiguredError(
                [f"sessions/{SCHEMA_FILE} cannot be read: deploy it with the app."]
            ) from error
        self._by_name: dict[str, Profile] = {}
        problems = []
        for path in sorted(directory.glob("*.json")):
            if path.name == SCHEMA_FILE:
                continue
            try:
                self._by_name[path.stem] = _load(path, self.schema, ttl_seconds)
            except (ValueError, OSError) as error:
                problems.append(f"sessions/{path.name} cannot be used: {error}.")
        if "default" not in self._by_name and not problems:
            problems.append("sessions/default.json is missing: it is what a request without ?profile= gets.")
        if problems:
            raise MisconfiguredError(problems)

    @property
    def default(self) -> Profile:
        """The profile of a request that names none."""
        return self._by_name["default"]

    def named(self, name: str | None) -> Profile:
        """Return a profile; raises `MintError` `unknown_profile`. No path is ever made from `name`."""
        if name is None:
            return self.default
        if name not in self._by_name:
            raise MintError(
                "unknown_profile",
                "There is no such profile. Leave ?profile= out to get the default.",
                param="profile",
            )
        return self._by_name[name]


def _load(path: Path, schema: Schema, ttl_seconds: int | None) -> Profile:
    try:
        document = strict_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"it {error}") from error
    schema.check("profile", document)
    seconds = document.get("expires_after_seconds")
    if seconds and ttl_seconds and seconds > ttl_seconds:
        raise ValueError(
            "its expires_after_seconds is above CLIENT_SECRET_TTL_SECONDS; lower the one or raise the other"
        )
    return Profile(
        name=path.stem,
        session=document["session"],
        expires_after_seconds=seconds,
        client_may_set=frozenset(document.get("client_may_set", ())),
    )
