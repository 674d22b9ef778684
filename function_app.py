"""The edge: two routes, and every outcome as an HTTP response. The only file that speaks azure.functions.

Importing this file needs no setting and waits for nothing: an exception here would remove every route, and Azure
would say no more than "0 functions found".
"""

import asyncio
import json
import logging
import threading
import time
import traceback
import uuid
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import azure.functions as func

from mint import __version__, body
from mint.errors import MintError, forget_frames
from mint.session import Session, compose
from mint.settings import MisconfiguredError, Settings, is_on_azure, platform_checks_key
from mint.trip import Trip

if TYPE_CHECKING:
    from mint.callers import Caller
    from mint.outcome import Minted
    from mint.quota import Spent
    from mint.service import Service

log = logging.getLogger("mint")
for chatty in ("azure.identity", "azure.core"):  # lines for every token, and of a broken answer with it, all of it
    logging.getLogger(chatty).setLevel(logging.CRITICAL)

app = func.FunctionApp(
    http_auth_level=func.AuthLevel.FUNCTION if platform_checks_key() else func.AuthLevel.ANONYMOUS
)


def service() -> "Service":
    """Return this process's service, made when it is first asked for; raises `MintError` `misconfigured`."""
    with _making:
        return _made()


_making = threading.Lock()  # the first request and `warm` may come at the same time


@cache
def _made() -> "Service":
    from mint.service import Service  # noqa: PLC0415 - what a request needs, no import of the app waits for

    return Service.start()


async def ready() -> "Service":
    """Return what `service` does, and hold up nobody else while it is made: its imports take half a second."""
    return _made() if _made.cache_info().currsize else await asyncio.to_thread(service)


class Entry:
    """One mint's log line, filled as the request goes on. It holds no secret, token, key or instructions."""

    def __init__(self) -> None:
        self.request_id = uuid.uuid4().hex
        self.started = time.monotonic()
        self.caller: Caller | None = None
        self.spent: Spent | None = None
        self.profile: str | None = None
        self.transcription: str | None = None
        self.trip: Trip | None = None


def mint_secret(req: func.HttpRequest, service: "Service", entry: Entry) -> dict[str, Any]:
    """One request, as five steps."""
    settings = service.settings
    entry.trip = Trip(entry.started + settings.deadline_seconds)
    # 1. Authenticate the caller.
    entry.caller = service.callers.authenticate(req.headers, entry.trip.seconds_left())
    # 2. Spend one mint of their quota; `refuse` gives it back if this ends in 5xx.
    entry.spent = service.quota.spend(entry.caller.key)
    # 3. Compose the session: the profile's, with what the client may choose.
    profile = service.profiles.named(req.params.get("profile"))
    entry.profile = profile.name
    asked = body.read(req.get_body(), req.headers.get("content-type"))
    session = compose(asked, profile, service.profiles.schema, settings)
    # 4. Mint it.
    if settings.safety_identifier == "on":
        entry.trip.safety_identifier = entry.caller.hash
    minted = service.upstream.mint(session, entry.trip)
    entry.transcription = minted.configured
    # 5. Reply with all that a client needs to connect.
    return reply(minted, session, settings)


def reply(minted: "Minted", session: Session, settings: Settings) -> dict[str, Any]:
    """Return the answer's JSON. `session` is rebuilt and not relayed: Azure's echo holds the instructions."""
    realtime = f"{minted.endpoint}/openai/v1/realtime"
    transcribes_only = session.type == "transcription"
    # A session that only transcribes names no model in its URL: OpenAI's guide to realtime transcription.
    query = "intent=transcription" if transcribes_only else f"model={settings.deployment}"
    return {
        "value": minted.value,
        "expires_at": minted.expires_at,
        "session": {
            "type": session.type,
            "object": "realtime.transcription_session" if transcribes_only else "realtime.session",
            "id": minted.session_id,
            "model": settings.transcription_deployment if transcribes_only else settings.deployment,
        },
        "webrtc_url": f"{realtime}/calls",
        "websocket_url": f"ws{realtime.removeprefix('http')}?{query}",
        "transcription": {"configured": minted.configured, "config": session.transcription},
        "session_update": minted.session_update,
    }


@app.route("realtime/client_secrets", methods=["POST"])
async def client_secrets(req: func.HttpRequest) -> func.HttpResponse:
    """POST /api/realtime/client_secrets: a client secret, and everything the client needs to connect."""
    entry = Entry()
    try:
        answer = await in_thread(req, await ready(), entry)
    except Exception as error:  # noqa: BLE001 - the edge: whatever happens has an answer of ours
        return refuse(error, entry)
    record(entry, logging.INFO, "minted", status=200)
    return respond(200, answer, {"x-request-id": entry.request_id})


