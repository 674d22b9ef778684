"""The report for a support case, as Markdown and as JSON. Pure.

It answers, in order, what Microsoft asked for in learn.microsoft.com/answers/questions/5908916. The resource's
name is in it only if asked for; records hold no secret, so that there is none to leave out.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict

from diagnose.payloads import EXPIRES_AFTER
from diagnose.records import API_KEY, IDENTITY, RESOURCE, SECOND, Call, Findings, Outcome, Variant
from diagnose.remedies import shown_endpoint
from diagnose.tally import Tally, elsewhere, reason, tally
from diagnose.verdict import Verdict
from mint import __version__
from mint.body import Json

PATH = "/openai/v1/realtime/client_secrets"


def markdown(findings: Findings, verdict: Verdict, *, show_resource: bool) -> str:
    """Return the report, ready to paste."""
    current = findings.current
    endpoint = shown_endpoint(current.endpoint, show=show_resource)
    sections = [
        "# Azure OpenAI Realtime: minting client secrets with transcription",
        _how(findings, endpoint),
        f"**{verdict.headline}**",
        *([_list(verdict.because)] if verdict.because else []),
        "## 1. Every time, or intermittent?",
        _rates(findings),
        "## 2. The exact JSON",
        (
            "`<...>` stands for texts of ours. The calls named expires_after also had, beside `session`, "
            f"`{json.dumps(EXPIRES_AFTER)}`."
        ),
        *(f"{label[0].upper()}{label[1:]}:\n\n{_json(body)}" for label, body in findings.payloads.items()),
        "## 3. The calls",
        _calls(findings.calls),
        "## 4. Does API-key authentication fail too?",
        _also(
            findings,
            elsewhere(findings.calls, auth=API_KEY),
            "Not measured: no key was given (AZURE_OPENAI_API_KEY).",
        ),
        "## 5. Does another region fail too?",
        _region(findings, show_resource=show_resource),
        "## 6. Path and api-version",
        f"`POST {endpoint}{PATH}`: the GA path, "
        + (f"with `api-version={current.api_version}`." if current.api_version else "without an api-version."),
        "## 7. After connecting",
        _updates(findings),
    ]
    return "\n\n".join(sections) + "\n"


def document(findings: Findings, verdict: Verdict, *, show_resource: bool) -> str:
    """Return the same as JSON, for a program."""
    current = asdict(findings.current) | {
        "endpoint": shown_endpoint(findings.current.endpoint, show=show_resource)
    }
    if findings.current.compare_endpoint:
        second = shown_endpoint(findings.current.compare_endpoint, show=show_resource, stand_in="RESOURCE-2")
        current["compare_endpoint"] = second
    everything = {
        "version": __version__,
        "started_at": findings.started_at.isoformat(),
        "exit_status": verdict.exit_status,
        "verdict": verdict.headline,
        "because": verdict.because,
        "settings": dict(verdict.settings),
        "fault": findings.fault,
        "current": current,
        "payloads": findings.payloads,
        "calls": [_call(call) for call in findings.calls],
        "updates": [asdict(update) for update in findings.updates],
    }
    return json.dumps(everything, indent=2, default=str) + "\n"


def _how(findings: Findings, endpoint: str) -> str:
    who = findings.who
    auth = f"an Entra token of a {who.principal_type} for the audience {who.audience}" if who else "an Entra token"
    return (
        f"Measured from {_time(findings.started_at)} on: {len(findings.calls)} calls of `POST {endpoint}{PATH}`, "
        "one after the other, the variants interleaved, each call on a connection of its own, with "
        f"{auth} where nothing else is said. Realtime deployment `{findings.current.deployment}`. Made by "
        f"`python -m diagnose` {__version__}."
    )


def _call(call: Call) -> Json:
    return {**asdict(call), "at": call.at.isoformat(timespec="milliseconds")}


def _rates(findings: Findings) -> str:
    variants = dict.fromkeys(call.variant for call in findings.calls if call.round)
    if not variants:
        return "Not measured: minting failed before transcription came into it."
    rows = []
    for variant in sorted(
        variants, key=lambda one: (one.where != RESOURCE, one.auth == API_KEY, one.expires_after)
    ):
        one = tally(findings.calls, variant)
        rate = f"{round(100 * one.failed / one.asked)} %" if one.asked else "-"
        rows.append((variant.label, one.asked, one.failed, rate, one.other, ", ".join(one.reasons) or "-"))
    return _table(("What was minted", "Calls", "Failed", "Rate", "No evidence", "Answers that failed"), rows)


def _calls(calls: Iterable[Call]) -> str:
    rows = []
    for call in calls:
        bad = call.outcome not in (Outcome.MINTED, Outcome.DROPPED)
        cells = (
            call.number,
            _time(call.at),
            call.variant.label,
            reason(call),
            f"`{call.request_id}`" if call.request_id else "-",
            call.region or "-",
            call.milliseconds,
        )
        rows.append(tuple(f"**{cell}**" if bad and cell != "-" else cell for cell in cells))
    if not rows:
        return "None: nothing could be sent."
    head = ("#", "UTC", "What was minted", "Status", "apim-request-id", "x-ms-region", "ms")
    return f"Failed calls are in bold.\n\n{_table(head, rows)}"


def _also(findings: Findings, tallies: list[Tally], unmeasured: str) -> str:
    """Set what another credential or region gave beside the counts of the first."""
    if not tallies:
        return unmeasured
    rows = [
        (one.variant.label, one.words, tally(findings.calls, Variant(one.variant.field)).words) for one in tallies
    ]
    return _table(("What was minted", "Calls", "With the identity, at the first resource"), rows)


def _region(findings: Findings, *, show_resource: bool) -> str:
    second = findings.current.compare_endpoint
    if not second:
        return "Not measured: no second resource was given (--compare-endpoint)."
    answered = [call for call in findings.calls if call.variant.where == SECOND]
    regions = ", ".join(sorted({call.region for call in answered if call.region})) or "not stated"
    text = _also(findings, elsewhere(findings.calls, where=SECOND, auth=IDENTITY), "Not measured.")
    shown = shown_endpoint(second, show=show_resource, stand_in="RESOURCE-2")
    return f"Second resource `{shown}`, region by `x-ms-region`: {regions}.\n\n{text}"


def _updates(findings: Findings) -> str:
    if not findings.updates:
        return "Not tried."
    rows = [(one.field, one.ack, one.code or one.status or "-", one.param or "-") for one in findings.updates]
    return _table(("session.update with", "Answer", "Code", "Param"), rows)


def _time(at: object) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


def _json(body: object) -> str:
    return f"```json\n{json.dumps(body, indent=2, ensure_ascii=False)}\n```"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
