"""What Azure's reply to a mint means: a client secret, or the error that a caller can act on.

The bodies are those seen in the wild and in Microsoft's documents; each case says where. Azure's own text goes
to our log and never to the caller: it names principals, and may repeat what was sent.
"""

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeGuard

from mint.body import Json
from mint.outcome import Minted, Remedy, UpstreamError

DEFAULT_RETRY_AFTER = 5
"""Seconds to wait when Azure throttles without saying how long."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply of the upstream, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def request_id(self) -> str | None:
        """Azure's `apim-request-id`: what its support asks for."""
        return self.headers.get("apim-request-id")


def read(reply: Reply) -> Minted:
    """Return what was minted; raises `UpstreamError` for every other reply."""
    if reply.status != 200:
        raise _refusal(reply)
    document = _json(reply.body)
    minted = _minted(document) if isinstance(document, dict) else None
    if minted is None:
        raise UpstreamError(
            "upstream_unavailable",
            "Azure OpenAI answered 200 without a readable client secret. Try again.",
            upstream_status=200,
            upstream_request_id=reply.request_id,
        )
    return minted


def _minted(document: Json) -> Minted | None:
    # The preview's shape has the secret one level down, and the session around it.
    secret = document.get("client_secret")
    preview = isinstance(secret, dict)
    holder = secret if isinstance(secret, dict) else document
    echo = document if preview else document.get("session")
    echo = echo if isinstance(echo, dict) else {}
    value, expires_at, session_id = holder.get("value"), _whole(holder.get("expires_at")), echo.get("id")
    if not _is_text(value) or expires_at is None:
        return None
    return Minted(value, expires_at, session_id if _is_text(session_id) else "", echo)


def _is_text(value: object) -> TypeGuard[str]:
    """Tell a text that can be sent on: JSON can hold half of a surrogate pair, which no reply can."""
    return isinstance(value, str) and value.isascii() and value != ""


def _whole(value: object) -> int | None:
    """Return Unix seconds from the number that the spec has, or from the string that has been seen."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value):
        return int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 10**12:
        return int(value)
    return None


def _json(body: bytes) -> Any:  # noqa: ANN401 - whatever the upstream wrote
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class _Said:
    """The upstream's error, from any of its shapes."""

    code: str
    message: str
    param: str | None


def _said(body: bytes) -> _Said:
    document = _json(body)
    error = document.get("error", document) if isinstance(document, dict) else None
    if isinstance(error, str):
        return _Said("", error, None)
    if not isinstance(error, dict):
        return _Said("", "", None)
    param = error.get("param")
    # A path of fields and nothing else may be repeated to a caller.
    safe = isinstance(param, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.\[\]]{0,199}", param)
    code = str(error.get("code") or error.get("statusCode") or "")
    # Anything longer than a name may quote what was sent: the session, or by a gateway's policy the token.
    code = code if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", code) else ""
    return _Said(code, str(error.get("message") or ""), param if safe else None)


def _refusal(reply: Reply) -> UpstreamError:
    said = _said(reply.body)
    status, remedy, param, retry_after = reply.status, Remedy.NONE, None, None
    if status == 429:
        retry_after = _retry_after(reply.headers)
        code = "upstream_throttled"
        message = f"Azure OpenAI is throttling this resource. Try again in {retry_after} s."
    elif said.code == "DeploymentNotFound":  # 404; seen as 400 too
        code, message = "deployment_not_found", _NO_DEPLOYMENT
    elif said.code in ("OpperationNotSupported", "OperationNotSupported"):  # Azure's spelling, and the right one
        code, message = "deployment_not_realtime", _NOT_REALTIME
    elif status in (401, 403):
        code, (message, remedy) = "upstream_denied", _denied(status, said)
    elif status >= 500:
        code, message = "upstream_unavailable", f"Azure OpenAI answered {status}. Try again."
        remedy = Remedy.AGAIN if status in (500, 502, 503, 504) else Remedy.NONE
    else:
        code, param = "upstream_rejected", said.param
        message = _rejected(status, said)
    return UpstreamError(
        code,
        message,
        upstream_status=status,
        remedy=remedy,
        param=param,
        retry_after=retry_after,
        upstream_request_id=reply.request_id,
        detail=said.code or None,
        upstream_text=said.message,
    )


