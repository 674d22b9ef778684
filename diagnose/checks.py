"""The run: one step after the other, each shown as it finishes, and what was found.

It stops where going on could teach nothing: at settings that cannot be read, or a refusal that is the same for
every session. A 500 is not such a refusal.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import requests

from diagnose.calls import Resource
from diagnose.connect import update
from diagnose.faults import fault_of
from diagnose.hints import FOR_ACK, for_variant
from diagnose.identity import who_is
from diagnose.payloads import payload
from diagnose.records import (
    API_KEY,
    IDENTITY,
    RESOURCE,
    SECOND,
    Ack,
    Call,
    Fault,
    Findings,
    Help,
    Outcome,
    Step,
    Update,
    Variant,
)
from diagnose.remedies import help_for
from diagnose.tally import State, reason, tally
from diagnose.variants import interleaved, variants
from mint.errors import MintError
from mint.identity import Identity
from mint.session import Session
from mint.settings import FLAT_FIELD, GA_FIELD

SCOPES = ("https://cognitiveservices.azure.com/.default", "https://ai.azure.com/.default")
_PATIENCE = 30
"""Seconds to wait for a token: on a laptop the Azure CLI is asked, which takes its time."""


class Show(Protocol):
    """Where the run tells of itself."""

    def step(self, step: Step) -> None:
        """Show a finished step."""

    def advance(self, done: int, total: int, doing: str) -> None:
        """Show how far a long step is; `done == total` ends it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. `identity(scope)` gives the identity for a token scope; the key is never shown."""

    session: Session
    identity: Callable[[str], Identity]
    api_key: str | None = field(repr=False)
    repeat: int
    timeout: float
    connect: bool


def run(findings: Findings, plan: Plan, show: Show) -> Findings:
    """Return `findings` with everything that could be measured."""
    run_ = _Run(findings, plan, show)
    run_.all()
    return run_.findings


class _Run:
    """One run under way: it alone holds a token or a client secret, and only as long as a call takes."""

    def __init__(self, findings: Findings, plan: Plan, show: Show) -> None:
        self.findings = findings
        self._plan = plan
        self._show = show
        self._current = findings.current
        self._resources = {RESOURCE: self._resource(self._current.endpoint, self._current.scope)}

    def all(self) -> None:
        """Take every step in order."""
        if not (self._identity() and self._network()):
            return
        if self._preflight():
            self._rounds(identity=True)
            self._connect()
        elif self.findings.fault in (Fault.ROLE, Fault.AUDIENCE) and self._plan.api_key:
            self._rounds(identity=False)  # the key may still answer question 4

    def _resource(self, endpoint: str, scope: str) -> Resource:
        identity, key = self._plan.identity(scope), self._plan.api_key
        return Resource(
            endpoint,
            self._current.api_version,
            {IDENTITY: lambda: identity.token(_PATIENCE), API_KEY: lambda: key or ""},
            self._plan.timeout,
        )

    def _identity(self) -> bool:
        try:
            token = self._resources[RESOURCE].credentials[IDENTITY]()
        except MintError as error:
            first = (error.detail or "").partition("\n")[0][:200]
            return self._stop("identity", f"no token: {first}", Fault.IDENTITY)
        self.findings = replace(self.findings, who=(who := who_is(token)))
        if who is None:
            return self._ok("identity", "a token, which does not say whose")
        text = f"object id {who.object_id} ({who.principal_type}), tenant {who.tenant}, audience {who.audience}"
        return self._ok("identity", text)

    def _network(self) -> bool:
        try:
            self._resources[RESOURCE].reach()
        except (requests.RequestException, OSError) as error:
            kind = type(error).__name__
            return self._stop("network", f"no answer from {self._current.endpoint} ({kind})", Fault.UNREACHABLE)
        return self._ok("network", f"{self._current.endpoint} answers")

    def _preflight(self) -> bool:
        """Mint once, and read from the answer whether role and deployment are right."""
        call = self._mint(Variant(None), 0)
        fault = fault_of(call)
        if fault is Fault.AUDIENCE and self._other_audience():
            return True
        happened = f"a mint without transcription got {reason(call)}"
        happened += f", to be tried again in {call.retry_after} s" if call.retry_after else ""
        if fault in (Fault.NO_DEPLOYMENT, Fault.NOT_REALTIME):
            self._ok("role", "the identity may mint")
            return self._stop("realtime deployment", happened, fault)
        if fault:
            self._stop("role" if call.outcome is Outcome.DENIED else "mint", happened, fault)
            return self._skip("realtime deployment", "not known: the mint did not get that far")
        if call.outcome is Outcome.FAILED:
            self._skip("role", f"not known yet: {happened}")
            return self._skip("realtime deployment", "not known yet") or True
        self._ok("role", "the identity may mint")
        return self._ok("realtime deployment", f"{self._current.deployment} is of a realtime model")

    def _other_audience(self) -> bool:
        refused = self._resources[RESOURCE]
        for scope in SCOPES:
            if scope == self._current.scope:
                continue
            self._resources[RESOURCE] = self._resource(self._current.endpoint, scope)
            if fault_of(call := self._mint(Variant(None), 0)) is None and call.status is not None:
                token = self._resources[RESOURCE].credentials[IDENTITY]()
                self.findings = replace(self.findings, scope_that_works=scope, who=who_is(token))
                text = f"the audience of {self._current.scope} is refused, that of {scope} accepted"
                self._stop("role", text, Fault.OTHER_AUDIENCE)
                return True
        self._resources[RESOURCE] = refused
        return False

    def _rounds(self, *, identity: bool) -> None:
        """Mint every kind `repeat` times; with the key alone where the identity may not."""
        second = self._current.compare_endpoint
        if second:
            scope = self.findings.scope_that_works or self._current.scope
            self._resources[SECOND] = self._resource(second, scope)
        kinds = variants(
            transcribed=self._plan.session.transcription is not None,
            identity=identity,
            api_key=self._plan.api_key is not None,
            second=second is not None,
        )
        total = len(kinds) * self._plan.repeat
        for done, (round_, variant) in enumerate(interleaved(kinds, self._plan.repeat)):
            self._show.advance(done, total, variant.label)
            self._mint(variant, round_)
        self._show.advance(total, total, "")
        said: set[Help | None] = set()
        for variant in kinds:
            one = tally(self.findings.calls, variant)
            ok = None if one.state is State.UNKNOWN else one.state is State.WORKS
            hint = for_variant(self.findings.calls, variant)
            self._show.step(Step(variant.label, ok, one.words, None if hint in said else hint))
            said.add(hint)

    def _connect(self) -> None:
        block = self._plan.session.transcription
        if not self._plan.connect or block is None:
            self._skip("connect", "left out" if block else "transcription is off: there is nothing to update")
            return
        if not tally(self.findings.calls, Variant(None)).minted:
            self._skip("connect", "not tried: no mint succeeded")
            return
        for name in (GA_FIELD, FLAT_FIELD):
            one = self._update(name)
            self.findings = replace(self.findings, updates=(*self.findings.updates, one))
            code = f" {one.code or one.status}" if one.code or one.status else ""
            unknown = one.ack in (Ack.NOT_CONNECTED, Ack.NO_ANSWER)
            ok = None if unknown else one.ack is Ack.UPDATED
            self._show.step(Step(f"session.update with {name}", ok, f"{one.ack}{code}", FOR_ACK.get(one.ack)))

    def _update(self, name: str) -> Update:
        sent = payload(self._plan.session, Variant(None))
        call, minted = self._resources[RESOURCE].mint(Variant(None), sent, self._next(), 0)
        self.findings = replace(self.findings, calls=(*self.findings.calls, call))
        block = self._plan.session.transcription
        if minted is None or block is None:
            return Update(name, Ack.NOT_CONNECTED)
        current = self._current
        return update(current.endpoint, current.deployment, minted.value, name, block, self._plan.timeout)

    def _mint(self, variant: Variant, round_: int) -> Call:
        sent = payload(self._plan.session, variant)
        call, _dropped_secret = self._resources[variant.where].mint(variant, sent, self._next(), round_)
        self.findings = replace(self.findings, calls=(*self.findings.calls, call))
        return call

    def _next(self) -> int:
        return len(self.findings.calls) + 1

    def _ok(self, name: str, text: str) -> bool:
        self._show.step(Step(name, ok=True, text=text))
        return True

    def _skip(self, name: str, text: str) -> bool:
        self._show.step(Step(name, ok=None, text=text))
        return False

    def _stop(self, name: str, text: str, fault: Fault) -> bool:
        self.findings = replace(self.findings, fault=fault)
        help_ = help_for(fault, self._current, self.findings.who, self.findings.scope_that_works)
        self._show.step(Step(name, ok=False, text=text, help=help_))
        return False
