"""`python -m clients.python`: does all that a client does, from the mint to the transcript of a wav file.

Run it against a deployment to see that everything works. 0 means that a transcript came; it costs a few seconds of
realtime audio. It does not judge the wording.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clients.python.speech import NotSpeechError, Speech
from clients.python.talk import TalkError, transcript_of


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m clients.python", description="Say a wav file to the service and print what it wrote down."
    )
    parser.add_argument(
        "--token-url", required=True, help="https://APP.azurewebsites.net/api/realtime/client_secrets"
    )
    parser.add_argument("--wav", required=True, type=Path, help="16-bit PCM with speech in it")
    parser.add_argument("--function-key", help="sent as x-functions-key")
    parser.add_argument("--bearer-token", help="the caller's access token, sent as Authorization: Bearer")
    parser.add_argument("--profile", help="one of the endpoint's profiles")
    parser.add_argument(
        "--timeout", type=float, default=15, metavar="S", help="for each step (default %(default)s)"
    )
    parser.add_argument("--events", action="store_true", help="write every event to stderr")
    return parser.parse_args(arguments)


async def run(arguments: argparse.Namespace) -> list[str]:
    """Return the transcript, turn by turn."""
    headers = {}
    if arguments.function_key:
        headers["x-functions-key"] = arguments.function_key
    if arguments.bearer_token:
        headers["Authorization"] = f"Bearer {arguments.bearer_token}"
    url = arguments.token_url
    if arguments.profile:
        url += f"{'&' if '?' in url else '?'}profile={arguments.profile}"

    def watch(way: str, event: dict[str, Any]) -> None:
        if arguments.events:
            sys.stderr.write(f"{way} {json.dumps(event)}\n")

    return await transcript_of(Speech(arguments.wav), url, headers, timeout_s=arguments.timeout, watch=watch)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the transcript, or why there is none; the result is the exit code."""
    try:
        turns = asyncio.run(run(parse_arguments(arguments)))
    except (NotSpeechError, TalkError) as error:
        sys.stderr.write(f"No transcript. {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    sys.stdout.write("\n".join(turns) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