async def in_thread(req: func.HttpRequest, service: "Service", entry: Entry) -> dict[str, Any]:
    """Run `mint_secret` in one of our own threads, and answer by the deadline whatever becomes of it.

    `requests` blocks, and the platform's pool for plain `def` functions has only cores + 4 threads. A thread that
    is still busy at the deadline keeps its place among MAX_CONCURRENT_MINTS until its call ends.
    """
    if service.in_flight >= service.settings.max_concurrent_mints:
        raise MintError("overloaded", "Too many mints are under way here. Try again in a second.", retry_after=1)
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[dict[str, Any]] = loop.create_future()

    def ended(work: "Future[dict[str, Any]]") -> None:
        service.in_flight -= 1
        if answer.done():  # the caller has had an answer, and not this one
            give_back(entry)
        elif error := work.exception():
            answer.set_exception(error)
        else:
            answer.set_result(work.result())

    work = service.threads.submit(mint_secret, req, service, entry)
    service.in_flight += 1
    work.add_done_callback(lambda work: loop.call_soon_threadsafe(ended, work))
    # The worker's own deadline comes first; this one is for what holds a thread beyond it.
    grace = entry.started + service.settings.deadline_seconds + 0.1 - time.monotonic()
    try:
        async with asyncio.timeout(grace) as limit:
            return await answer
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise MintError(
            "upstream_timeout", "The mint did not end within MINT_DEADLINE_SECONDS. Try again."
        ) from error
    finally:
        tell(service)


@app.route("health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the platform passes it
    """GET /api/health: whether the settings can work. It calls nothing upstream and shows no endpoint or key."""
    entry = Entry()
    ours = {"x-request-id": entry.request_id}
    try:
        running = await ready()
        session = compose({}, running.profiles.default, running.profiles.schema, running.settings)
        transcription = running.upstream.health(session)
    except MisconfiguredError as error:
        return respond(503, {"status": "misconfigured", "problems": error.problems}, ours)
    except Exception as error:  # noqa: BLE001 - the edge, as above
        return refuse(error, entry)
    tell(running)
    return respond(200, {"status": "ok", "version": __version__, "transcription": transcription}, ours)


def tell(service: "Service") -> None:
    """Log what has been found out behind the requests' backs; other threads' own lines would be lost."""
    for notice in service.take_notices():
        log.warning("%s", json.dumps(notice))


def give_back(entry: Entry) -> None:
    """Give back what a caller has spent on a mint that failed through no fault of theirs."""
    spent, entry.spent = entry.spent, None
    if spent:
        service().quota.give_back(spent)


def refuse(error: Exception, entry: Entry) -> func.HttpResponse:
    """Return an error's answer, and log what helps under the same request id."""
    trace = None if isinstance(error, MintError) else "".join(traceback.format_exception(error))
    forget_frames(error)
    if not isinstance(error, MintError):
        error = MintError(
            "internal_error", "The endpoint failed. Try again, and report the x-request-id if it lasts."
        )
    if error.status >= 500:
        give_back(entry)
    cause = type(error.__cause__).__name__ if error.__cause__ else None
    level = logging.ERROR if error.status >= 500 else logging.WARNING
    record(entry, level, "mint_failed", status=error.status, code=error.code, param=error.param,
           detail=error.detail, cause=cause, traceback=trace)  # fmt: skip
    return respond(error.status, error.body(), {"x-request-id": entry.request_id, **error.headers()})


def record(entry: Entry, level: int, event: str, **fields: Any) -> None:  # noqa: ANN401 - JSON values
    """Write one JSON object on one line, from the handler's own thread.

    The platform drops `extra=`, and on Python 3.13 what other threads log (azure-functions-python-worker#1860).
    """
    trip = entry.trip
    line = {
        "event": event,
        "request_id": entry.request_id,
        "caller": entry.caller.hash if entry.caller else None,
        "profile": entry.profile,
        "transcription": entry.transcription,
        "upstream_status": trip.upstream_status if trip else None,
        "attempts": trip.attempts if trip else 0,
        "upstream_ms": round(trip.upstream_seconds * 1000, 1) if trip else 0,
        "total_ms": round((time.monotonic() - entry.started) * 1000, 1),
        "apim_request_id": trip.apim_request_id if trip else None,
        "region": trip.region if trip else None,
        **{name: value for name, value in fields.items() if value is not None},
    }
    log.log(level, "%s", json.dumps(line))


def respond(status: int, answer: dict[str, Any], headers: dict[str, str]) -> func.HttpResponse:
    """Return a JSON response that no cache may keep."""
    return func.HttpResponse(
        json.dumps(answer, ensure_ascii=False),
        status_code=status,
        mimetype="application/json",
        headers={"Cache-Control": "no-store", **headers},
    )


def warm() -> None:
    """Get ready while the platform is still starting; whatever is wrong, the first request will say."""
    with suppress(Exception):
        service().warm()


if is_on_azure():
    threading.Thread(target=warm, name="warm", daemon=True).start()
