"""Reading a request's body: what is JSON here and what is not."""

import pytest

from mint.body import read
from mint.errors import MintError

JSON = "application/json"


def refused(raw: bytes, content_type: str | None = JSON) -> MintError:
    with pytest.raises(MintError) as caught:
        read(raw, content_type)
    return caught.value


@pytest.mark.parametrize("content_type", [None, "", JSON, "application/json; charset=utf-8", "text/plain"])
@pytest.mark.parametrize("raw", [b"", b" \r\n"])
def test_an_empty_body_asks_for_nothing(raw: bytes, content_type: str | None) -> None:
    """The openai package of npm sends an empty body as JSON, curl -X POST sends none at all."""
    assert read(raw, content_type) == {}


@pytest.mark.parametrize("content_type", [None, JSON, "Application/JSON", "application/json;charset=UTF-8"])
def test_a_json_object_is_read(content_type: str | None) -> None:
    """A missing Content-Type is taken for JSON."""
    assert read('{"session": {"a": "é"}}'.encode(), content_type) == {"session": {"a": "é"}}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_another_content_type_is_415(content_type: str) -> None:
    """A form or a text is not read as JSON, though it may look like it."""
    assert refused(b"{}", content_type).code == "unsupported_media_type"


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"5",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 2}',
        b'{"s": {"b": 1, "b": 1}}',
        rb'{"a": "\ud800"}',
        rb'{"\udfff": 1}',
        b'{"a": "\xff"}',
        b"\xff\xfe{\x00}\x00",
        b"[" * 16000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_not_strict_json_is_refused(raw: bytes) -> None:
    """Lenient JSON has two readings, and what is read here is sent on."""
    error = refused(raw)

    assert (error.code, error.status) == ("invalid_json", 400)
    assert len(error.message) < 120


def test_a_body_over_the_limit_is_413() -> None:
    """The limit is 16 KiB, as docs/openapi.yaml has it, and counts before anything is parsed."""
    most = 16 * 1024

    assert refused(b"{" + b" " * (most - 1) + b"}").code == "body_too_large"
    assert read(b"{" + b" " * (most - 2) + b"}", JSON) == {}
