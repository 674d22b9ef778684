"""App settings: what each takes, and that every mistake is named at once and no value is shown."""

import pytest

from mint.settings import MisconfiguredError, Settings, app_settings, platform_checks_key

REQUIRED = {
    "AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com",
    "AZURE_OPENAI_REALTIME_DEPLOYMENT": "gpt-realtime",
}
GOOD_AND_BAD = {
    "AZURE_OPENAI_ENDPOINT": (
        ["https://res.openai.azure.com/", "https://apim.example/voice", "http://localhost:9900", "http://[::1]:1"],
        [
            "res.openai.azure.com",
            "http://res.openai.azure.com",
            "https:///x",
            "https://u:p@res",
            "https://:p@res",
            "https://r?x=1",
            "ftp://r",
        ],
    ),
    "AZURE_OPENAI_REALTIME_DEPLOYMENT": (["gpt-realtime", "a.b_c-1"], ["a b", "a/b", "-a", "x" * 65]),
    "AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT": (["gpt-4o-transcribe"], ["a?b"]),
    "TRANSCRIPTION_MODE": (["mint_time", "post_connect", "auto"], ["Mint_Time", "on", "true"]),
    "TRANSCRIPTION_PROBE_SECONDS": (["0", "86400"], ["-1", "86401", "1.5", "never"]),
    "TRANSCRIPTION_FIELD": (["audio.input.transcription", "input_audio_transcription"], ["both"]),
    "AZURE_OPENAI_FALLBACK_ENDPOINT": (["https://other.openai.azure.com"], ["other", "http://other"]),
    "AZURE_OPENAI_SCOPE": (["https://ai.azure.com/.default"], ["https://ai.azure.com", "a b/.default"]),
    "AZURE_OPENAI_API_VERSION": (["2025-04-01-preview", "v1"], ["v1&x=1", "a b"]),
    "AZURE_CLIENT_ID": (["11111111-2222-3333-4444-555555555555"], ["my-identity"]),
    "CLIENT_SECRET_TTL_SECONDS": (["10", "7200"], ["9", "7201", "60.5", "nan", "ten"]),
    "MINT_DEADLINE_SECONDS": (["1", "2.5", "60"], ["0", "0.9", "61", "inf", "nan", "x", "٦", "1e1"]),
    "MAX_CONCURRENT_MINTS": (["1", "1024"], ["0", "1025", "-1", "1.5", "1_0", "٦"]),
    "CALLER_AUTH": (["function_key", "easy_auth", "jwt", "anonymous"], ["none", "FUNCTION_KEY", "function"]),
    "JWT_ISSUER": (
        ["https://login.example/t/v2.0", "https://t.auth0.example/", "http://127.0.0.1:1"],
        ["login.example", "http://login.example", "https://u:p@login.example", "https://a.example?x=1"],
    ),
    "JWT_AUDIENCE": (["api://x", "11111111-2222-3333-4444-555555555555"], ["a b", "x" * 513]),
    "JWT_REQUIRED_SCOPE": (["realtime.mint", "api://x/mint"], ["a b", 'a"b', "ä"]),
    "JWT_JWKS_URL": (
        ["https://login.example/keys?p=1"],
        ["http://login.example/keys", "login.example/keys", "https://h/#keys"],
    ),
    "MINT_QUOTA": (
        ["off", "20/minute;200/day", "1/second", "5 per 2 hours", "1/minute,2/hour", "100000/366day"],
        ["7", "0/minute", "many", "20/fortnight", "-1/day", "100001/day", "1/31622401second", "1/minute;"],
    ),
    "QUOTA_STORAGE_URI": (
        ["memory://", "redis://localhost", "rediss://:pass%2Fword@cache.example:6380/1"],
        [
            ":memory:",
            "redis:///1",
            "redis://h:0",
            "memcached://h",
            "redis://h/x",
            "redis://h?db=1",
            "redis://h:99999",
        ],
    ),
    "SAFETY_IDENTIFIER": (["on", "off"], ["true", "yes"]),
    "CALLER_HASH_KEY": (["c2VjcmV0", "x" * 256], ["a b", "x" * 257]),
}
NEEDED_WITH = {
    "easy_auth": {"WEBSITE_AUTH_ENABLED": "true"},
    "jwt": {"JWT_ISSUER": "https://login.example", "JWT_AUDIENCE": "api://x"},
    "on": {"CALLER_HASH_KEY": "k"},
}


def test_the_two_required_settings_are_enough() -> None:
    """Everything else has a default that works."""
    settings = Settings.read(REQUIRED)

    assert settings.transcription_deployment is None
    assert settings.transcription_mode == "post_connect"
    assert settings.transcription_field == "audio.input.transcription"
    assert settings.deadline_seconds == 8
    assert settings.max_concurrent_mints == 64


def test_an_empty_environment_names_every_missing_setting() -> None:
    """All that is missing is reported together, with what it takes."""
    with pytest.raises(MisconfiguredError) as caught:
        Settings.read({})

    error = caught.value.body()["error"]
    assert [problem.split()[0] for problem in caught.value.problems] == list(REQUIRED)
    assert (error["code"], caught.value.status) == ("misconfigured", 500)
    assert all(problem in str(error["message"]) for problem in caught.value.problems)
    assert str(caught.value) == error["message"]


def test_every_setting_has_values_to_try() -> None:
    """A setting that is added without examples here fails this test."""
    assert set(GOOD_AND_BAD) == {declared.metadata["name"] for declared in app_settings()}


