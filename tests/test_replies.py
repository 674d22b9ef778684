"""What Azure's reply means, without a server: every kind of reply, to the letter of what is made of it."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from mint.errors import CODES, MintError
from mint.outcome import Minted, Remedy, UpstreamError
from mint.replies import Reply, read


def reply(status: int, body: object = b"", **headers: str) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(
        status, CaseInsensitiveDict({name.replace("_", "-"): text for name, text in headers.items()}), raw
    )


def minted(body: object) -> Minted:
    return read(reply(200, body))


def refused(status: int, body: object = b"", **headers: str) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        read(reply(status, body, **headers))
    assert caught.value.upstream_status == status
    return caught.value


def error(code: object = "", message: object = "", **more: object) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


@pytest.mark.parametrize("expires_at", [1756310470, "1756310470", 1756310470.9])
def test_a_secret_is_read(expires_at: object) -> None:
    """The value, its end in whole seconds, the session's id and what Azure says it configured."""
    session = {"id": "sess_1", "audio": {}}

    assert minted({"value": "ek_a", "expires_at": expires_at, "session": session}) == Minted(
        "ek_a", 1756310470, "sess_1", session
    )


def test_until_someone_says_otherwise_transcription_is_off() -> None:
    """A session without a block is answered so, and nothing is to be sent for it."""
    secret = minted({"value": "ek_a", "expires_at": 1})

    assert (secret.configured, secret.session_update) == ("off", None)


def test_what_was_minted_is_not_printed() -> None:
    """Neither the secret nor the instructions, in a traceback or a debugger."""
    raw = reply(200, {"value": "ek_hidden", "expires_at": 1, "session": {"instructions": "Be hidden."}})

    assert "hidden" not in repr(raw) + repr(read(raw))


def test_the_previews_shape_is_read() -> None:
    """There the session is around the secret."""
    document = {"id": "sess_2", "client_secret": {"value": "ek_b", "expires_at": 7}}

    assert minted(document) == Minted("ek_b", 7, "sess_2", document)


@pytest.mark.parametrize("session", [None, "x", [], {"id": None}, {"id": 5}, {"id": ""}, {"id": "\udfff"}])
def test_a_session_without_an_id_is_no_hindrance(session: object) -> None:
    """The secret works without; an id that cannot be sent on is none."""
    assert minted({"value": "ek_a", "expires_at": 0, "session": session}).session_id == ""


@pytest.mark.parametrize(
    "document",
    [
        {"expires_at": 1},
        {"value": "", "expires_at": 1},
        {"value": 5, "expires_at": 1},
        {"value": "\ud800", "expires_at": 1},
        {"value": "ek_ä", "expires_at": 1},
        {"value": "ek_a"},
        {"value": "ek_a", "expires_at": True},
        {"value": "ek_a", "expires_at": "soon"},
        {"value": "ek_a", "expires_at": "-1"},
        {"value": "ek_a", "expires_at": -1},
        {"value": "ek_a", "expires_at": 10**12},
        {"value": "ek_a", "expires_at": 10**400},
        {"value": "ek_a", "expires_at": "1" * 13},
        {"value": "ek_a", "expires_at": float("nan")},
        {"value": "ek_a", "expires_at": float("inf")},
        {"value": "ek_a", "expires_at": [1]},
        {"client_secret": {"expires_at": 1}, "value": "ek_a"},
        [],
        "ek_a",
        b"",
        b"ek_a",
        b"[" * 100_000,
    ],
)
def test_a_200_without_a_usable_secret_is_no_mint(document: object) -> None:
    """It may have minted, so that nothing suggests to try again within the request."""
    refusal = refused(200, document, apim_request_id="r-1")

    assert (refusal.code, refusal.remedy) == ("upstream_unavailable", Remedy.NONE)
    assert refusal.upstream_request_id == "r-1"


