"""What the counts support, and never more: diagnose.verdict and diagnose.tally as the pure functions they are."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from diagnose.identity import who_is
from diagnose.payloads import shown
from diagnose.records import IDENTITY, Ack, Call, Current, Findings, Outcome, Update, Variant
from diagnose.remedies import resource_name, shown_endpoint
from diagnose.tally import chance, could_hide, tally
from diagnose.variants import interleaved, variants
from diagnose.verdict import decide
from mint.settings import FLAT_FIELD, GA_FIELD

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CURRENT = Current(
    endpoint="https://contoso.openai.azure.com",
    deployment="gpt-realtime",
    mode="post_connect",
    field=GA_FIELD,
    scope="https://cognitiveservices.azure.com/.default",
)


def calls(field: str | None, minted: int, failed: int, outcome: Outcome = Outcome.FAILED) -> list[Call]:
    """Calls of one kind: so many that minted, so many that came to `outcome`."""
    status = 500 if outcome is Outcome.FAILED else 429
    return [
        Call(0, 1, Variant(field), NOW, *((Outcome.MINTED, 200) if good else (outcome, status)), milliseconds=1)
        for good in [True] * minted + [False] * failed
    ]


def findings(*made: list[Call], mode: str = "post_connect", updates: tuple[Update, ...] = ()) -> Findings:
    """The findings of a run that made these calls."""
    current = replace(CURRENT, mode=mode)
    return Findings(NOW, current, {}, calls=tuple(call for some in made for call in some), updates=updates)


def test_too_few_to_blame_the_block() -> None:
    """Two failures of five beside none of five may be luck; the verdict says so and asks for more calls."""
    verdict = decide(findings(calls(None, 5, 0), calls(GA_FIELD, 3, 2), calls(FLAT_FIELD, 3, 2)))

    assert dict(verdict.settings)["TRANSCRIPTION_MODE"] == "auto"
    assert (
        "chance would split them so in 1 of 4 runs. That is too few calls to blame the block" in verdict.because[0]
    )


def test_enough_to_blame_the_block() -> None:
    """Five of five beside none of five is beyond luck, and is said in those numbers."""
    verdict = decide(findings(calls(None, 5, 0), calls(GA_FIELD, 0, 5), calls(FLAT_FIELD, 0, 5)))

    assert verdict.because[0] == (
        f"With {GA_FIELD}: 5 of 5 failed (500); without: 5 of 5 succeeded; interleaved. "
        "Were the block irrelevant, chance would split them so in 1 of 252 runs. "
        "Every time: from 5 calls, a rate under 55 % is unlikely."
    )


def test_one_failure_without_the_block_is_enough_to_conclude_nothing() -> None:
    """A single failure without the block spoils the comparison, however clear the rest looks."""
    verdict = decide(findings(calls(None, 4, 1), calls(GA_FIELD, 0, 5), calls(FLAT_FIELD, 0, 5)))

    assert verdict.exit_status == 1
    assert "Nothing is concluded about the block" in verdict.headline
    assert verdict.settings == ()


def test_throttling_is_no_evidence() -> None:
    """A 429 counts neither for nor against the block."""
    verdict = decide(
        findings(calls(None, 5, 0), *[calls(name, 0, 5, Outcome.THROTTLED) for name in (GA_FIELD, FLAT_FIELD)])
    )

    assert verdict.exit_status == 0
    assert "told nothing" in verdict.headline
    assert verdict.because[0].startswith(f"With {GA_FIELD}: nothing learnt (429); without: 5 of 5 succeeded")
    assert dict(verdict.settings)["TRANSCRIPTION_MODE"] == "post_connect"


def test_throttled_mints_without_the_block() -> None:
    """Where every mint without the block was throttled there is nothing to compare with."""
    verdict = decide(findings(calls(None, 0, 5, Outcome.THROTTLED), calls(GA_FIELD, 0, 5)))

    assert verdict.exit_status == 1
    assert "nothing is concluded about the block" in verdict.headline


@pytest.mark.parametrize(("mode", "status"), [("mint_time", 1), ("post_connect", 0), ("auto", 0)])
def test_only_settings_that_fail_callers_are_a_fault(mode: str, status: int) -> None:
    """The same intermittent defect is a fault with mint_time and none with the modes that avoid it."""
    verdict = decide(findings(calls(None, 5, 0), calls(GA_FIELD, 2, 3), calls(FLAT_FIELD, 0, 5), mode=mode))

    assert verdict.exit_status == status


def test_auto_may_stay() -> None:
    """Auto does by itself what the counts support, so that nothing else is named while it fails nobody."""
    made = calls(None, 5, 0), calls(GA_FIELD, 0, 5), calls(FLAT_FIELD, 0, 5)
    verdict = decide(findings(*made, mode="auto"))

    assert dict(verdict.settings)["TRANSCRIPTION_MODE"] == "auto"
    assert not verdict.new


def test_auto_with_an_update_that_is_refused() -> None:
    """Auto defers while mint-time fails, so that a refused session.update is its fault too."""
    updates = (Update(GA_FIELD, Ack.ERROR), Update(FLAT_FIELD, Ack.UPDATED))
    made = calls(None, 5, 0), calls(GA_FIELD, 0, 5), calls(FLAT_FIELD, 0, 5)
    verdict = decide(findings(*made, mode="auto", updates=updates))

    assert verdict.exit_status == 1
    assert verdict.settings == (("TRANSCRIPTION_MODE", "post_connect"), ("TRANSCRIPTION_FIELD", FLAT_FIELD))


def test_no_websocket_is_no_fault() -> None:
    """A client secret that opens no WebSocket is told, and is not held against the settings."""
    updates = (Update(GA_FIELD, Ack.NOT_CONNECTED, status=401),)
    verdict = decide(findings(calls(None, 5, 0), calls(GA_FIELD, 0, 5), calls(FLAT_FIELD, 0, 5), updates=updates))

    assert verdict.exit_status == 0
    assert f"No WebSocket was opened (401): session.update with {GA_FIELD} was not tried." in verdict.because


def test_chance_is_fishers() -> None:
    """The odds are those of drawing the failures blindly."""
    with_block, without = tally(calls(GA_FIELD, 0, 3), Variant(GA_FIELD)), tally(calls(None, 3, 0), Variant(None))

    assert chance(with_block, without) == pytest.approx(1 / 20)
    assert could_hide(20) == 14


def test_every_round_has_every_kind() -> None:
    """All kinds are in each round, the key's and the second region's among them."""
    kinds = variants(transcribed=True, identity=True, api_key=True, second=True)
    order = list(interleaved(kinds, 2))

    assert len(kinds) == 12
    assert {variant for number, variant in order if number == 2} == set(kinds)
    assert order[0][1] != order[12][1]


def test_without_an_identity_only_the_key_is_tried() -> None:
    """A second resource has another key, so that it is left alone."""
    kinds = variants(transcribed=True, identity=False, api_key=True, second=True)

    assert IDENTITY not in {kind.auth for kind in kinds}
    assert len(kinds) == 3


@pytest.mark.parametrize(
    ("endpoint", "shown_as"),
    [
        ("https://contoso.openai.azure.com", "https://RESOURCE.openai.azure.com"),
        ("https://contoso.cognitiveservices.azure.com", "https://RESOURCE.cognitiveservices.azure.com"),
        ("https://contoso.openai.azure.us", "https://RESOURCE.openai.azure.us"),
        ("https://contoso.azure-api.net/voice", "https://RESOURCE.azure-api.net"),
        ("https://ai.contoso.com", "https://RESOURCE"),
    ],
)
def test_the_resource_is_named_only_if_asked(endpoint: str, shown_as: str) -> None:
    """The service's domain is told, the customer's name never."""
    assert shown_endpoint(endpoint, show=False) == shown_as
    assert shown_endpoint(endpoint, show=True) == endpoint
    assert resource_name("https://contoso.openai.azure.com") == "contoso"


def test_placeholders() -> None:
    """What a profile says in words, and what its tools authenticate with, does not leave the house."""
    session = {
        "instructions": "Be kind.",
        "tools": [{"type": "mcp", "authorization": "s3cret"}],
        "audio": {"input": {"transcription": {"model": "t", "prompt": "Names", "keywords": ["Ada"]}}},
        "max_output_tokens": 100,
    }

    assert shown({"session": session})["session"] == {
        "instructions": "<instructions>",
        "tools": "<tools>",
        "audio": {"input": {"transcription": {"model": "t", "prompt": "<prompt>", "keywords": "<keywords>"}}},
        "max_output_tokens": 100,
    }


@pytest.mark.parametrize("token", ["", "a.b.c", "opaque", "e30.e30.e30", "e30.bm90IGpzb24.e30"])
def test_an_unreadable_token_names_nobody(token: str) -> None:
    """A token that is no JWT is used all the same, without a name."""
    assert who_is(token) is None
