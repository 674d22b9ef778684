"""Every answer that is not a client secret: one exception, one table of codes.

A message is read by callers, so it never holds what a caller sent, what the upstream wrote, or a name of ours.

    MintError                   the caller sees status, code and message
    ├── callers: RefusedCallerError, with the challenge that 401 and 403 carry
    └── upstream: UpstreamError (mint/replies.py) adds what a retry needs to know; it never leaves mint/
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """How one error code is answered.

    `retry` is false where asking again cannot help: the answer then says `x-should-retry: false`, because the
    OpenAI SDKs otherwise send every 408, 409, 429 and 5xx three times.
    """

    status: int
    type: str
    retry: bool = False


_REQUEST = "invalid_request_error"
_SERVER = "server_error"

CODES: dict[str, Code] = {
    "invalid_json": Code(400, _REQUEST),
    "invalid_value": Code(400, _REQUEST),
    "unknown_field": Code(400, _REQUEST),
    "field_not_allowed": Code(400, _REQUEST),
    "unknown_profile": Code(400, _REQUEST),
    "body_too_large": Code(413, _REQUEST),
    "unsupported_media_type": Code(415, _REQUEST),
    "unauthenticated": Code(401, _REQUEST),
    "forbidden": Code(403, _REQUEST),
    "keys_unavailable": Code(503, _SERVER, retry=True),
    "quota_exceeded": Code(429, _REQUEST, retry=True),
    "overloaded": Code(503, _SERVER, retry=True),
    "misconfigured": Code(500, _SERVER),
    "internal_error": Code(500, _SERVER, retry=True),
    "identity_unavailable": Code(502, _SERVER, retry=True),
    "upstream_denied": Code(502, _SERVER),
    "deployment_not_found": Code(502, _SERVER),
    "deployment_not_realtime": Code(502, _SERVER),
    "upstream_rejected": Code(502, _SERVER),
    "transcription_rejected": Code(502, _SERVER),
    "upstream_throttled": Code(503, _SERVER, retry=True),
    "upstream_unavailable": Code(502, _SERVER, retry=True),
    "upstream_timeout": Code(504, _SERVER, retry=True),
}


class MintError(Exception):
    """A request that ends without a client secret.

    `code` is a key of `CODES`, `param` the path of the field at fault, `retry_after` whole seconds (at least 1),
    `upstream_request_id` Azure's `apim-request-id`. `detail` is for our log only.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        upstream_request_id: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.upstream_request_id = upstream_request_id
        self.detail = detail

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return CODES[self.code].status

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the answer's JSON, in the envelope that OpenAI's own errors have."""
        return {
            "error": {
                "message": self.message,
                "type": CODES[self.code].type,
                "code": self.code,
                "param": self.param,
                "upstream_request_id": self.upstream_request_id,
            }
        }

    def headers(self) -> dict[str, str]:
        """Return the headers that tell a client whether and when to ask again."""
        headers = {} if CODES[self.code].retry else {"x-should-retry": "false"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, self.retry_after))
        return headers


class RefusedCallerError(MintError):
    """A caller who may not mint: `unauthenticated` or `forbidden`. `challenge` is the WWW-Authenticate header."""

    def __init__(self, code: str, message: str, *, challenge: str = "Bearer", detail: str | None = None) -> None:
        super().__init__(code, message, detail=detail)
        self.challenge = challenge

    def headers(self) -> dict[str, str]:
        """Return the headers of every error, and the challenge (RFC 6750, section 3)."""
        return super().headers() | {"WWW-Authenticate": self.challenge}


def forget_frames(error: BaseException | None) -> None:
    """Let go of the frames that an error and those behind it went through.

    They hold replies, and the error itself, in circles that only the garbage collector ends; it comes after so
    many objects, whatever their size: 64 callers answered a megabyte each made the process grow by hundreds.
    """
    while error:
        error.__traceback__ = None
        error = error.__context__