_NO_DEPLOYMENT = (
    "Azure OpenAI has no deployment of a name that the mint holds. Set AZURE_OPENAI_REALTIME_DEPLOYMENT, and "
    "AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT if it is set, to names of deployments in the resource (they are "
    "case-sensitive, and new ones take some minutes), or AZURE_OPENAI_ENDPOINT to the resource that has them."
)
_NOT_REALTIME = (
    "The deployment exists and is not of a realtime model. Set AZURE_OPENAI_REALTIME_DEPLOYMENT to one of "
    "such a model, for example gpt-realtime."
)
_ROLE = (
    "The app's identity lacks a role. Assign it 'Cognitive Services OpenAI User' on the Azure OpenAI resource; it "
    "takes effect within five minutes."
)
_AUDIENCE = (
    "Azure OpenAI does not accept the identity's token. Check AZURE_OPENAI_SCOPE (its audience), and that the "
    "identity is in the resource's tenant."
)
_NETWORK = (
    "Azure OpenAI's network rules keep this app out. Allow the app's subnet or address in the resource's "
    "networking settings, or reach it through a private endpoint."
)
_FORBIDDEN = (
    "Azure OpenAI forbids the call. Check the identity's role ('Cognitive Services OpenAI User'), the resource's "
    "network rules, and whether the subscription is blocked."
)


def _denied(status: int, said: _Said) -> tuple[str, Remedy]:
    # A missing role is a 401 PermissionDenied, although one would expect 403; both are read the same way.
    if said.code == "PermissionDenied":
        return _ROLE, Remedy.NONE
    if status == 403:
        network = said.code == "AccessDenied" or re.search(
            r"public access|virtual network|firewall", said.message, re.IGNORECASE
        )
        return (_NETWORK if network else _FORBIDDEN), Remedy.NONE
    return _AUDIENCE, Remedy.FRESH_TOKEN


def _rejected(status: int, said: _Said) -> str:
    if said.code == "InvalidSessionType":
        return (
            "Azure OpenAI does not mint sessions of this type. Ask for a profile whose session.type is realtime."
        )
    if said.param:
        if said.param.startswith("expires_after"):
            where = "CLIENT_SECRET_TTL_SECONDS and the profile's expires_after_seconds"
        elif said.param == "session.model":
            where = "AZURE_OPENAI_REALTIME_DEPLOYMENT"
        else:
            where = f"{said.param} in the profile"
        return f"Azure OpenAI rejects a field of the session. Check {where}."
    if status == 400:
        return (
            "Azure OpenAI rejects the session. Check the profile's fields; leave AZURE_OPENAI_API_VERSION unset."
        )
    return (
        f"Azure OpenAI answered {status} at the mint's address. Check that AZURE_OPENAI_ENDPOINT is the "
        "resource's own (https://RESOURCE.openai.azure.com), and leave AZURE_OPENAI_API_VERSION unset."
    )


def _retry_after(headers: Mapping[str, str]) -> int:
    """Return whole seconds, at least 1, from `retry-after-ms`, or `Retry-After` in seconds or as a date."""
    waits = (
        (headers.get("retry-after-ms"), lambda text: float(text) / 1000),
        (headers.get("Retry-After"), float),
        (
            headers.get("Retry-After"),
            lambda text: (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds(),
        ),
    )
    for stated, seconds in waits:
        with suppress(ValueError, TypeError, OverflowError):
            return max(1, math.ceil(seconds(stated or "")))
    return DEFAULT_RETRY_AFTER
