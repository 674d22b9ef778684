"""What is sent to Azure for a mint, and when it is sent again; the other end answers what the test says."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from mint.errors import MintError
from mint.outcome import UpstreamError
from mint.session import Session
from mint.settings import FLAT_FIELD, GA_FIELD, Settings
from mint.trip import Trip
from mint.upstream import Upstream
from tests.answering import Answer, Answering

MINT = "/openai/v1/realtime/client_secrets"
BLOCK = {"model": "transcribe", "language": "sv"}
PLAIN = Session("default", {"type": "realtime", "instructions": "Säg hej."}, None, None)
TRANSCRIBED = Session("default", PLAIN.body, BLOCK, None)
MINTED = Answer(json.dumps({"value": "ek_x", "expires_at": 1, "session": {"id": "sess_1"}}).encode())


def refusal(status: int, code: str = "") -> Answer:
    return Answer(json.dumps({"error": {"code": code, "message": "no"}}).encode(), status)


@dataclass
class Tokens:
    """Stands for the identity: a new token after each one that was given up, as long as that may help."""

    may_help: bool = True
    given_up: list[str] = field(default_factory=list)
    while_waiting: Callable[[], None] = lambda: None

    def token(self, _wait_seconds: float) -> str:
        self.while_waiting()
        return f"token-{len(self.given_up)}"

    def discard(self, refused: str) -> bool:
        self.given_up.append(refused)
        return self.may_help


@pytest.fixture
def server() -> Iterator[Answering]:
    """A resource that mints."""
    with Answering() as running:
        running.answers[MINT] = [MINTED]
        yield running


def upstream(server: Answering, tokens: Tokens | None = None, **settings: Any) -> Upstream:
    known = Settings(endpoint=server.url, deployment="realtime", **settings)
    return Upstream(known, tokens or Tokens(), server.url)  # type: ignore[arg-type]  # the half of it that is used


def sent(server: Answering) -> list[Any]:
    return [json.loads(asked.body) for asked in server.asked]


def trip() -> Trip:
    return Trip(8, clock=lambda: 0.0)


def refused(
    server: Answering, tokens: Tokens | None = None, final: Callable[[UpstreamError], bool] = lambda _: False
) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        upstream(server, tokens).send(PLAIN, trip(), final=final)
    return caught.value


def test_a_session_without_transcription_is_sent_as_it_is(server: Answering) -> None:
    """With the identity's token, and nothing about lifetimes that nobody asked for."""
    minted = upstream(server).mint(PLAIN, trip())

    assert (minted.value, minted.configured) == ("ek_x", "off")
    assert sent(server) == [{"session": PLAIN.body}]
    assert server.asked[0].headers["Authorization"] == "Bearer token-0"


@pytest.mark.parametrize(
    ("place", "body"),
    [
        (GA_FIELD, PLAIN.body | {"audio": {"input": {"transcription": BLOCK}}}),
        (FLAT_FIELD, PLAIN.body | {"input_audio_transcription": BLOCK}),
    ],
)
def test_mint_puts_the_block_where_the_setting_says(place: str, body: dict[str, Any], server: Answering) -> None:
    """And says that it did: this is what is left when the workaround goes."""
    on_the_way = trip()

    minted = upstream(server, transcription_field=place).mint(TRANSCRIBED, on_the_way)

    assert minted.configured == "mint_time"
    assert sent(server) == [{"session": body}]
    assert on_the_way.block_sent


def test_the_block_is_sent_only_where_it_is_asked_for(server: Answering) -> None:
    """post_connect mints without; a session without a block has none to send."""
    without, none = trip(), trip()

    upstream(server).send(TRANSCRIBED, without)
    upstream(server).send(PLAIN, none, transcribed=True)

    assert sent(server) == [{"session": PLAIN.body}] * 2
    assert [without.block_sent, none.block_sent] == [False, False]


def test_a_lifetime_counts_from_the_mint(server: Answering) -> None:
    """In the shape that the API has."""
    upstream(server).send(Session("default", PLAIN.body, None, 60), trip())

    assert sent(server)[0]["expires_after"] == {"anchor": "created_at", "seconds": 60}


def test_an_api_version_goes_into_the_address(server: Answering) -> None:
    """For a resource that asks for one; by default none is sent."""
    server.answers[f"{MINT}?api-version=preview"] = [MINTED]

    upstream(server, api_version="preview").send(PLAIN, trip())

    assert [asked.path for asked in server.asked] == [f"{MINT}?api-version=preview"]


