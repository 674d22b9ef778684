"""`python -m diagnose --app URL`: whether a published app mints for those it should, and for nobody else.

From outside, as a client: it sees what the platform in front of the app does, which no test on a laptop can. The
client secrets it gets are dropped; none is printed.
"""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import requests

from diagnose.app_words import (
    BROKE_OFF,
    CACHED,
    CLOCK,
    CORS_OPEN,
    NO_CREDENTIAL,
    NOT_THIS_APP,
    OPEN,
    SETTINGS,
    UNREACHABLE,
    judged,
    no_health,
    not_let_in,
    plain,
    refused,
    why,
)
from diagnose.connect import deliver
from diagnose.records import Help, Step
from diagnose.verdict import FAULTY, HEALTHY, NOT_RUN
from mint.parse import safe_url

_MINT, _HEALTH = "/api/realtime/client_secrets", "/api/health"
_STRANGER = "https://not-listed.invalid"
_PREFLIGHT = "authorization,content-type,x-functions-key"
# What App Service authentication would write; without it in front, anyone can.
_FORGED = {
    "X-MS-CLIENT-PRINCIPAL": base64.b64encode(json.dumps({"auth_typ": "aad", "claims": []}).encode()).decode(),
    "X-MS-CLIENT-PRINCIPAL-ID": "diagnose",
    "X-MS-CLIENT-PRINCIPAL-IDP": "aad",
}

VERDICTS = {
    HEALTHY: "The app mints for those it should, and for nobody else that was tried.",
    FAULTY: "Something has to change: see the steps that failed.",
    NOT_RUN: "Nothing was learnt: there is no answer at that address.",
}


class Show(Protocol):
    """Where the run tells of itself."""

    def step(self, step: Step) -> None:
        """Show a finished step."""


@dataclass(frozen=True, slots=True)
class Target:
    """The app, and what it is called with. `origins` are those of web pages that should be let in."""

    url: str
    key: str | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)
    origins: tuple[str, ...] = ()
    profile: str | None = None
    timeout: float = 15
    connect: bool = True

    @property
    def credentials(self) -> dict[str, str]:
        """The headers that let a caller in."""
        headers = {"x-functions-key": self.key} if self.key else {}
        return headers | ({"Authorization": f"Bearer {self.bearer}"} if self.bearer else {})

    @property
    def wrong_credentials(self) -> dict[str, str]:
        """The same, each with one character changed: not the last, which in base64 may say nothing."""
        return {name: _spoilt(value) for name, value in self.credentials.items()}


def prove(target: Target, show: Show) -> int:
    """Take every step, and return the exit status."""
    return _Proof(target, show).all()


