"""Minting at the simulated resource: `POST /openai/v1/realtime/client_secrets`, with the defect to choose.

A 200 proves no more than Azure's does: the transcription deployment is looked up only once audio arrives.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from local import faults, ga_session
from local.answers import (
    KEYS_DISABLED,
    NO_SUCH_DEPLOYMENT,
    NOT_REALTIME,
    PARSED_BODY,
    WRONG_SESSION_TYPE,
    audience_refused,
    error_answer,
    internal_error,
    json_answer,
    unknown_parameter,
)

if TYPE_CHECKING:
    from local.azure import State
    from local.ga_session import Session

PATH = "/openai/v1/realtime/client_secrets"
FLAT = "input_audio_transcription"
NESTED = "audio.input.transcription"
DEFECTS = ("flat-fails", "all-fails", "fixed", "random", "silent-drop", "flat-400", "all-400")
_FLAT_IS_KNOWN = ("fixed", "random", "silent-drop")
_MOST_SECRETS = 4096


@dataclass(frozen=True)
class ClientSecret:
    """An ephemeral secret and the session that it opens."""

    value: str
    expires_at: int
    session: "Session"


class ClientSecrets:
    """The secrets issued so far: bounded, expired ones dropped. One secret opens any number of sessions."""

    def __init__(self) -> None:
        self._issued: OrderedDict[str, ClientSecret] = OrderedDict()

    def issue(self, session: "Session", lifetime_s: int = 600) -> ClientSecret:
        """Bind the session to a new secret."""
        now = time.time()
        issued = ClientSecret(f"ek_{secrets.token_hex(16)}", int(now) + lifetime_s, session)
        while self._issued:
            oldest = next(iter(self._issued.values()))
            if oldest.expires_at > now and len(self._issued) < _MOST_SECRETS:
                break
            self._issued.popitem(last=False)
        self._issued[issued.value] = issued
        return issued

    def find(self, value: str) -> ClientSecret | None:
        """Return the secret if it was issued here and has not expired."""
        found = self._issued.get(value)
        return found if found and time.time() < found.expires_at else None


def routes(state: "State") -> list[web.RouteDef]:
    """Return the mint route."""

    async def mint(request: web.Request) -> web.StreamResponse:
        return await _mint(request, state)

    return [web.post(PATH, mint)]


async def _mint(request: web.Request, state: "State") -> web.StreamResponse:
    if state.switches.latency_ms:
        await asyncio.sleep(state.switches.latency_ms / 1000)
    body = request[PARSED_BODY]
    session = body.get("session") if isinstance(body, dict) else None
    if not isinstance(session, dict):
        session = {}
    fault = state.next_fault(with_transcription=_has_block(session))
    if fault is not None:
        return await faults.CATALOGUE[fault](request, state)
    return credential_refusal(request, state) or _answer(body, session, state)


def _answer(body: object, session: "Session", state: "State") -> web.Response:
    if not isinstance(body, dict):
        message = "The request body is not a JSON object."  # wording is inference
        return error_answer(400, "BadRequest", message, "invalid_request_error")
    refusal = (
        _type_refusal(session)
        or deployment_refusal(session, state)
        or _field_refusal(body, session, state)
        or _transcription_refusal(session, state)
    )
    if refusal:
        return refusal
    lifetime = _lifetime(body, state)
    if isinstance(lifetime, web.Response):
        return lifetime
    return _granted(session, lifetime, state)


def credential_refusal(request: web.Request, state: "State") -> web.Response | None:
    """Refuse a request that has neither an Entra token for this resource nor its key."""
    switches = state.switches
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    bearer = bearer.strip() if scheme.lower() == "bearer" else ""
    key = request.headers.get("api-key", "")
    # The v1 routes take the key as a Bearer token too: MS Learn's v1 samples hand it to OpenAI's client.
    if key or bearer == switches.api_key:
        if switches.keys_disabled:
            return error_answer(403, "AuthenticationTypeDisabled", KEYS_DISABLED)
        if switches.api_key not in {key, bearer}:
            message = (
                "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a "
                "valid key for an active subscription and use a correct regional API endpoint for "
                "your resource."
            )
            return error_answer(401, "401", message)
        return None
    audiences = {"https://cognitiveservices.azure.com"}
    if switches.accept_ai_audience:
        audiences.add("https://ai.azure.com")
    return None if state.tokens.accepts(bearer, audiences, foreign=switches.foreign_tokens) else audience_refused()


def _type_refusal(session: "Session") -> web.Response | None:
    if session.get("type") in {"realtime", "transcription"}:
        return None
    return error_answer(400, "InvalidSessionType", WRONG_SESSION_TYPE, "invalid_request_error", "session.type")


def deployment_refusal(session: "Session", state: "State") -> web.Response | None:
    """Refuse a deployment that does not exist or does not serve the realtime API."""
    if session["type"] == "transcription":  # has no model of its own; the transcription model is looked up late
        return None
    kind = state.switches.deployments.get(str(session.get("model")))
    if kind is None:
        return error_answer(404, "DeploymentNotFound", NO_SUCH_DEPLOYMENT)
    if kind != "realtime":
        return error_answer(400, "OpperationNotSupported", NOT_REALTIME)  # Azure's own spelling
    return None


def _field_refusal(body: "Session", session: "Session", state: "State") -> web.Response | None:
    """Refuse what the GA schema does not know: by 500 as the public notes have it, by 400 as OpenAI does."""
    known = session
    defect = state.switches.defect
    if FLAT in session:
        if defect in {"flat-400", "all-400"}:
            return unknown_parameter(f"session.{FLAT}")
        if defect in _FLAT_IS_KNOWN:
            known = {name: value for name, value in session.items() if name != FLAT}
    unknown = next((name for name in body if name not in {"session", "expires_after"}), None)
    unknown = unknown or ga_session.first_unknown(known)
    if unknown:
        return unknown_parameter(unknown) if state.switches.unknown_fields == "400" else internal_error()
    misshapen = ga_session.first_misshapen(session)
    if misshapen:
        message = f"Invalid type for '{misshapen}': expected an object."
        return error_answer(400, "invalid_type", message, "invalid_request_error", misshapen)
    return None


def _has_block(session: "Session") -> bool:
    if session.get(FLAT) is not None:
        return True
    return ga_session.first_misshapen(session) is None and ga_session.nested_transcription(session) is not None


def _transcription_refusal(session: "Session", state: "State") -> web.Response | None:
    """Refuse the block as the chosen defect has it; for flat-fails the schema alone does."""
    if not _has_block(session):
        return None
    defect = state.switches.defect
    if defect == "all-fails" or (defect == "random" and state.random.random() < 0.5):
        return internal_error()
    return unknown_parameter(f"session.{NESTED}") if defect == "all-400" else None


def _lifetime(body: "Session", state: "State") -> int | web.Response:
    asked = body.get("expires_after")
    if asked is None:
        return 600
    if state.switches.expires_after == "refused":
        return unknown_parameter("expires_after")
    if not isinstance(asked, dict) or asked.get("anchor", "created_at") != "created_at":
        message = "Invalid value for 'expires_after.anchor': the only anchor is 'created_at'."
        return error_answer(400, "invalid_value", message, "invalid_request_error", "expires_after.anchor")
    seconds = asked.get("seconds", 600)
    if type(seconds) is not int or not 10 <= seconds <= 7200:
        message = "Invalid value for 'expires_after.seconds': expected an integer from 10 to 7200."
        return error_answer(400, "invalid_value", message, "invalid_request_error", "expires_after.seconds")
    return seconds


def _granted(session: "Session", lifetime_s: int, state: "State") -> web.Response:
    flat = session.get(FLAT)
    plain = {name: value for name, value in session.items() if name != FLAT}
    if state.switches.defect == "silent-drop" and ga_session.nested_transcription(plain):
        plain = ga_session.merged(plain, {"audio": {"input": {"transcription": None}}})
    echo = bound = ga_session.effective(plain)
    if flat is not None and state.switches.defect != "silent-drop":
        echo = {**bound, FLAT: flat}
        bound = ga_session.merged(bound, {"audio": {"input": {"transcription": flat}}})
    issued = state.secrets.issue(bound, lifetime_s)
    return json_answer({"value": issued.value, "expires_at": issued.expires_at, "session": echo})