@pytest.mark.parametrize(
    ("status", "said", "code", "remedy", "says"),
    [
        (404, error("DeploymentNotFound"), "deployment_not_found", Remedy.NONE, "case-sensitive"),
        (400, error("DeploymentNotFound"), "deployment_not_found", Remedy.NONE, "case-sensitive"),
        (400, error("OpperationNotSupported"), "deployment_not_realtime", Remedy.NONE, "gpt-realtime"),
        (400, error("OperationNotSupported"), "deployment_not_realtime", Remedy.NONE, "gpt-realtime"),
        (401, error("401"), "upstream_denied", Remedy.FRESH_TOKEN, "AZURE_OPENAI_SCOPE"),
        (401, b"", "upstream_denied", Remedy.FRESH_TOKEN, "AZURE_OPENAI_SCOPE"),
        (401, {"statusCode": 401, "message": "x"}, "upstream_denied", Remedy.FRESH_TOKEN, "AZURE_OPENAI_SCOPE"),
        (401, error("PermissionDenied"), "upstream_denied", Remedy.NONE, "Cognitive Services OpenAI User"),
        (403, error("PermissionDenied"), "upstream_denied", Remedy.NONE, "Cognitive Services OpenAI User"),
        (403, error("AccessDenied"), "upstream_denied", Remedy.NONE, "networking"),
        (403, error("403", "PUBLIC ACCESS is off"), "upstream_denied", Remedy.NONE, "networking"),
        (403, error("403", "Virtual Network rules"), "upstream_denied", Remedy.NONE, "networking"),
        (403, error("403", "the Firewall"), "upstream_denied", Remedy.NONE, "networking"),
        (403, error("403", "no"), "upstream_denied", Remedy.NONE, "blocked"),
        (500, b"", "upstream_unavailable", Remedy.AGAIN, "500"),
        (502, b"<html>", "upstream_unavailable", Remedy.AGAIN, "502"),
        (503, b"", "upstream_unavailable", Remedy.AGAIN, "503"),
        (504, b"", "upstream_unavailable", Remedy.AGAIN, "504"),
        (501, b"", "upstream_unavailable", Remedy.NONE, "501"),
        (505, b"", "upstream_unavailable", Remedy.NONE, "505"),
        (400, error("InvalidSessionType"), "upstream_rejected", Remedy.NONE, "session.type is realtime"),
        (400, error("x"), "upstream_rejected", Remedy.NONE, "the profile's fields"),
        (400, {"error": "text"}, "upstream_rejected", Remedy.NONE, "the profile's fields"),
        (404, error("404"), "upstream_rejected", Remedy.NONE, "answered 404"),
        (302, b"", "upstream_rejected", Remedy.NONE, "answered 302"),
        (201, b"", "upstream_rejected", Remedy.NONE, "answered 201"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, said: object, code: str, remedy: Remedy, says: str) -> None:
    """Each of Azure's ways to refuse has one code, one remedy, and words for a person."""
    refusal = refused(status, said, apim_request_id="r-2")

    assert (refusal.code, refusal.remedy, refusal.upstream_request_id) == (code, remedy, "r-2")
    assert says in refusal.message
    assert refusal.param is None
    assert refusal.retry_after is None


@pytest.mark.parametrize(
    ("param", "says"),
    [
        ("session.audio.output.voice", "session.audio.output.voice in the profile"),
        ("expires_after.seconds", "CLIENT_SECRET_TTL_SECONDS"),
        ("session.model", "Check AZURE_OPENAI_REALTIME_DEPLOYMENT."),
        ("session.tools[0].name", "session.tools[0].name in the profile"),
        ("_" + "x" * 199, "x in the profile"),
    ],
)
def test_a_field_at_fault_is_named(param: str, says: str) -> None:
    """By its path, and by the setting where it comes from one."""
    refusal = refused(400, error("x", "y", param=param))

    assert (refusal.code, refusal.param) == ("upstream_rejected", param)
    assert says in refusal.message


@pytest.mark.parametrize("param", ["a b", "ek_ä", "0a", "", 5, None, ["a"], "x" * 201, "a\n", "<b>"])
def test_what_is_no_path_is_not_repeated(param: object) -> None:
    """Azure's text could hold anything; a path of fields cannot."""
    assert refused(400, error("x", "y", param=param)).param is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 5),
        ({"Retry_After": ""}, 5),
        ({"Retry_After": "7"}, 7),
        ({"Retry_After": " 7 "}, 7),
        ({"Retry_After": "7.1"}, 8),
        ({"Retry_After": "0"}, 1),
        ({"Retry_After": "-3"}, 1),
        ({"Retry_After": "soon"}, 5),
        ({"Retry_After": "1.2.3"}, 5),
        ({"Retry_After": "9" * 400}, 5),
        ({"Retry_After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 1),
        ({"Retry_After": "Thu, 01 Jan 1970 00:00:00 -0000"}, 5),
        ({"retry_after_ms": "1500"}, 2),
        ({"retry_after_ms": "1001"}, 2),
        ({"retry_after_ms": "1500", "Retry_After": "60"}, 2),
        ({"retry_after_ms": "1"}, 1),
        ({"retry_after_ms": "nan"}, 5),
        ({"retry_after_ms": "1e999"}, 5),
        ({"retry_after_ms": "x"}, 5),
    ],
)
def test_throttling_states_whole_seconds(headers: dict[str, str], seconds: int) -> None:
    """At least one, rounded up, five where Azure says nothing that can be read."""
    refusal = refused(429, error("429", "slow down"), **headers)

    assert (refusal.code, refusal.retry_after, refusal.remedy) == ("upstream_throttled", seconds, Remedy.NONE)
    assert f"{seconds} s" in refusal.message


def test_throttling_until_a_date_states_the_seconds_until_then() -> None:
    """HTTP allows a date."""
    when = datetime.now(UTC) + timedelta(seconds=90)

    wait = refused(429, b"", Retry_After=format_datetime(when, usegmt=True)).retry_after

    assert wait in {89, 90}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (error("Some_Code", "x" * 600), "Some_Code"),
        ({"statusCode": 418, "message": "tea"}, "418"),
        ({"error": "text"}, ""),
    ],
)
def test_what_azure_wrote_is_for_the_log(said: object, code: str) -> None:
    """No longer than a line of a log can be, and never in the message."""
    refusal = refused(418, said)

    assert len(refusal.detail or "") <= 500
    assert code in (refusal.detail or "")
    assert refusal.message.startswith("Azure OpenAI answered 418")


