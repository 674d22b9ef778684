"""What each failed step of `--app` generally means, and what to paste against it. Pure.

A code of the app's own has the runbook's words; the platform's bare answers have theirs here.
"""

from collections.abc import Mapping
from typing import Any

from diagnose.records import Ack, Help, Update
from diagnose.runbook import RUNBOOK

KEY_SETTING, BEARER_SETTING = "APP_FUNCTION_KEY", "APP_BEARER_TOKEN"
APP = "--name APP --resource-group GROUP"
AUTH_LEVEL = "az functionapp config appsettings set " + APP + " --settings CALLER_AUTH=function_key"

UNREACHABLE = Help(
    "Nothing answers there: the name is misspelt, this machine is offline, or the app takes no public traffic.",
    ('az functionapp list --query "[].{name:name, host:defaultHostName, state:state}" --output table',),
)
BROKE_OFF = Help("The app answered before and does not now: run this again; if it lasts, read the log stream.")
NO_CREDENTIAL = Help(
    f"A function key goes into {KEY_SETTING}, a user's token into {BEARER_SETTING}, as CALLER_AUTH wants it.",
    (f"az functionapp keys list {APP} --query functionKeys.default --output tsv",),
)
SETTINGS = Help(
    "The app runs and its settings cannot be used. Correct them all at once; each change restarts the app.",
    (f"az functionapp config appsettings list {APP}",),
)
NOT_THIS_APP = Help(
    "Something else than this app answers: another app, or a gateway in front that changes replies. Give the "
    "app's own address, https://APP.azurewebsites.net."
)
CACHED = Help(
    "A client secret could be handed to someone else. The app states no-store itself, so that something in front "
    "takes it away: generally a gateway's or a CDN's caching rule."
)
CLOCK = Help("The secret has ended already, by this machine's clock: set the clock.")
OPEN = Help(
    "Anyone who finds the address can mint at your cost. Make the app ask who is calling.",
    (AUTH_LEVEL,),
)
CORS_OPEN = Help(
    "Every website may call the app with what its visitors hold. List the origins instead.",
    (f"az functionapp cors remove {APP} --allowed-origins '*'",),
)
NO_SOCKET = Help(
    "Azure documents WebRTC for client secrets, so this is no fault. clients/web opens the session in a browser."
)
NOT_ON = Help(
    "The secret works and the session does not transcribe. Measure which form the resource takes, with the app's "
    "settings.",
    (
        f"az functionapp config appsettings list {APP} > app-settings.json",
        ".venv/bin/python -m diagnose --settings app-settings.json",
    ),
)


def plain(text: object) -> str:
    """Return a server's words as one line for a terminal."""
    return "".join(letter for letter in str(text) if letter.isprintable())[:300]


def _code(said: Mapping[str, Any]) -> str | None:
    error = said.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) and code in RUNBOOK else None


def refused(status: int, said: Mapping[str, Any]) -> str:
    """Return what was answered in place of a client secret."""
    code = _code(said)
    return f"answered {status} {code}: {plain(said['error'].get('message'))}" if code else f"answered {status}"


def why(status: int, said: Mapping[str, Any]) -> Help:
    """Return the runbook's words for a code of the app's own; the platform's bare answers have none."""
    if code := _code(said):
        return Help(f"{RUNBOOK[code].cause} {RUNBOOK[code].fix}".replace("`", "").replace("*", ""))
    if status == 401:
        return Help(
            "The platform refuses the credential: generally the key is of another app or was renewed, or App "
            "Service authentication does not accept the token's audience.",
            (f"az functionapp keys list {APP}",),
        )
    return no_health(status)


def not_let_in(origin: str) -> Help:
    """Return what it means that CORS keeps an origin out which should be let in."""
    return Help(
        "A page of that origin cannot call the app. Origins are compared as text: scheme, host and port, no slash "
        "at the end. With App Service authentication, a preflight that answers 401 is kept from CORS.",
        (f"az functionapp cors add {APP} --allowed-origins {origin}",),
    )


def no_health(status: int) -> Help:
    """Return what a status that the app itself never answers generally means."""
    if status == 404:
        return Help(
            "There is no such route. Generally the app could not be indexed, which removes every route: the log "
            "stream has the reason. Or nothing has been published yet.",
            (f"az webapp log tail {APP}", "func azure functionapp publish APP"),
        )
    if 300 <= status < 400:
        return Help(
            "App Service authentication sends callers to a sign-in page, which a program cannot follow. Set its "
            "action for unauthenticated requests to 401."
        )
    if status in (401, 403):
        return Help(
            "The platform keeps callers out of /api/health: App Service authentication is on without an exception "
            "for that path, or access restrictions do not admit this machine."
        )
    return NOT_THIS_APP


def judged(came: Update, *, off: bool, sent: bool) -> tuple[bool | None, str, Help | None]:
    """Return the session's step: whether it passed, its words, its help."""
    if came.ack is Ack.UPDATED or (off and came.ack is Ack.IGNORED):
        return True, "opened" if off else f"opened, and transcription is {'acknowledged' if sent else 'on'}", None
    if came.ack is Ack.NOT_CONNECTED:
        return None, f"not opened over WebSocket{f' ({came.status})' if came.status else ''}", NO_SOCKET
    if came.ack is Ack.NO_ANSWER:
        return None, "opened, and nothing came back in time", Help("Try a longer --timeout.")
    code = f" {came.code}" if came.code else ""
    return False, f"opened, and transcription is not on: {came.ack}{code}", NOT_ON
