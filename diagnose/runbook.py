"""What to do about each error code: for `--app`, and for docs/operations.md, whose runbook is made from this.

Held to `mint.errors.CODES` by a test, so that a new code cannot be without an entry.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mint.errors import CODES


@dataclass(frozen=True, slots=True)
class Entry:
    """One code: what generally causes it, where to look, and what to do."""

    cause: str
    check: str
    fix: str


_THE_CLIENTS = "The client's request is at fault; nothing is wrong with the app."
_FIELD = "`param` of the reply, and of the log line, is the path of the field."

RUNBOOK: Mapping[str, Entry] = {
    "invalid_json": Entry(
        f"{_THE_CLIENTS} The body is not a JSON object, or holds NaN, a key twice or a lone surrogate.",
        "The client's code: does it send text, or serialise twice?",
        "Send a JSON object, or no body at all.",
    ),
    "invalid_value": Entry(
        f"{_THE_CLIENTS} A field has the wrong type or is out of its range.",
        f"{_FIELD} docs/openapi.yaml and sessions/profile.schema.json say what each field takes.",
        "Correct the client. For a lifetime beyond the cap: raise `CLIENT_SECRET_TTL_SECONDS`, if that is wanted.",
    ),
    "unknown_field": Entry(
        f"{_THE_CLIENTS} The API has no field of that name.",
        f"{_FIELD} Preview names, such as `input_audio_transcription`, are not those of the GA API.",
        "Correct the client.",
    ),
    "field_not_allowed": Entry(
        "The client sets a field that the profile does not let it choose.",
        f"{_FIELD} `profile` of the log line is the profile; its `client_may_set` lists what a client may set.",
        "Leave the field out of the client; or add its path to `client_may_set` and publish.",
    ),
    "unknown_profile": Entry(
        "`?profile=` names no file in sessions/.",
        "The client's URL, and which profiles were published.",
        "Correct the name; or publish the profile before the client that asks for it.",
    ),
    "body_too_large": Entry(
        f"{_THE_CLIENTS} The body is over 16 KiB.",
        "What the client sends: instructions and tools belong into a profile.",
        "Put what is long into a profile in sessions/.",
    ),
    "unsupported_media_type": Entry(
        f"{_THE_CLIENTS} The body is declared as something else than JSON.",
        "The request's Content-Type.",
        "Send `application/json`, or no Content-Type.",
    ),
    "unauthenticated": Entry(
        "There is no credential, or one that does not hold: expired, for another audience, of another issuer, or "
        "signed with a key that the issuer does not publish.",
        "The reply's message says which. With `easy_auth`: is the user signed in? A wrong function key never gets "
        "here: the platform answers 401 with an empty body.",
        "Get a new token. If every caller is refused: `JWT_ISSUER` to the last slash, `JWT_AUDIENCE`, and the "
        "server's clock.",
    ),
    "forbidden": Entry(
        "The token is good and lacks the scope or role in `JWT_REQUIRED_SCOPE`.",
        "The token's `scp`, `scope` or `roles`.",
        "Grant the scope or role at the issuer, or correct `JWT_REQUIRED_SCOPE`.",
    ),
    "keys_unavailable": Entry(
        "The issuer's signing keys cannot be fetched, and no earlier ones are there.",
        "`detail` of the log line. Can the app reach the issuer: outbound rules, a private network?",
        "Correct `JWT_ISSUER` or `JWT_JWKS_URL`. If the issuer is down, wait: it is asked again every 5 seconds.",
    ),
    "quota_exceeded": Entry(
        "One caller has minted as often as `MINT_QUOTA` allows.",
        "Mints per caller, above. With `function_key` a caller is an address: many people may share one.",
        "Nothing, if it is abuse. Otherwise raise `MINT_QUOTA`, or tell callers apart with `easy_auth` or `jwt`.",
    ),
    "overloaded": Entry(
        "`MAX_CONCURRENT_MINTS` mints are under way in one instance.",
        "Latency, above: a slow upstream fills the places. Is `perInstanceConcurrency` larger than the setting?",
        "Set both to the same number. If Azure OpenAI is slow, more places do not help.",
    ),
    "misconfigured": Entry(
        "An app setting is missing or wrong, or a profile is.",
        "`/api/health` names every one of them.",
        "Correct them all at once: each change of a setting restarts the app.",
    ),
    "internal_error": Entry(
        "A fault of this program.",
        "`traceback` of the log line with the caller's `x-request-id`.",
        "Report the traceback. Go back to the package that was published before, if it began with a publish.",
    ),
    "identity_unavailable": Entry(
        "The platform's identity endpoint gives no token, or not in time.",
        "`detail` of the log line. Is an identity assigned to the app, and is `AZURE_CLIENT_ID` its client ID?",
        "Assign the identity again, or correct `AZURE_CLIENT_ID`. If it passes by itself, nothing: a token is "
        "kept until it ends.",
    ),
    "upstream_denied": Entry(
        "Azure OpenAI refuses the app's identity: the role is missing, the audience is wrong, or a network rule "
        "keeps the app out.",
        "The reply's message says which of the three. A new role takes up to five minutes.",
        "Assign *Cognitive Services OpenAI User* on the resource; or set `AZURE_OPENAI_SCOPE`; or let the app in.",
    ),
    "deployment_not_found": Entry(
        "The resource has no deployment of that name.",
        "`AZURE_OPENAI_REALTIME_DEPLOYMENT` against the resource's list: names are case-sensitive, and a new "
        "deployment takes some minutes.",
        "Correct the setting. With a second resource: it needs deployments of the same names.",
    ),
    "deployment_not_realtime": Entry(
        "The deployment exists and is not of a realtime model.",
        "The deployment's model in the resource's list.",
        "Set `AZURE_OPENAI_REALTIME_DEPLOYMENT` to a deployment of a realtime model.",
    ),
    "upstream_rejected": Entry(
        "Azure OpenAI answers 400 or 404: a field of the session that it does not know, an api-version, or a host "
        "that is not the resource's.",
        "The reply's message names the setting or field; `detail` of the log line has Azure's error code.",
        "Correct the profile or the setting; leave `AZURE_OPENAI_API_VERSION` unset.",
    ),
    "transcription_rejected": Entry(
        "`TRANSCRIPTION_MODE` is `mint_time`, and Azure refuses the mint with the block in it.",
        "`.venv/bin/python -m diagnose` with the app's settings: is it the block, its field, or an outage?",
        "Set `TRANSCRIPTION_MODE` to `post_connect`, or to `auto`. No client has to change.",
    ),
    "upstream_throttled": Entry(
        "Azure OpenAI answers 429: the deployment's capacity, or the subscription's quota, is used up.",
        "Metrics of the resource, and mints per caller, above: one caller, or all?",
        "Raise the deployment's capacity; lower `MINT_QUOTA`; or name a second resource in "
        "`AZURE_OPENAI_FALLBACK_ENDPOINT`.",
    ),
    "upstream_unavailable": Entry(
        "Azure OpenAI answers 5xx, breaks off its reply, or cannot be reached.",
        "`upstream_status` of the log line; none means no reply: name lookup, TLS, outbound rules. Azure's status "
        "page for the region.",
        "Wait; or name a second resource. For a support case: `.venv/bin/python -m diagnose --report report.md`.",
    ),
    "upstream_timeout": Entry(
        "Azure OpenAI did not answer within `MINT_DEADLINE_SECONDS`.",
        "Latency, above: all mints, or a few?",
        "Wait, name a second resource, or raise the deadline if the service is known to be slow.",
    ),
}


def markdown() -> str:
    """Return the runbook as docs/operations.md has it, in the order of the table of codes."""
    parts = []
    for code, answered in CODES.items():
        entry = RUNBOOK[code]
        again = "clients may try again" if answered.retry else "trying again does not help"
        parts.append(
            f"### `{code}`\n\n{answered.status}; {again}.\n\n"
            f"- **Cause:** {entry.cause}\n- **Check:** {entry.check}\n- **Fix:** {entry.fix}\n"
        )
    return "\n".join(parts)
