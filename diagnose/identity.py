"""Who the identity is, read from its own token.

The token is neither verified here, which is Azure's part, nor kept.
"""

import base64
import binascii
import json
import re
from typing import Any

from diagnose.records import Who


def who_is(token: str) -> Who | None:
    """Return the principal that `token` names, None if it is not a readable JWT."""
    unverified = _claims(token)
    if not unverified.get("oid"):
        return None
    # `idtyp` is optional; a delegated token has scopes, an app's has none.
    user = unverified.get("idtyp") == "user" or ("idtyp" not in unverified and "scp" in unverified)
    return Who(
        object_id=_plain(unverified.get("oid")),
        tenant=_plain(unverified.get("tid")),
        audience=_plain(unverified.get("aud")),
        principal_type="User" if user else "ServicePrincipal",
    )


def _claims(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _plain(value: object) -> str:
    """Return an id or an address; these end in a command to paste, so that nothing else may pass."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9:/._-]{1,200}", value) else "unknown"
