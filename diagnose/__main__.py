"""`python -m diagnose`: reads the settings, runs the checks, prints the verdict and writes the report.

Its exit status is part of the contract; `--help` says what each one means.
"""

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from diagnose.app import VERDICTS, prove
from diagnose.checks import Plan, run
from diagnose.console import Terminal
from diagnose.options import API_KEY_SETTING, parser, settings_from, target_from
from diagnose.payloads import payload, shown
from diagnose.records import Current, Fault, Findings, Step, Variant
from diagnose.remedies import help_for
from diagnose.report import document, markdown
from diagnose.verdict import HEALTHY, NOT_RUN, decide
from mint.errors import MintError
from mint.identity import Identity, platform_credential
from mint.profiles import Profiles
from mint.session import Session, compose
from mint.settings import FLAT_FIELD, GA_FIELD, MisconfiguredError, Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit status."""
    asked = parser().parse_args(arguments)
    logging.getLogger("azure").setLevel(logging.CRITICAL)  # azure-identity tells stderr what a step says better
    with Terminal() as terminal:
        try:
            if asked.app:
                return _prove(asked, dict(os.environ), terminal)  # noqa: TID251 - handed on to the one reader
            return _diagnose(asked, dict(os.environ), terminal)  # noqa: TID251 - handed on to the one reader
        except KeyboardInterrupt:
            terminal.line("Interrupted; nothing was written.")
            return NOT_RUN


def _prove(asked: argparse.Namespace, environ: Mapping[str, str], terminal: Terminal) -> int:
    try:
        target = target_from(asked, environ)
    except ValueError:
        terminal.line("--app and --origin take https addresses without a path, as https://APP.azurewebsites.net.")
        return NOT_RUN
    status = prove(target, terminal)
    terminal.line()
    terminal.line(f"Verdict: {VERDICTS[status]}", "bold green" if status == HEALTHY else "bold red")
    return status


def _diagnose(asked: argparse.Namespace, environ: Mapping[str, str], terminal: Terminal) -> int:
    try:
        environ = settings_from(asked, environ)
        settings = Settings.read(environ)
        second = _second(asked, environ)
        session = _session(settings, asked.profile)
    except MisconfiguredError as error:
        return _no_settings(terminal, error.problems)
    except MintError as error:
        return _no_settings(terminal, [error.message])
    except (ValueError, OSError) as error:
        what = error.strerror if isinstance(error, OSError) else "is not a file of app settings"
        return _no_settings(terminal, [f"{asked.settings}: {what}."])
    key = environ.get(API_KEY_SETTING, "").strip() or None
    findings = _findings(settings, session, second)
    now = findings.current
    where = "off" if now.mode == "off" else f"{now.mode} at {now.field}"
    terminal.step(Step("settings", ok=True, text=f"deployment {now.deployment}, transcription {where}"))
    session = _with_a_block(session, settings)
    plan = Plan(
        session=session,
        identity=lambda scope: Identity(scope, lambda: platform_credential(settings)),
        api_key=key,
        repeat=asked.repeat,
        timeout=asked.timeout,
        connect=not asked.no_connect,
    )
    findings = run(findings, plan, terminal)
    verdict = decide(findings)
    terminal.verdict(verdict)
    for path, render in ((asked.report, markdown), (asked.json, document)):
        if path:
            try:
                path.write_text(render(findings, verdict, show_resource=asked.show_resource), "utf-8")
            except OSError as error:
                terminal.line(f"{path} cannot be written: {error.strerror}.")
                return NOT_RUN
            terminal.line(f"Written: {path}")
    return verdict.exit_status


def _second(asked: argparse.Namespace, environ: Mapping[str, str]) -> str | None:
    """Return the second endpoint, held to the same rule as the first."""
    if not asked.compare_endpoint:
        return None
    try:
        return Settings.read({**environ, "AZURE_OPENAI_ENDPOINT": asked.compare_endpoint}).endpoint
    except MisconfiguredError as error:
        raise MisconfiguredError(["--compare-endpoint must be an https URL, as AZURE_OPENAI_ENDPOINT."]) from error


def _session(settings: Settings, profile: str | None) -> Session:
    """Return the session that the app would mint for a client that asks for nothing."""
    profiles = Profiles(settings.ttl_seconds)
    return compose({}, profiles.named(profile), profiles.schema, settings)


def _with_a_block(session: Session, settings: Settings) -> Session:
    """Give a session without transcription the plainest block to measure with, if there is a deployment for it."""
    if session.transcription is None and settings.transcription_deployment:
        return replace(session, transcription={"model": settings.transcription_deployment})
    return session


def _findings(settings: Settings, session: Session, second: str | None) -> Findings:
    measured = _with_a_block(session, settings)
    fields = (None, GA_FIELD, FLAT_FIELD) if measured.transcription else (None,)
    return Findings(
        started_at=datetime.now(UTC),
        current=Current(
            endpoint=settings.endpoint,
            deployment=settings.deployment,
            mode="off" if session.transcription is None else settings.transcription_mode,
            field=settings.transcription_field,
            scope=settings.scope,
            api_version=settings.api_version,
            sends_expires_after=session.expires_after_seconds is not None,
            compare_endpoint=second,
        ),
        payloads={one.label: shown(payload(measured, one)) for one in map(Variant, fields)},
    )


def _no_settings(terminal: Terminal, problems: list[str]) -> int:
    nothing = Current(endpoint="", deployment="", mode="off", field="", scope="")
    help_ = help_for(Fault.SETTINGS, nothing, None)
    for problem in problems[:-1]:
        terminal.step(Step("settings", ok=False, text=problem))
    terminal.step(Step("settings", ok=False, text=problems[-1], help=help_))
    return NOT_RUN


if __name__ == "__main__":
    sys.exit(main())
