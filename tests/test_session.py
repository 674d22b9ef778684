"""Composing a session: the profile's, with what the client may choose, and everything else refused by name."""

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from mint.errors import MintError
from mint.profiles import DIRECTORY, SCHEMA_FILE, Profile, Profiles, Schema
from mint.session import Session, compose, with_block
from mint.settings import Settings

SETTINGS = Settings.read(
    {
        "AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com",
        "AZURE_OPENAI_REALTIME_DEPLOYMENT": "my-realtime",
        "AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT": "my-transcribe",
    }
)
DOCUMENT = json.loads((DIRECTORY / SCHEMA_FILE).read_text("utf-8"))
SCHEMA = Schema(DOCUMENT)
EVERYTHING = frozenset(DOCUMENT["properties"]["client_may_set"]["items"]["enum"])
PROFILE = Profile(
    name="test",
    session={"type": "realtime", "instructions": "Be brief.", "audio": {"output": {"voice": "alloy"}}},
    expires_after_seconds=None,
    client_may_set=frozenset({"session.audio.output.voice", "expires_after.seconds"}),
)
OPEN = replace(PROFILE, client_may_set=EVERYTHING)


def composed(asked: dict[str, Any], profile: Profile = PROFILE, settings: Settings = SETTINGS) -> Session:
    return compose(asked, profile, SCHEMA, settings)


def refused(
    asked: dict[str, Any], profile: Profile = PROFILE, settings: Settings = SETTINGS
) -> tuple[str, str | None]:
    with pytest.raises(MintError) as caught:
        composed(asked, profile, settings)
    assert caught.value.status == 400
    return caught.value.code, caught.value.param


def test_asking_for_nothing_gets_the_profile() -> None:
    """The deployment comes from the settings, the transcription block stands apart."""
    session = composed({})

    assert session.body == {**PROFILE.session, "model": "my-realtime"}
    assert session.transcription == {"model": "my-transcribe"}
    assert session.expires_after_seconds is None


def test_composing_leaves_the_profile_alone() -> None:
    """One caller's choice is not the next caller's default."""
    composed({"session": {"audio": {"output": {"voice": "cedar"}}}})

    assert PROFILE.session["audio"] == {"output": {"voice": "alloy"}}


@pytest.mark.parametrize(
    "asked",
    [
        {"session": None},
        {"expires_after": None},
        {"session": {}},
        {"session": {"type": "realtime"}},
        {"session": {"type": "realtime", "model": "my-realtime"}},
        {"session": {"audio": {}}},
        {"session": {"audio": {"output": {}}}},
        {"expires_after": {}},
        {"expires_after": {"anchor": "created_at"}},
        {"session": {"audio": {"input": {"transcription": {"model": "my-transcribe"}}}}},
    ],
)
def test_saying_what_holds_anyway_is_accepted(asked: dict[str, Any]) -> None:
    """SDKs restate the type and the model; that changes nothing."""
    assert composed(asked) == composed({})


def test_a_client_sets_what_the_profile_lets_it_set() -> None:
    """A permitted field replaces the profile's, and its neighbours stay."""
    session = composed(
        {
            "session": {"audio": {"output": {"voice": "cedar"}}},
            "expires_after": {"anchor": "created_at", "seconds": 60},
        }
    )

    assert session.body["audio"]["output"] == {"voice": "cedar"}
    assert session.body["instructions"] == "Be brief."
    assert session.expires_after_seconds == 60


def test_a_client_may_choose_the_language_of_the_transcription() -> None:
    """Such a choice goes into the block, beside the deployment that is ours."""
    session = composed({"session": {"audio": {"input": {"transcription": {"language": "sv"}}}}}, OPEN)

    assert session.transcription == {"model": "my-transcribe", "language": "sv"}
    assert "transcription" not in session.body["audio"]["input"]


def test_a_client_cannot_turn_transcription_on() -> None:
    """A profile with null keeps it off, whatever language a client names."""
    profile = replace(OPEN, session={"audio": {"input": {"transcription": None}}})

    session = composed({"session": {"audio": {"input": {"transcription": {"language": "sv"}}}}}, profile)

    assert session.transcription is None
    assert session.body["audio"]["input"] == {}


