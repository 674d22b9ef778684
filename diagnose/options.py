"""The command line: what it takes, its help, and where the settings come from.

Options win over `--settings`, which wins over the environment. Of that file only the names that are needed are
read: an export of app settings holds secrets that are none of this program's business.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from diagnose.app import Target
from diagnose.app_words import BEARER_SETTING, KEY_SETTING
from mint.parse import safe_url
from mint.settings import app_settings

API_KEY_SETTING = "AZURE_OPENAI_API_KEY"
_DESCRIPTION = """\
Measure an Azure OpenAI resource: does minting client secrets work, with and without transcription, and which
TRANSCRIPTION_MODE and TRANSCRIPTION_FIELD suit it? Mints some dozens of client secrets and drops them all;
none is printed or stored. With --app, prove a published app instead: it mints for those it should, and for
nobody else."""
_EPILOG = """\
examples:
  az login
  .venv/bin/python -m diagnose --endpoint https://RESOURCE.openai.azure.com --deployment gpt-realtime \\
      --transcription-deployment gpt-4o-transcribe

  # with the app's own settings
  az functionapp config appsettings list --name APP --resource-group GROUP > app-settings.json
  .venv/bin/python -m diagnose --settings app-settings.json

  # for a support case: twenty of each, with a key and a second region beside it
  AZURE_OPENAI_API_KEY=... .venv/bin/python -m diagnose --settings app-settings.json --repeat 20 \\
      --compare-endpoint https://OTHER.openai.azure.com --report report.md

  # prove a published app, after every publish
  APP_FUNCTION_KEY=... .venv/bin/python -m diagnose --app https://APP.azurewebsites.net --origin https://WEB.APP

  # without Azure, against the simulated resource
  .venv/bin/python -m local.azure --port 9900 &
  IDENTITY_ENDPOINT=http://127.0.0.1:9900/msi/token IDENTITY_HEADER=simulated-identity-header \\
      .venv/bin/python -m diagnose --endpoint http://127.0.0.1:9900 --deployment gpt-realtime \\
      --transcription-deployment gpt-4o-transcribe

exit status:
  0  nothing has to change. Also where Azure has the defect and the current settings avoid it: the verdict
     tells of the defect, and callers do not notice it.
  1  something has to change: minting fails whatever the session, or the current settings would fail callers,
     or Azure is throttling or out of order.
  2  nothing was learnt about the resource: settings or options are wrong, there is no token, nothing answers
     at the endpoint, or it was interrupted.
  With --app: 0 if every step passed, 1 if one failed, 2 if nothing answers at the address.

what this cannot tell:
  Whether transcripts arrive. Azure looks the transcription deployment up only once it has heard audio.
  Whether the app's identity has the role, when it runs as you: after az login the role measured is yours."""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """As wide everywhere as in docs/diagnose-help.txt, whatever the terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=108, max_help_position=36)


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    made = argparse.ArgumentParser(
        prog="python -m diagnose",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=_Formatter,
    )
    source = made.add_argument_group("settings", "by default those of the environment")
    source.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="a local.settings.json, or what `az functionapp config appsettings list` prints",
    )
    source.add_argument("--endpoint", metavar="URL", help="AZURE_OPENAI_ENDPOINT")
    source.add_argument("--deployment", metavar="NAME", help="AZURE_OPENAI_REALTIME_DEPLOYMENT")
    source.add_argument("--transcription-deployment", metavar="NAME", help="AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT")
    source.add_argument("--profile", metavar="NAME", help="of sessions/ (default: default)")
    how = made.add_argument_group("measuring")
    how.add_argument(
        "--repeat",
        type=_whole(1, 1000),
        default=5,
        metavar="N",
        help="mints of each kind, the kinds interleaved (default %(default)s)",
    )
    how.add_argument(
        "--timeout",
        type=_whole(1, 300),
        default=15,
        metavar="SECONDS",
        help="for each call (default %(default)s)",
    )
    how.add_argument(
        "--compare-endpoint",
        metavar="URL",
        help="a resource in another region, with the same deployment names and role",
    )
    how.add_argument("--no-connect", action="store_true", help="open no WebSocket, send no session.update")
    app = made.add_argument_group("a published app")
    app.add_argument("--app", metavar="URL", help="prove this app, as https://APP.azurewebsites.net")
    app.add_argument(
        "--key", metavar="KEY", help=f"a function key; better in {KEY_SETTING}, which no process list shows"
    )
    app.add_argument("--bearer", metavar="TOKEN", help=f"a token of a user; better in {BEARER_SETTING}")
    app.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="URL",
        help="an origin that CORS has to let in, as https://WEB.APP; may be repeated",
    )
    result = made.add_argument_group("result")
    result.add_argument(
        "--report", type=Path, metavar="FILE", help="write the report for a support case, Markdown"
    )
    result.add_argument("--json", type=Path, metavar="FILE", help="write the same as JSON")
    result.add_argument(
        "--show-resource", action="store_true", help="name the resource in both; otherwise it is RESOURCE"
    )
    return made


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"takes a whole number from {low} to {high}")
        return int(text)

    return parse


def settings_from(asked: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment to read settings from; raises `ValueError` or `OSError` for a file that is none."""
    merged = dict(environ)
    if asked.settings:
        merged |= _wanted(json.loads(asked.settings.read_text("utf-8")))
    options = {
        "AZURE_OPENAI_ENDPOINT": asked.endpoint,
        "AZURE_OPENAI_REALTIME_DEPLOYMENT": asked.deployment,
        "AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT": asked.transcription_deployment,
    }
    return merged | {name: value for name, value in options.items() if value}


def target_from(asked: argparse.Namespace, environ: Mapping[str, str]) -> Target:
    """Return the app to prove; raises `ValueError` for an address or origin that is none."""
    given = [asked.app, *asked.origin]
    urls = [safe_url(url.rstrip("/")) for url in given]
    if any(urlsplit(url).path or urlsplit(url).query for url in urls):
        raise ValueError("has a path")
    return Target(
        url=urls[0],
        key=asked.key or environ.get(KEY_SETTING, "").strip() or None,
        bearer=asked.bearer or environ.get(BEARER_SETTING, "").strip() or None,
        origins=tuple(urls[1:]),
        profile=asked.profile,
        timeout=asked.timeout,
        connect=not asked.no_connect,
    )


def _wanted(document: object) -> dict[str, str]:
    """Return the settings that matter here, from either shape of file."""
    if isinstance(document, list):
        pairs = {entry.get("name"): entry.get("value") for entry in document if isinstance(entry, dict)}
    else:
        pairs = document.get("Values", {}) if isinstance(document, dict) else {}
    known = {declared.metadata["name"] for declared in app_settings()} | {API_KEY_SETTING}
    found = {name: value for name, value in pairs.items() if name in known and isinstance(value, str)}
    if not found:
        raise ValueError("holds no setting of this app")
    return found
