"""What was measured, as frozen records: what the verdict and the report are made from.

No record has room for a token, a key, a client secret, instructions or Azure's own text, so none can be printed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mint.body import Json


class Outcome(StrEnum):
    """What a mint came to."""

    MINTED = "minted"
    DROPPED = "minted, and the block ignored"
    FAILED = "failed"
    DENIED = "denied"
    NO_DEPLOYMENT = "deployment missing"
    NOT_REALTIME = "deployment not realtime"
    THROTTLED = "throttled"
    NO_ANSWER = "no answer"


EVIDENCE = frozenset({Outcome.MINTED, Outcome.DROPPED, Outcome.FAILED})
"""What says something about the block. Throttling, 401, timeouts and lost connections never do."""

IDENTITY, API_KEY = "identity", "API key"
RESOURCE, SECOND = "resource", "second region"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to mint: where the transcription block is (None: left out), and what else differs."""

    field: str | None
    expires_after: bool = False
    auth: str = IDENTITY
    where: str = RESOURCE

    @property
    def label(self) -> str:
        """The words for it: what was minted, then what differed from the first three."""
        block = f"with {self.field}" if self.field else "without transcription"
        return ", ".join([f"mint {block}", *self.besides])

    @property
    def besides(self) -> list[str]:
        """What differs from the first three kinds of mint, besides the block."""
        return [
            *(["expires_after"] if self.expires_after else []),
            *([self.auth] if self.auth == API_KEY else []),
            *([self.where] if self.where == SECOND else []),
        ]


@dataclass(frozen=True, slots=True)
class Call:
    """One mint. `round` 0 is the call that finds out whether minting works at all; it is in no rate."""

    number: int
    round: int
    variant: Variant
    at: datetime
    outcome: Outcome
    status: int | None
    milliseconds: int
    code: str | None = None
    param: str | None = None
    request_id: str | None = None
    region: str | None = None
    retry_after: int | None = None


class Ack(StrEnum):
    """What came of one `session.update`."""

    UPDATED = "session.updated"
    IGNORED = "session.updated without the block"
    ERROR = "error"
    CLOSED = "connection closed"
    NO_ANSWER = "no answer"
    NOT_CONNECTED = "not connected"


@dataclass(frozen=True, slots=True)
class Update:
    """A `session.update` with the block at `field`, on a connection of its own; `status` is the handshake's."""

    field: str
    ack: Ack
    code: str | None = None
    param: str | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Who:
    """The identity, as its token names it. The token is not verified here; Azure does that."""

    object_id: str
    tenant: str
    audience: str
    principal_type: str


class Fault(StrEnum):
    """What stands in the way of minting at all, whatever the session; `diagnose.remedies` explains each."""

    SETTINGS = "settings"
    IDENTITY = "identity"
    UNREACHABLE = "unreachable"
    ROLE = "role"
    AUDIENCE = "audience"
    OTHER_AUDIENCE = "other_audience"
    NETWORK_RULES = "network_rules"
    FORBIDDEN = "forbidden"
    NO_DEPLOYMENT = "deployment_not_found"
    NOT_REALTIME = "deployment_not_realtime"
    REJECTED = "rejected"
    NOT_FOUND = "not_found"
    THROTTLED = "throttled"
    NO_ANSWER = "no_answer"


@dataclass(frozen=True, slots=True)
class Current:
    """What the settings say now, as far as the verdict judges them. `mode` is `off` without a block."""

    endpoint: str
    deployment: str
    mode: str
    field: str
    scope: str
    api_version: str | None = None
    sends_expires_after: bool = False
    compare_endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that one run found out."""

    started_at: datetime
    current: Current
    payloads: Mapping[str, Json] = field(repr=False)
    """The JSON of each base variant by its label, as `diagnose.payloads.shown` lets it be seen."""
    who: Who | None = None
    fault: Fault | None = None
    scope_that_works: str | None = None
    calls: tuple[Call, ...] = ()
    updates: tuple[Update, ...] = ()


@dataclass(frozen=True, slots=True)
class Help:
    """What one fault generally means, and what to paste against it."""

    means: str
    paste: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the run: `ok` is None where a step was left out."""

    name: str
    ok: bool | None
    text: str
    help: Help | None = None