def test_a_reply_without_words_has_no_detail() -> None:
    """Nothing is logged where nothing was said."""
    assert refused(500).detail is None
    assert refused(500, {"error": 5}).detail is None


def test_every_code_is_answered_as_the_table_says() -> None:
    """Status and envelope of each; the SDKs are told not to try again where that cannot help."""
    for code, row in CODES.items():
        ours = MintError(code, "words", param="a.b", upstream_request_id="r-3", retry_after=0)
        envelope = {
            "message": "words",
            "type": row.type,
            "code": code,
            "param": "a.b",
            "upstream_request_id": "r-3",
        }

        assert ours.body() == {"error": envelope}
        assert ours.headers() == {"Retry-After": "1"} | ({} if row.retry else {"x-should-retry": "false"})
        assert ours.status == row.status
        assert str(ours) == "words"  # what a traceback shows
        assert row.type == ("invalid_request_error" if row.status < 500 else "server_error")


def test_an_error_without_a_wait_states_none() -> None:
    """And a longer one is passed on."""
    assert "Retry-After" not in MintError("overloaded", "x").headers()
    assert MintError("overloaded", "x", retry_after=9).headers() == {"Retry-After": "9"}


def test_the_table_of_codes() -> None:
    """The contract's table: status, and whether asking again may help."""
    table = {code: (row.status, row.retry) for code, row in CODES.items()}

    assert table == {
        "invalid_json": (400, False),
        "invalid_value": (400, False),
        "unknown_field": (400, False),
        "field_not_allowed": (400, False),
        "unknown_profile": (400, False),
        "body_too_large": (413, False),
        "unsupported_media_type": (415, False),
        "unauthenticated": (401, False),
        "forbidden": (403, False),
        "keys_unavailable": (503, True),
        "quota_exceeded": (429, True),
        "overloaded": (503, True),
        "misconfigured": (500, False),
        "internal_error": (500, True),
        "identity_unavailable": (502, True),
        "upstream_denied": (502, False),
        "deployment_not_found": (502, False),
        "deployment_not_realtime": (502, False),
        "upstream_rejected": (502, False),
        "transcription_rejected": (502, False),
        "upstream_throttled": (503, True),
        "upstream_unavailable": (502, True),
        "upstream_timeout": (504, True),
    }
