"""Who is asking: turns a request's headers into a `Caller`, as CALLER_AUTH says.

With `function_key` the platform has checked the key before we are called, and the key says nothing about who
holds it; what tells callers apart is then their address.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from mint.settings import Settings

_HASH_KEY = secrets.token_bytes(32)
"""Random per process, so that a caller's hash means nothing outside one instance's log."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone who may mint. `key` tells callers apart and is personal data; `hash` stands for it in logs."""

    key: str = field(repr=False)
    hash: str


def authenticate(headers: Mapping[str, str], settings: Settings) -> Caller:
    """Return the caller. `function_key` and `anonymous` callers are told apart by address."""
    key = f"address:{_address(headers, settings)}"
    return Caller(key, hmac.new(_HASH_KEY, key.encode(), hashlib.sha256).hexdigest()[:32])


def _address(headers: Mapping[str, str], settings: Settings) -> str:
    """Return the client's address: the last hop, which the platform appended itself, less its port.

    Anything before it is the client's own claim. Off Azure nobody appends it, so that nobody can be believed.
    """
    if not settings.on_azure:
        return "local"
    hop = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    if hop.startswith("["):  # [2001:db8::1]:443
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
