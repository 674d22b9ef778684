"""What comes of a mint: a client secret, or an error that knows what may help."""

from dataclasses import dataclass, field
from enum import Enum

from mint.body import Json
from mint.errors import MintError


class Remedy(Enum):
    """What may help a failed upstream call, besides a person."""

    NONE = "none"
    AGAIN = "again"
    FRESH_TOKEN = "fresh_token"  # noqa: S105 - the name of a remedy


@dataclass(frozen=True, slots=True)
class Minted:
    """A client secret as Azure gave it.

    `expires_at` is in Unix seconds. `echo` is the session that Azure says it configured; it holds the
    instructions and tools, and is not for callers. `endpoint` is the resource that minted it; `configured` and
    `session_update` are the caller's reply fields of those names.
    """

    value: str = field(repr=False)
    expires_at: int
    session_id: str
    echo: Json = field(repr=False)
    endpoint: str = ""
    configured: str = "off"
    session_update: Json | None = None


class UpstreamError(MintError):
    """The upstream gave no client secret.

    `upstream_status` is its own HTTP status, None where there was no reply; `upstream_text` what it wrote, and is
    neither answered nor logged.
    """

    def __init__(  # noqa: PLR0913 - a MintError's arguments and four more
        self,
        code: str,
        message: str,
        *,
        upstream_status: int | None = None,
        remedy: Remedy = Remedy.NONE,
        param: str | None = None,
        retry_after: int | None = None,
        upstream_request_id: str | None = None,
        detail: str | None = None,
        upstream_text: str = "",
    ) -> None:
        super().__init__(
            code,
            message,
            param=param,
            retry_after=retry_after,
            upstream_request_id=upstream_request_id,
            detail=detail,
        )
        self.upstream_status = upstream_status
        self.upstream_text = upstream_text
        self.remedy = remedy