class _Proof:
    """One run under way."""

    def __init__(self, target: Target, show: Show) -> None:
        self._target = target
        self._show = show
        self._http = requests.Session()
        self._http.auth = _no_netrc
        self._failed = False

    def all(self) -> int:
        """Every step in order; those that need a mint are left out where there is none."""
        with self._http:
            try:
                self._health()
            except (requests.RequestException, OSError) as error:
                self._say("health", ok=False, text=f"no answer ({type(error).__name__})", help=UNREACHABLE)
                return NOT_RUN
            for step in (self._mint, self._refusals, self._cors):
                try:
                    step()
                except (requests.RequestException, OSError) as error:
                    name = step.__name__.strip("_")
                    self._say(name, ok=False, text=f"no answer ({type(error).__name__})", help=BROKE_OFF)
        return FAULTY if self._failed else HEALTHY

    def _health(self) -> None:
        reply = self._call("GET", _HEALTH, {})
        said = _json(reply)
        if reply.status_code == 200 and said.get("status") == "ok":
            told = said.get("transcription")
            told = told if isinstance(told, dict) else {}
            known = told.get("mint_time_works")
            works = "is not known to work" if known is None else "works" if known else "does not work"
            text = f"version {said.get('version')}, transcription {told.get('mode')}; at mint time it {works}"
            self._say("health", ok=True, text=plain(text))
            return
        problems = said.get("problems")
        if reply.status_code == 503 and isinstance(problems, list) and problems:
            for problem in problems[:-1]:
                self._say("health", ok=False, text=plain(problem))
            self._say("health", ok=False, text=plain(problems[-1]), help=SETTINGS)
            return
        self._say("health", ok=False, text=f"answered {reply.status_code}", help=no_health(reply.status_code))

    def _mint(self) -> None:
        if not self._target.credentials:
            self._say("mint", ok=False, text="not tried: there is nothing to mint with", help=NO_CREDENTIAL)
            return
        reply = self._call("POST", _MINT, self._target.credentials, {"x-request-id": "diagnose"})
        said = _json(reply)
        self._headers(reply)
        if reply.status_code != 200:
            self._say("mint", ok=False, text=refused(reply.status_code, said), help=why(reply.status_code, said))
            return
        if missing := _missing(said):
            self._say("mint", ok=False, text=f"200 without {missing}", help=NOT_THIS_APP)
            return
        left = round(said["expires_at"] - time.time())
        self._say("mint", ok=left > 0, text=f"a client secret for {left} s", help=None if left > 0 else CLOCK)
        self._session(said)

    def _headers(self, reply: requests.Response) -> None:
        if reply.status_code == 401 and not reply.content:
            return  # the platform's own answer to a wrong function key
        stored = "no-store" in reply.headers.get("Cache-Control", "")
        if stored:
            self._say("no-store", ok=True, text="no cache may keep the reply")
        else:
            self._say("no-store", ok=False, text="a cache may keep the reply", help=CACHED)
        request_id = reply.headers.get("x-request-id", "")
        if request_id and request_id != "diagnose":
            self._say("x-request-id", ok=True, text=plain(request_id))
        else:
            text = "the caller's own" if request_id else "missing"
            self._say("x-request-id", ok=False, text=text, help=NOT_THIS_APP)

    def _session(self, said: Mapping[str, Any]) -> None:
        if not self._target.connect:
            self._say("session", ok=None, text="left out")
            return
        event, url = said["session_update"], said["websocket_url"]
        off = said["transcription"].get("configured") == "off"
        try:
            url = safe_url(f"http{url.removeprefix('ws')}")
        except ValueError:
            text = "not tried: websocket_url is no secure address"
            self._say("session", ok=False, text=text, help=NOT_THIS_APP)
            return
        came = deliver(url, said["value"], "session_update", event, self._target.timeout)
        ok, text, help_ = judged(came, off=off, sent=event is not None)
        self._say("session", ok=ok, text=text, help=help_)

    def _refusals(self) -> None:
        """Try to get in: a way in for everyone is worse than none for anyone."""
        tries = {"a mint without credentials": {}, "a mint with forged sign-in headers": _FORGED}
        if self._target.credentials:
            tries["a mint with a wrong credential"] = self._target.wrong_credentials
        for name, headers in tries.items():
            reply = self._call("POST", _MINT, headers)
            status = reply.status_code
            if status == 200:
                self._say(name, ok=False, text="is minted for", help=OPEN)
            elif status in (301, 302, 303, 307, 401, 403):
                where = ", a sign-in page: a program cannot follow it" if 300 <= status < 400 else ""
                self._say(name, ok=True, text=f"is refused ({status}{where})")
            else:
                text = f"{refused(status, _json(reply))}, which does not show that it is refused"
                self._say(name, ok=False, text=text, help=why(status, _json(reply)))

    def _cors(self) -> None:
        for origin in self._target.origins:
            preflight = self._preflight(origin)
            plain = self._call("GET", _HEALTH, {"Origin": origin})
            granted = [reply.headers.get("Access-Control-Allow-Origin") for reply in (preflight, plain)]
            if all(one == origin for one in granted) and preflight.status_code < 300:
                self._say(f"CORS for {origin}", ok=True, text="is let in")
            elif "*" not in granted:
                text = f"is not let in (the preflight answered {preflight.status_code})"
                self._say(f"CORS for {origin}", ok=False, text=text, help=not_let_in(origin))
        granted_to_all = self._preflight(_STRANGER).headers.get("Access-Control-Allow-Origin")
        if granted_to_all in ("*", _STRANGER):
            self._say("CORS for any other origin", ok=False, text="is let in", help=CORS_OPEN)
        else:
            self._say("CORS for any other origin", ok=True, text="is not let in")

    def _preflight(self, origin: str) -> requests.Response:
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": _PREFLIGHT}
        return self._call("OPTIONS", _MINT, {"Origin": origin, **asks})

    def _call(self, method: str, path: str, *headers: Mapping[str, str]) -> requests.Response:
        sent = {name: value for more in headers for name, value in more.items()}
        return self._http.request(
            method,
            f"{self._target.url}{path}",
            headers=sent,
            params={"profile": self._target.profile} if self._target.profile and path == _MINT else None,
            timeout=self._target.timeout,
            allow_redirects=False,
        )

    def _say(self, name: str, *, ok: bool | None, text: str, help: Help | None = None) -> None:  # noqa: A002 - Step's own word
        self._failed |= ok is False
        self._show.step(Step(name, ok, text, help))


def _spoilt(credential: str) -> str:
    at = max(len(credential) - 10, 0)
    return credential[:at] + ("A" if credential[at] != "A" else "B") + credential[at + 1 :]


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send what is stated and nothing else: requests would add a password from ~/.netrc to a refusal's probe."""
    return request


def _json(reply: requests.Response) -> dict[str, Any]:
    try:
        said = reply.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _missing(said: Mapping[str, Any]) -> str | None:
    """Return the first field of a mint's reply that is not there, or is not of its kind."""
    kinds: dict[str, tuple[type, ...]] = {
        "value": (str,),
        "expires_at": (int,),
        "websocket_url": (str,),
        "webrtc_url": (str,),
        "transcription": (dict,),
        "session_update": (dict, type(None)),
    }
    return next((name for name, kind in kinds.items() if not isinstance(said.get(name, ...), kind)), None)