def test_without_a_transcription_deployment_there_is_no_transcription() -> None:
    """Unset means off, and the field is not sent at all."""
    session = composed({}, settings=replace(SETTINGS, transcription_deployment=None))

    assert session.transcription is None


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"sesion": {}}, "sesion"),
        ({"session": {"voice": "cedar"}}, "session.voice"),
        ({"session": {"audio": {"output": {"voise": "cedar"}}}}, "session.audio.output.voise"),
        ({"session": {"audio": {"output": {"voice": {"id": "a", "x": 1}}}}}, "session.audio.output.voice.x"),
        ({"s" * 201: 1}, "s" * 200),
        ({"session": {"audio": {"output": {"voice": {"s" * 201: 1}}}}}, f"session.audio.output.voice.{'s' * 173}"),
        ({"session": {"audio.output.voice": "cedar"}}, "session.audio.output.voice"),
        ({"session.type": "realtime"}, "session.type"),
        ({"__proto__": {}}, "__proto__"),
        ({"expires_after": {"secs": 10}}, "expires_after.secs"),
        ({"session": {"input_audio_transcription": {"model": "x"}}}, "session.input_audio_transcription"),
    ],
)
def test_an_unknown_field_is_refused_by_name(asked: dict[str, Any], path: str) -> None:
    """Also where it hides: nested, dotted, or inside a value that may be set."""
    assert refused(asked) == ("unknown_field", path)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"tools": [{"type": "function", "name": "a"}, {"type": "function", "x": 1}]}, "session.tools[1].x"),
        (
            {"truncation": {"type": "retention_ratio", "retention_ratio": 1, "token_limits": {"x": 1}}},
            "session.truncation.token_limits.x",
        ),
    ],
)
def test_an_unknown_field_deep_inside_a_value_is_refused_by_name(asked: dict[str, Any], path: str) -> None:
    """In an item of a list, and below a field of a field."""
    assert refused({"session": asked}, OPEN) == ("unknown_field", path)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"session": {"instructions": "Obey me."}}, "session.instructions"),
        ({"session": {"tools": []}}, "session.tools"),
        ({"session": {"audio": None}}, "session.audio"),
        ({"session": {"audio": {"output": {"speed": 1.2}}}}, "session.audio.output.speed"),
        ({"session": {"audio": {"input": {"transcription": None}}}}, "session.audio.input.transcription"),
        (
            {"session": {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}},
            "session.audio.input.turn_detection",
        ),
    ],
)
def test_a_field_that_is_the_servers_is_refused_by_name(asked: dict[str, Any], path: str) -> None:
    """Known to the API, and not the client's to choose."""
    assert refused(asked) == ("field_not_allowed", path)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"session": []}, "session"),
        ({"session": "realtime"}, "session"),
        ({"expires_after": 60}, "expires_after"),
        ({"session": {"type": "transcription"}}, "session.type"),
        ({"session": {"type": None}}, "session.type"),
        ({"session": {"model": "other"}}, "session.model"),
        ({"session": {"model": {"x": 1}}}, "session.model"),
        (
            {"session": {"audio": {"input": {"transcription": {"model": "other"}}}}},
            "session.audio.input.transcription.model",
        ),
        ({"expires_after": {"anchor": "now"}}, "expires_after.anchor"),
        ({"expires_after": {"seconds": 9}}, "expires_after.seconds"),
        ({"expires_after": {"seconds": 7201}}, "expires_after.seconds"),
        ({"expires_after": {"seconds": "60"}}, "expires_after.seconds"),
        ({"expires_after": {"seconds": True}}, "expires_after.seconds"),
        ({"expires_after": {"seconds": 60.5}}, "expires_after.seconds"),
        ({"expires_after": {"seconds": None}}, "expires_after.seconds"),
        ({"session": {"audio": {"output": {"voice": 5}}}}, "session.audio.output.voice"),
        ({"session": {"audio": {"output": {"voice": "a b"}}}}, "session.audio.output.voice"),
        ({"session": {"audio": {"output": {"voice": None}}}}, "session.audio.output.voice"),
        ({"session": {"audio": {"output": {"speed": 2}}}}, "session.audio.output.speed"),
        ({"session": {"max_output_tokens": 0}}, "session.max_output_tokens"),
        ({"session": {"tools": [{"type": "function"}]}}, "session.tools[0]"),
        ({"session": {"output_modalities": ["audio", "text"]}}, "session.output_modalities"),
        (
            {"session": {"audio": {"input": {"turn_detection": {"type": "none"}}}}},
            "session.audio.input.turn_detection",
        ),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused_by_path(asked: dict[str, Any], path: str) -> None:
    """The message says what the field takes, and never what was sent."""
    assert refused(asked, OPEN) == ("invalid_value", path)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"expires_after": {"seconds": 9}}, "expires_after.seconds must be bigger than or equal to 10."),
        (
            {"session": {"max_output_tokens": 0}},
            "session.max_output_tokens must be a whole number from 1 to 4096, or inf.",
        ),
        (
            {"session": {"audio": {"input": {"transcription": {"language": 5}}}}},
            "session.audio.input.transcription.language must be string.",
        ),
        (
            {"session": {"audio": {"input": {"transcription": {"language": "Swedish"}}}}},
            "session.audio.input.transcription.language must be a language code such as en.",
        ),
    ],
)
def test_a_refusal_says_what_to_send(asked: dict[str, Any], message: str) -> None:
    """A person can mend the request from the message alone: by the type, else by the schema's own words."""
    with pytest.raises(MintError) as caught:
        composed(asked, OPEN)

    assert caught.value.message == message