@pytest.mark.parametrize("status", [500, 503])
def test_a_passing_fault_is_tried_again_once(status: int, server: Answering) -> None:
    """The caller does not see the first; the second is an answer."""
    server.answers[MINT] = [refusal(status), MINTED]
    minted = upstream(server).send(PLAIN, trip())
    server.answers[MINT] = [refusal(status)]

    error = refused(server)

    assert minted.value == "ek_x"
    assert error.upstream_status == status
    assert len(server.asked) == 2 + 2


@pytest.mark.parametrize("answer", [refusal(400), refusal(429), refusal(403), refusal(404, "DeploymentNotFound")])
def test_what_asking_again_cannot_mend_is_not_asked_again(answer: Answer, server: Answering) -> None:
    """The answer would be the same."""
    server.answers[MINT] = [answer, MINTED]

    assert refused(server).upstream_status == answer.status
    assert len(server.asked) == 1


def test_a_refused_token_is_replaced_once(server: Answering) -> None:
    """By a fresh one, in the same request; if that is refused too, it is not the token."""
    server.answers[MINT] = [refusal(401), MINTED]
    tokens = Tokens()
    minted = upstream(server, tokens).send(PLAIN, trip())
    server.answers[MINT] = [refusal(401)]

    error = refused(server)

    assert minted.value == "ek_x"
    assert [asked.headers["Authorization"] for asked in server.asked[:2]] == ["Bearer token-0", "Bearer token-1"]
    assert tokens.given_up == ["token-0"]
    assert (error.code, len(server.asked)) == ("upstream_denied", 4)


def test_a_token_whose_replacement_cannot_help_is_not_replaced(server: Answering) -> None:
    """The identity says so where it has just fetched one for the same reason."""
    server.answers[MINT] = [refusal(401), MINTED]

    assert refused(server, Tokens(may_help=False)).code == "upstream_denied"
    assert len(server.asked) == 1


def test_a_fault_and_a_refused_token_each_have_a_second_try(server: Answering) -> None:
    """Three calls at most, for one request."""
    server.answers[MINT] = [refusal(503), refusal(401), MINTED]
    minted = upstream(server).send(PLAIN, trip())
    server.answers[MINT] = [refusal(401), refusal(503), refusal(503), MINTED]

    assert minted.value == "ek_x"
    assert refused(server).code == "upstream_unavailable"
    assert len(server.asked) == 3 + 3


def test_an_error_that_is_an_answer_is_raised_at_once(server: Answering) -> None:
    """`final` tells: a 500 may be what a probe wants to know."""
    server.answers[MINT] = [refusal(500), MINTED]

    error = refused(server, final=lambda error: error.upstream_status == 500)

    assert error.upstream_status == 500
    assert len(server.asked) == 1


def test_no_call_is_made_beyond_those_that_are_allowed(server: Answering) -> None:
    """A call may be kept for the second resource."""
    server.answers[MINT] = [refusal(503), MINTED]
    on_the_way = trip()
    on_the_way.calls_allowed = 1

    with pytest.raises(UpstreamError):
        upstream(server).send(PLAIN, on_the_way)

    assert len(server.asked) == 1


def test_when_the_token_took_all_the_time_nothing_is_sent(server: Answering) -> None:
    """A mint whose answer nobody waits for would be one for nobody."""
    now = [0.0]
    tokens = Tokens(while_waiting=lambda: now.__setitem__(0, 8.0))

    with pytest.raises(MintError) as caught:
        upstream(server, tokens).send(PLAIN, Trip(8, clock=lambda: now[0]))

    assert caught.value.code == "upstream_timeout"
    assert server.asked == []


@pytest.mark.parametrize(("session", "mode"), [(PLAIN, "off"), (TRANSCRIBED, "mint_time")])
def test_health_says_what_a_mint_would_do(session: Session, mode: str, server: Answering) -> None:
    """Without asking anyone."""
    health = upstream(server).health(session)

    assert health == {"mode": mode, "configured": mode, "mint_time_works": None, "checked_at": None}
    assert server.asked == []


def test_a_resource_alone_has_nothing_to_say_besides(server: Answering) -> None:
    """Its log lines are those of the requests."""
    assert upstream(server).take_notices() == []


def test_warming_opens_a_connection_and_mints_nothing(server: Answering) -> None:
    """The first mint finds it open."""
    upstream(server).warm()

    assert [(asked.path, asked.body) for asked in server.asked] == [(MINT, b"")]
