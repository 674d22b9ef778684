"""A pytest plugin: Debian's Chromium, headless, over its own debugging protocol; and a site for its pages.

One browser serves the whole run. A page that a test opens itself has a context of its own, for its permissions.
"""

import base64
import functools
import http.server
import itertools
import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.hosting import ROOT, Host, without

_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers, where Chromium refuses its sandbox
    "--disable-gpu",
    "--disable-dev-shm-usage",  # a container's /dev/shm is too small
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=Translate,MediaRouter",
    "--use-fake-device-for-media-stream",  # a microphone that beeps
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",  # the only way to the simulated resource on a machine without network
    "--hide-scrollbars",
)
_REPLY_S = 30
MODES = {
    "post_connect": "all-fails",
    "mint_time": "fixed",
    "auto": "all-fails",
}  # each with a defect under which it works


def node_package(name: str) -> Path:
    """Return the directory of an npm package that package.json lists."""
    found = ROOT / "node_modules" / name
    if not found.is_dir() or shutil.which("node") is None:
        without(f"needs npm's {name}: install Node 20 or later and npm, then run make test")
    return found


class PageError(Exception):
    """What a page threw."""


class Browser:
    """A running Chromium. Also a context manager."""

    def __init__(self, executable: str, profile: Path) -> None:
        self._process = subprocess.Popen(
            [executable, *_FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if line.startswith("DevTools listening on "):
                break
        else:
            raise RuntimeError(f"Chromium did not start:\n{''.join(said)}")
        self._drain = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._drain.start()
        self._socket = connect(line.split()[-1], max_size=None, proxy=None)
        self._numbers = itertools.count(1)
        self._replies: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                message = json.loads(self._socket.recv())
                if "id" in message:
                    self._replies[message["id"]].put(message)
                elif page := self._pages.get(message.get("sessionId", "")):
                    page.note(message)
        for waiting in list(self._replies.values()):
            waiting.put({"error": {"message": "Chromium has ended"}})

    def command(self, method: str, session: str | None = None, /, **parameters: Any) -> dict[str, Any]:
        """Send one command of the protocol and return its result."""
        number = next(self._numbers)
        self._replies[number] = queue.SimpleQueue()
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        reply = self._replies[number].get(timeout=_REPLY_S)
        del self._replies[number]
        if "error" in reply:
            raise PageError(f"{method}: {reply['error']['message']}")
        return dict(reply["result"])

    def page(self, url: str, *, microphone: bool = True) -> "Page":
        """Open a page in a context of its own, where the microphone is allowed or denied."""
        context = self.command("Target.createBrowserContext")["browserContextId"]
        self.command(
            "Browser.setPermission",
            permission={"name": "microphone"},
            setting="granted" if microphone else "denied",
            browserContextId=context,
        )
        target = self.command("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, context)
        for domain in ("Page", "Runtime", "Log"):
            page.command(f"{domain}.enable")
        page.open(url)
        return page

    def close(self, session: str, context: str) -> None:
        """Close a page and all that belongs to it."""
        del self._pages[session]
        self.command("Target.disposeBrowserContext", browserContextId=context)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.command("Browser.close")
        self._process.wait(timeout=20)
        self._reader.join(timeout=20)
        self._drain.join(timeout=20)
        self._socket.close()
        assert self._process.stderr is not None
        self._process.stderr.close()


class Page:
    """One page. `errors` has every exception and console error so far."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self._browser, self._session, self._context = browser, session, context
        self._loaded = threading.Event()
        self.errors: list[str] = []

    def command(self, method: str, /, **parameters: Any) -> dict[str, Any]:
        """Send one command to this page."""
        return self._browser.command(method, self._session, **parameters)

    def note(self, message: dict[str, Any]) -> None:
        """Take an event of the protocol; called by the thread that reads them."""
        parameters = message["params"]
        match message["method"]:
            case "Page.loadEventFired":
                self._loaded.set()
            case "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description") or details["text"])
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.errors.append(parameters["entry"]["text"])

    def open(self, url: str) -> None:
        """Go to an address and wait until the page has loaded."""
        self._loaded.clear()
        self.command("Page.navigate", url=url)
        if not self._loaded.wait(_REPLY_S):
            raise TimeoutError(f"{url} did not load")

    def run(self, script: str, **values: Any) -> Any:
        """Run the body of an async function, with the values as its variables; return what it returns."""
        names = ", ".join(values)
        arguments = ", ".join(json.dumps(value) for value in values.values())
        reply = self.command(
            "Runtime.evaluate",
            expression=f"(async ({names}) => {{\n{script}\n}})({arguments})",
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in reply:
            thrown = reply["exceptionDetails"]["exception"]
            raise PageError(thrown.get("description") or json.dumps(thrown.get("value")))
        return reply["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key, as a keyboard does."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}
        for kind in ("keyDown", "keyUp"):
            self.command(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code="Space" if key == " " else key,
                windowsVirtualKeyCode=codes[key],
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def picture(self, width: int, height: int, *, scheme: str = "light", scale: int = 1) -> bytes:
        """Return a PNG of the page at this size, in the light or the dark scheme."""
        self.size(width, height, scheme=scheme, scale=scale)
        return base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"])

    def size(self, width: int, height: int, *, scheme: str = "light", scale: int = 1) -> None:
        """Give the page the size of a screen, and that screen's colour scheme."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def close(self) -> None:
        """Close the page and its context."""
        self._browser.close(self._session, self._context)


class _Files(http.server.SimpleHTTPRequestHandler):
    """The repository's files; at / a page with nothing on it."""

    def do_GET(self) -> None:
        if self.path != "/":
            super().do_GET()
            return
        body = b"<!doctype html><html lang='en'><title>A page</title><link rel='icon' href='data:,'></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: what a page misses, the page reports."""


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Serve the repository on localhost, where pages may use a microphone; the origin of test pages."""
    handler = functools.partial(_Files, directory=str(ROOT))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def mint_url(host: Host) -> str:
    """Return the tokenUrl of a client."""
    return f"{host.url}/api/realtime/client_secrets"


@pytest.fixture(scope="session")
def hosts(required: dict[str, str], site: str) -> Iterator[dict[str, str]]:
    """Start the endpoint in every mode, for pages of the site's origin; the URL of each one's mint."""
    with ExitStack() as running:
        started = {
            mode: running.enter_context(Host(required | {"TRANSCRIPTION_MODE": mode}, "--cors", site))
            for mode in MODES
        }
        yield {mode: mint_url(host) for mode, host in started.items()}


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for the whole run."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        without("needs Chromium: on Debian and Ubuntu, apt-get install chromium")
    with Browser(executable, tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="session")
def shared_page(browser: Browser, site: str) -> Iterator[Page]:
    """One page for all tests that need no other: a new one costs half a second."""
    opened = browser.page(f"{site}/")
    yield opened
    opened.close()


@pytest.fixture
def page(shared_page: Page, site: str) -> Page:
    """Open an empty document that may use the microphone; whatever the last one had open has ended."""
    shared_page.open(f"{site}/")
    shared_page.errors.clear()
    return shared_page