def test_checking_adds_nothing_to_what_is_checked() -> None:
    """A default in the schema is for editors: what a client leaves out is left out."""
    document = copy.deepcopy(DOCUMENT)
    document["definitions"]["session"]["properties"]["instructions"]["default"] = "x"
    asked: dict[str, Any] = {"session": {}}

    Schema(document).check("request", asked)

    assert asked == {"session": {}}


def test_the_cap_on_lifetimes_holds_for_clients() -> None:
    """Beyond CLIENT_SECRET_TTL_SECONDS a client gets 400 and not silently less."""
    capped = replace(SETTINGS, ttl_seconds=120)

    assert composed({}, settings=capped).expires_after_seconds == 120
    for seconds in (60, 120):
        asked = {"expires_after": {"seconds": seconds}}
        assert composed(asked, settings=capped).expires_after_seconds == seconds
    assert refused({"expires_after": {"seconds": 121}}, settings=capped) == (
        "invalid_value",
        "expires_after.seconds",
    )


def test_a_profiles_lifetime_comes_before_the_settings() -> None:
    """The client's wish first, then the profile's, then the setting's."""
    profile = replace(PROFILE, expires_after_seconds=90)

    assert composed({}, profile, replace(SETTINGS, ttl_seconds=120)).expires_after_seconds == 90


def test_every_path_a_profile_may_open_exists() -> None:
    """The schema lists the paths for editors; each must lead to a field, or a client could be promised nothing."""
    for path in EVERYTHING:
        here: dict[str, Any] = SCHEMA.request
        for name in path.split("."):
            assert name in SCHEMA.fields(here), path
            here = SCHEMA.fields(here)[name]


@pytest.mark.parametrize("field", ["audio.input.transcription", "input_audio_transcription"])
def test_the_block_goes_where_the_setting_says(field: str) -> None:
    """One place or the other, and the session that was given is left alone."""
    body: dict[str, Any] = {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}

    placed = with_block(body, field, {"model": "m"})

    assert ("input_audio_transcription" in placed) == (field == "input_audio_transcription")
    assert ("transcription" in placed["audio"]["input"]) == (field == "audio.input.transcription")
    assert "transcription" not in body["audio"]["input"]


def test_the_shipped_profiles_are_valid() -> None:
    """Every file of sessions/ loads, and the default one opens no field that costs money or leaks."""
    profiles = Profiles(None)

    assert "session.instructions" not in profiles.default.client_may_set
    assert "session.tools" not in profiles.default.client_may_set
    assert "session.audio.output.voice" in profiles.default.client_may_set


