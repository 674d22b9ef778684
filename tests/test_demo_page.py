"""clients/web/index.html as a person meets it, in a real Chromium: by keyboard, by eye and by screen reader."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import Browser, Page, node_package
from tests.conftest import Endpoint
from tests.hosting import ROOT, Host
from tests.picture import SHOWN, TALK
from tests.simulated import SimulatedAzure

PAGE = str(ROOT / "clients/web")


@pytest.fixture(scope="session")
def demo_host(required: dict[str, str]) -> Iterator[Host]:
    """Serve the page as `make run` does, beside the endpoint."""
    with Host(required, "--page", PAGE) as host:
        yield host


@pytest.fixture
def demo(browser: Browser, demo_host: Host, azure: SimulatedAzure) -> Iterator[Page]:
    """Open the page, over a resource that needs the session update."""
    azure.set(defect="all-fails")
    page = browser.page(f"{demo_host.url}/")
    yield page
    page.close()


def violations(page: Page) -> list[str]:
    """Return what axe finds wrong with the page as it is now: the rule, and where."""
    axe = (node_package("axe-core") / "axe.min.js").read_text("utf-8")
    found = page.run(f"{axe}\nreturn (await axe.run()).violations;")
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]


def text(page: Page, *ids: str) -> list[str]:
    return [str(page.run("return document.getElementById(id).innerText;", id=one)) for one in ids]


def test_both_sides_of_a_conversation_are_in_writing(demo: Page) -> None:
    """The user's spoken and typed words and the answers, in order; the state; the mode; every event."""
    demo.run(TALK)

    turns = demo.run("return [...document.querySelectorAll('.turn')].map((turn) => turn.innerText.split('\\n'));")
    word, reason, mode, model, microphone, count = text(
        demo, "state-word", "state-reason", "mode", "model", "microphone", "count"
    )
    assert turns[0][0] == "You"
    assert turns[0][1].startswith("simulated transcript of")
    # The fake microphone may beep once more before it is muted.
    assert [turn for turn in turns[1:] if not turn[1].startswith("simulated transcript")] == [
        ["Assistant", "This is a simulated answer."],
        ["You", "And can you read what I type?"],
        ["Assistant", "This is a simulated answer."],
    ]
    assert (word, reason) == ("On", "Proven: what you said was written down.")
    assert mode == "After connecting: the page sent a session update"
    assert (model, microphone) == ("gpt-realtime", "Muted")
    assert int(count) == demo.run("return document.querySelectorAll('#log > li').length;")
    assert demo.errors == []


def test_it_can_be_used_by_keyboard_alone(demo: Page) -> None:
    """The first Tab is on the button; Enter starts, and Space ends."""
    demo.press("Tab")
    demo.press("Enter")
    demo.run(SHOWN + "await shown(() => state() === 'on');")

    focused = demo.run("return document.activeElement.innerText;")
    demo.press(" ")
    demo.run(SHOWN + "await shown(() => state() === 'idle');")

    assert focused == "End"
    assert text(demo, "start", "state-word", "microphone") == ["Start talking", "Off", "Off"]


@pytest.mark.parametrize(
    ("switches", "reason"),
    [
        ({"transcription_result": "failed"}, "Input transcription failed"),
        ({"update_ack": "error"}, "The server refused to turn transcription on"),
        ({"transcription_result": "close"}, "The connection has ended."),
    ],
)
def test_a_failure_cannot_be_missed(
    switches: dict[str, Any], reason: str, demo: Page, azure: SimulatedAzure
) -> None:
    """The word, the colour, the reason, and the spoken turn itself marked as lost."""
    azure.set(**switches)

    demo.run(
        SHOWN
        + """
        const colour = () => getComputedStyle(element("transcription")).backgroundColor;
        globalThis.before = colour();
        globalThis.colour = colour;
        element("start").click();
        await shown(() => state() === "failed");
        """
    )

    assert text(demo, "state-word") == ["Failed"]
    assert reason in text(demo, "state-reason")[0]
    assert demo.run("return colour() !== before;")
    if switches != {"update_ack": "error"}:  # refused before anything was said
        demo.run(SHOWN + "await shown(() => document.querySelector('.turn.user.lost'));")
    assert violations(demo) == []


def test_an_error_is_in_plain_words(browser: Browser, start_endpoint: Any) -> None:
    """A wrong key is a sentence on the page, and the page can be used again at once."""
    endpoint: Endpoint = start_endpoint("--page", PAGE, "--keys", "a-function-key")
    page = browser.page(f"{endpoint.host.url}/")

    page.run(SHOWN + "element('start').click(); await shown(() => element('error').innerText);")
    error, start = text(page, "error", "start")
    wrong = violations(page)
    page.run(
        SHOWN
        + """
        document.querySelector("[name=functionKey]").value = "a-function-key";
        element("start").click();
        await shown(() => state() === "on");
        """
    )
    cleared = text(page, "error")
    page.close()

    assert error == "The token endpoint did not accept the credential. Sign in again."
    assert start == "Start talking"
    assert wrong == []
    assert cleared == [""]


def test_a_denied_microphone_is_in_plain_words(browser: Browser, demo_host: Host) -> None:
    """What to do, where the user looks."""
    page = browser.page(f"{demo_host.url}/", microphone=False)

    page.run(SHOWN + "element('start').click(); await shown(() => element('error').innerText);")
    said = text(page, "error", "state-word")
    page.close()

    assert said == ["The microphone was not allowed. Allow it and try again.", "Not connected"]


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1180, "light")])
def test_axe_finds_nothing(width: int, scheme: str, demo: Page) -> None:
    """Before, during and with everything unfolded; on a phone and a desktop, in light and dark."""
    demo.size(width, 844, scheme=scheme)

    before = violations(demo)
    demo.run(TALK + "for (const details of document.querySelectorAll('details')) details.open = true;")

    assert before == []
    assert violations(demo) == []
    assert demo.run("return document.documentElement.scrollWidth <= innerWidth;")


def test_axe_is_awake(demo: Page) -> None:
    """The proof that the tests above can fail: a button without a name is found."""
    demo.run("document.getElementById('start').textContent = '';")

    assert [one.partition(":")[0] for one in violations(demo)] == ["button-name"]


def test_the_page_leaves_the_functions_where_they_are(demo_host: Host, azure: SimulatedAzure) -> None:
    """At / the page, under /api the app, and 404 for the rest."""
    assert azure.url
    endpoint = Endpoint(demo_host)
    paths = ("", "realtime.js", "api/health", "none")

    answers = [endpoint.http.get(f"{demo_host.url}/{path}", timeout=10) for path in paths]
    minted = endpoint.mint()
    endpoint.http.close()

    assert [answer.status_code for answer in answers] == [200, 200, 200, 404]
    assert "<h1>" in answers[0].text
    assert json.loads(answers[2].text)["status"] == "ok"
    assert minted.status_code == 200