@pytest.mark.parametrize(
    ("name", "value"), [(name, good) for name, (goods, _) in GOOD_AND_BAD.items() for good in goods]
)
def test_good_values_are_taken(name: str, value: str) -> None:
    """White space around a value is no mistake."""
    settings = Settings.read(REQUIRED | NEEDED_WITH.get(value, {}) | {name: f" {value} "})

    assert settings


@pytest.mark.parametrize(
    ("name", "value"), [(name, bad) for name, (_, bads) in GOOD_AND_BAD.items() for bad in bads]
)
def test_bad_values_are_named_and_not_shown(name: str, value: str) -> None:
    """The message names the setting and what it takes; the value may be a secret that was pasted wrongly."""
    with pytest.raises(MisconfiguredError) as caught:
        Settings.read(REQUIRED | {name: value})

    (problem,) = caught.value.problems
    assert problem.startswith(f"{name} is not valid: it must be ")
    assert value == "function" or f" {value}" not in problem


def test_all_mistakes_are_reported_together() -> None:
    """Nobody has to deploy once for each typing error."""
    with pytest.raises(MisconfiguredError) as caught:
        Settings.read({name: bads[0] for name, (_, bads) in GOOD_AND_BAD.items()})

    assert len(caught.value.problems) == len(GOOD_AND_BAD)


@pytest.mark.parametrize(("said", "offered"), [({}, False), ({"IDENTITY_ENDPOINT": "http://127.0.0.1:1"}, True)])
def test_the_platform_says_whether_it_offers_an_identity(
    said: dict[str, str],
    offered: bool,  # noqa: FBT001 - an expectation
) -> None:
    """App Service and Functions set the variable where an identity is assigned."""
    assert Settings.read(REQUIRED | said).has_identity_endpoint is offered


def test_an_empty_value_counts_as_unset() -> None:
    """The portal keeps a setting that was emptied."""
    settings = Settings.read(REQUIRED | {"TRANSCRIPTION_MODE": "", "AZURE_CLIENT_ID": "  "})

    assert settings.transcription_mode == "post_connect"
    assert settings.client_id is None


@pytest.mark.parametrize("tail", ["", "/", "/openai/v1", "/openai/v1/"])
def test_the_endpoint_is_taken_with_or_without_its_path(tail: str) -> None:
    """People paste what the portal or an SDK example shows them."""
    settings = Settings.read(REQUIRED | {"AZURE_OPENAI_ENDPOINT": f"https://res.openai.azure.com{tail}"})

    assert settings.endpoint == "https://res.openai.azure.com"


@pytest.mark.parametrize("path", ["/voice", "/openai", "/openai/v1x", "/x"])
def test_any_other_path_of_the_endpoint_is_kept(path: str) -> None:
    """A gateway may have the resource under a path of its own; slashes at the end are all that is cut."""
    settings = Settings.read(REQUIRED | {"AZURE_OPENAI_ENDPOINT": f"https://apim.example{path}//"})

    assert settings.endpoint == f"https://apim.example{path}"


@pytest.mark.parametrize("sign", ["WEBSITE_SITE_NAME", "WEBSITE_INSTANCE_ID"])
def test_anonymous_is_refused_on_azure(sign: str) -> None:
    """An endpoint that spends money for anyone on the internet is a mistake, so it is not served."""
    with pytest.raises(MisconfiguredError, match="CALLER_AUTH is anonymous"):
        Settings.read(REQUIRED | {"CALLER_AUTH": "anonymous", sign: "app"})


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"CALLER_AUTH": "easy_auth"}, ["WEBSITE_AUTH_ENABLED"]),
        ({"CALLER_AUTH": "easy_auth", "WEBSITE_AUTH_ENABLED": "false"}, ["WEBSITE_AUTH_ENABLED"]),
        ({"CALLER_AUTH": "jwt"}, ["JWT_ISSUER", "JWT_AUDIENCE"]),
        ({"CALLER_AUTH": "jwt", "JWT_ISSUER": "x"}, ["JWT_ISSUER", "JWT_AUDIENCE"]),
        ({"SAFETY_IDENTIFIER": "on"}, ["CALLER_HASH_KEY"]),
    ],
)
def test_what_a_mode_needs_is_named(given: dict[str, str], missing: list[str]) -> None:
    """A mode that could not keep strangers out, or that instances would disagree on, is not served."""
    with pytest.raises(MisconfiguredError) as caught:
        Settings.read(REQUIRED | given)

    assert len(caught.value.problems) == len(missing)
    assert all(name in str(caught.value) for name in missing)


def test_secret_settings_are_not_in_the_repr() -> None:
    """Settings end up in tracebacks and debuggers."""
    settings = Settings.read(
        REQUIRED | {"QUOTA_STORAGE_URI": "redis://:hunter2@localhost", "CALLER_HASH_KEY": "hunter2"}
    )

    assert "hunter2" not in repr(settings)
    assert "res.openai.azure.com" in repr(settings)  # the others help whoever reads the traceback


@pytest.mark.parametrize(
    ("value", "asks"),
    [
        ("", True),
        ("function_key", True),
        ("anonymus", True),
        ("JWT", True),
        ("anonymous", False),
        ("easy_auth", False),
        (" jwt ", False),
    ],
)
def test_a_typing_error_does_not_open_the_endpoint(value: str, asks: bool) -> None:  # noqa: FBT001 - an expectation
    """The platform asks for a key unless a mode that needs none is spelled right."""
    assert platform_checks_key({"CALLER_AUTH": value}) is asks