def test_a_profile_is_asked_for_by_its_files_name() -> None:
    """None is the default; a name that is no profile's leads to no file."""
    profiles = Profiles(None)

    assert profiles.named(None) is profiles.default
    assert [profiles.named(name).name for name in ("default", "push-to-talk")] == ["default", "push-to-talk"]
    for name in ("", "Default", "profile.schema", "../sessions/default", "default.json"):
        with pytest.raises(MintError) as caught:
            profiles.named(name)
        assert (caught.value.code, caught.value.param) == ("unknown_profile", "profile")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "default.json cannot be used"),
        ('{"session": {"voice": "alloy"}}', "session"),
        ('{"session": {"model": "x"}}', "session"),
        ('{"session": {}, "client_may_set": ["session.model"]}', "client_may_set[0]"),
        ('{"session": {}, "expires_after_seconds": 5}', "expires_after_seconds"),
        ('{"session": {}, "expires_after_seconds": 7200}', "CLIENT_SECRET_TTL_SECONDS"),
        ("[]", "default.json cannot be used"),
        ('{"session": {"type": "translation"}}', "session.type"),
        ('{"session": {"instructions": "\\ud800"}}', "surrogate"),
        ('{"session": {"audio": {"output": {"speed": NaN}}}}', "NaN"),
        ('{"session": {}, "session": {}}', "twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"session": {"type": "transcription", "instructions": "x"}}', "session must be only type, audio.input"),
        ('{"session": {"type": "transcription", "audio": {"output": {"voice": "ash"}}}}', "session.audio"),
        (
            '{"session": {"type": "transcription"}, "client_may_set": ["session.instructions"]}',
            "client_may_set[0]",
        ),
    ],
)
def test_a_bad_profile_is_a_misconfiguration(text: str, says: str, tmp_path: Any) -> None:
    """A profile's mistake is told like a setting's, by the file's name and the field's path."""
    (tmp_path / SCHEMA_FILE).write_text(json.dumps(DOCUMENT), "utf-8")
    (tmp_path / "default.json").write_text(text, "utf-8")

    with pytest.raises(MintError) as caught:
        Profiles(600, tmp_path)

    assert caught.value.code == "misconfigured"
    assert says in caught.value.message


def test_a_profile_may_ask_for_the_longest_lifetime_that_is_allowed(tmp_path: Any) -> None:
    """CLIENT_SECRET_TTL_SECONDS is a cap, and a cap may be reached."""
    (tmp_path / SCHEMA_FILE).write_text(json.dumps(DOCUMENT), "utf-8")
    (tmp_path / "default.json").write_text('{"session": {}, "expires_after_seconds": 600}', "utf-8")

    assert Profiles(600, tmp_path).default.expires_after_seconds == 600


def test_a_missing_default_profile_is_a_misconfiguration(tmp_path: Any) -> None:
    """Without sessions/default.json a request that names no profile could not be answered."""
    (tmp_path / SCHEMA_FILE).write_text(json.dumps(DOCUMENT), "utf-8")

    with pytest.raises(MintError, match=r"sessions/default\.json is missing"):
        Profiles(None, tmp_path)


def test_a_session_that_only_transcribes_names_no_realtime_deployment() -> None:
    """It has no model, instructions or voice of its own; the block is the whole of it."""
    profile = replace(PROFILE, session={"type": "transcription"}, client_may_set=frozenset())

    session = composed({"session": {"type": "transcription"}}, profile)

    assert (session.type, session.body) == ("transcription", {"type": "transcription"})
    assert session.transcription == {"model": "my-transcribe"}
    assert refused({"session": {"type": "realtime"}}, profile) == ("invalid_value", "session.type")


def test_a_session_that_only_transcribes_needs_a_transcription_deployment() -> None:
    """Asked for without one, it is the operator's mistake and named as such; other profiles go on working."""
    profile = replace(PROFILE, session={"type": "transcription"})

    with pytest.raises(MintError, match="AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT") as caught:
        composed({}, profile, replace(SETTINGS, transcription_deployment=None))

    assert caught.value.code == "misconfigured"


def test_a_profile_without_a_type_is_a_realtime_session() -> None:
    """Azure refuses a session without a type (InvalidSessionType), so that one is always sent."""
    assert composed({}, replace(PROFILE, session={})).body["type"] == "realtime"


def test_a_schema_that_is_not_there_is_a_misconfiguration(tmp_path: Any) -> None:
    """A deployment without it is told so, rather than failing without a word."""
    (tmp_path / "default.json").write_text('{"session": {}}', "utf-8")

    with pytest.raises(MintError, match=r"sessions/profile\.schema\.json cannot be read") as caught:
        Profiles(None, tmp_path)

    assert caught.value.code == "misconfigured"
