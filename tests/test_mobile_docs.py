"""docs/mobile.md shows what the endpoint and the resource say today, and nothing that was never captured."""

import re

import pytest

from tests.mobile import DOCUMENT, blocks, capture, normalised, rewritten

TEXT = DOCUMENT.read_text("utf-8")


def test_the_captured_blocks_are_current() -> None:
    """`python -m tests.mobile` rewrites them; apart from ids, times and sizes that changes nothing."""
    captured = capture()

    assert sorted(blocks(TEXT)) == sorted(captured)
    assert normalised(rewritten(TEXT, captured)) == normalised(TEXT)


def test_what_is_not_captured_is_only_the_recipe() -> None:
    """No request, reply or event in it was written by hand."""
    fenced = re.findall(r"(?<=\n)```(\w+)\n", TEXT)

    assert len(fenced) == len(blocks(TEXT)) + 1
    assert fenced.count("js") == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('"transcription": {"model": "a"}', '"transcription": {"model": "b"}'),
        ('"session_update": null', '"session_update": {}'),
        ("HTTP/1.1 401", "HTTP/1.1 403"),
        ("m=audio 9 UDP", "m=application 9 UDP"),
    ],
)
def test_normalising_leaves_what_matters(one: str, other: str) -> None:
    """The proof that the comparison above can fail."""
    assert normalised(one) != normalised(other)
