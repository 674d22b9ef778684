"""What app settings may hold: parsers that return the value, or raise ValueError without repeating it."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_HOST = r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*|[0-9a-f:]+"
"""Host names and addresses as urlsplit gives them; others would fail only in the middle of a mint."""


def safe_url(text: str) -> str:
    """Return the text if it is an https URL, or an http one that stays on this machine; raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError
    if not re.fullmatch(_HOST, parts.hostname or "") or not re.fullmatch(r"[!-~]+", text):
        raise ValueError
    if "@" in parts.netloc or parts.fragment or parts.port == 0:
        raise ValueError
    return text


def url(text: str) -> str:
    """Return a URL without query or slash at the end; raises ValueError as `safe_url` does."""
    if urlsplit(safe_url(text)).query:
        raise ValueError
    return text.rstrip("/")


def endpoint(text: str) -> str:
    """Return a resource's URL, of what the portal or an SDK's example shows of it."""
    return url(text.rstrip("/").removesuffix("/openai/v1"))


def matching(pattern: str) -> Callable[[str], str]:
    """Return a parser that takes what matches the whole pattern."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser that takes one of the words."""
    return matching("|".join(map(re.escape, choices)))


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= (number := int(text)) <= high:
            raise ValueError
        return number

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of numbers from `low` to `high`."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or not low <= (number := float(text)) <= high:
            raise ValueError
        return number

    return parse


def issuer(text: str) -> str:
    """Return an issuer's URL as it was written."""
    url(text)
    return text  # to the last slash: tokens and the discovery document have to state exactly this


def quota(text: str) -> str:
    """Return windows in the notation of `limits`, or off."""
    if text == "off":
        return text
    from limits import parse_many  # noqa: PLC0415 - it brings an asyncio half that costs every cold start

    for window in parse_many(text):
        if not 1 <= window.amount <= 100_000 or not 1 <= window.get_expiry() <= 366 * 86400:
            raise ValueError
    return text


def storage(text: str) -> str:
    """Return the address of a Redis, or memory://."""
    parts = urlsplit(text)
    if text == "memory://":
        return text
    if parts.scheme not in {"redis", "rediss"} or not re.fullmatch(_HOST, parts.hostname or "") or parts.port == 0:
        raise ValueError
    if parts.query or parts.fragment or not re.fullmatch(r"/?[0-9]{0,3}", parts.path):
        raise ValueError
    return text
