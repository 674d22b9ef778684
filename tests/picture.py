"""`python -m tests.picture`: draws docs/demo.png, the demo page after a short conversation, in a real browser.

With a directory as its argument it draws every size and scheme there instead, for a look before a change goes out.
"""

import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.browser import Browser, Page
from tests.hosting import ROOT, Host
from tests.simulated import SimulatedAzure

SHOWN = """
const element = (id) => document.getElementById(id);
const shown = (test) => new Promise((resolve) => {
  const look = () => test() && (watching.disconnect(), resolve());
  const watching = new MutationObserver(look);
  watching.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  look();
});
const state = () => element("transcription").dataset.state;
"""
TALK = f"""{SHOWN}element("start").click();
await shown(() => document.querySelectorAll(".turn.user.done").length === 1);
element("mute").click();
element("answer").click();
await shown(() => document.querySelectorAll(".turn.assistant.done").length === 1);
element("text").value = "And can you read what I type?";
document.querySelector("#type button").click();
await shown(() => document.querySelectorAll(".turn.assistant.done").length === 2);
element("events").open = true;
element("log").scrollTop = 0;
"""
SIZES = {"desktop": (1180, 900), "phone": (390, 844)}


def talked(browser: Browser, url: str) -> Page:
    """Open the page and have the conversation."""
    page = browser.page(url)
    page.size(*SIZES["desktop"])
    page.run(TALK)
    return page


def main() -> None:
    """Start all that it takes, and draw."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        sys.exit("Chromium is needed: on Debian and Ubuntu, apt-get install chromium")
    with ExitStack() as running:
        azure = SimulatedAzure("--defect", "all-fails")
        running.callback(azure.stop)
        host = running.enter_context(Host(azure.app_env, "--page", str(ROOT / "clients/web")))
        profile = Path(running.enter_context(tempfile.TemporaryDirectory()))
        browser = running.enter_context(Browser(executable, profile))
        page = talked(browser, f"{host.url}/")
        if not sys.argv[1:]:
            (ROOT / "docs/demo.png").write_bytes(page.picture(*SIZES["desktop"]))
            return
        directory = Path(sys.argv[1])
        for name, (width, height) in SIZES.items():
            for scheme in ("light", "dark"):
                picture = page.picture(width, height, scheme=scheme, scale=2 if name == "phone" else 1)
                (directory / f"{name}-{scheme}.png").write_bytes(picture)


if __name__ == "__main__":
    main()
