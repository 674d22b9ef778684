"""The workaround: what is done about transcription while Azure refuses it at mint time.

With the transcription block in the mint payload Azure answered 500 in Sweden Central, without it 200; Microsoft's
advice is to mint without and to send a `session.update` once connected
(learn.microsoft.com/answers/questions/5908916). This class has the methods that `Upstream` has, and stands in its
place at one line of mint/service.py. docs/decisions.md says how to remove it. Evidence is per process.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mint.body import Json
from mint.errors import MintError
from mint.evidence import Evidence
from mint.outcome import Minted, UpstreamError
from mint.session import Session, with_block
from mint.settings import FLAT_FIELD, GA_FIELD, Settings
from mint.trip import Trip
from mint.upstream import Upstream

SHORTEST_LIFETIME = 10
"""Seconds: the least that the API takes for `expires_after.seconds`."""


def _in_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="probe", daemon=True).start()


class Transcription:
    """Does what TRANSCRIPTION_MODE says; a client never learns which mode it was."""

    def __init__(
        self,
        settings: Settings,
        upstream: Upstream,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        run_probe: Callable[[Callable[[], None]], None] = _in_thread,
    ) -> None:
        """`run_probe` runs a probe away from the caller that set it off."""
        self._settings = settings
        self._mode = settings.transcription_mode
        self._upstream = upstream
        self._clock = clock
        self._run_probe = run_probe
        self._evidence = Evidence(settings.probe_seconds, adopts=self._mode == "auto", clock=clock, wall=wall)
        self._expires_after_refused = False

    def mint(self, session: Session, trip: Trip) -> Minted:
        """Mint `session`; the result's `session_update` is there exactly when transcription is not configured.

        Raises what `Upstream.mint` raises, and `MintError` `transcription_rejected` where the mode forces a
        block that Azure refuses.
        """
        if session.transcription is None:
            return self._upstream.mint(session, trip)
        if self._mode == "mint_time":
            return self._forced(session, trip)
        if self._evidence.in_use and not trip.block_sent:  # one call with it for a request, whatever the resource
            return self._with_a_way_back(session, trip)
        minted = self._deferred(self._upstream.send(session, trip), session)
        if not trip.block_sent and self._evidence.claim_probe():
            try:
                self._run_probe(lambda: self._probe(session))
            except RuntimeError:  # there is no thread to be had, and the mint went well
                self._evidence.probe_inconclusive()
        return minted

    def health(self, session: Session) -> Json:
        """Return what /api/health says of transcription, `configured` being what a mint of `session` would say."""
        configured = "mint_time" if self._mode == "mint_time" or self._evidence.in_use else "post_connect"
        evidence = self._evidence.health()
        if self._mode == "mint_time" and evidence["mint_time_works"] is False:
            configured = "post_connect"  # the block is sent and dropped, so that callers get the update
        return {
            "mode": self._mode if self._settings.transcription_deployment else "off",
            "configured": "off" if session.transcription is None else configured,
            **evidence,
        }

    def take_notices(self) -> list[Json]:
        """Return log events that no request of its own stands for."""
        return self._evidence.take_notices()

    def _forced(self, session: Session, trip: Trip) -> Minted:
        """mint_time: a refusal of the block is an error at once: retries do not help, says the report."""
        try:
            minted = self._upstream.send(session, trip, transcribed=True, final=_refuses_block)
        except UpstreamError as error:
            if not _refuses_block(error):
                raise
            raise MintError(
                "transcription_rejected",
                "Azure OpenAI refused the mint with the transcription block in it. Set TRANSCRIPTION_MODE to "
                "post_connect. If that is refused too, it was an outage and not the block.",
                upstream_request_id=error.upstream_request_id,
                detail=error.detail,
            ) from error
        echoed = _echoes_block(minted.echo)
        self._evidence.forced_mint(echoed=echoed)
        return _configured(minted) if echoed else self._deferred(minted, session)

    def _with_a_way_back(self, session: Session, trip: Trip) -> Minted:
        """auto, while the block works: one call with it, and if that fails what post_connect would have done.

        The block is blamed only if minting without it succeeds in this very request; if both are refused it was
        an outage. Throttling is passed on at once: another call would only add to it.
        """
        try:
            with trip.half_the_time():
                minted = self._upstream.send(session, trip, transcribed=True, final=_any)
        except UpstreamError as error:
            if not trip.may_call() or error.code == "upstream_throttled":
                raise
            without = self._upstream.send(session, trip)
            if _may_blame_block(error):
                self._evidence.mint_refused()
            return self._deferred(without, session)
        if _echoes_block(minted.echo):
            self._evidence.mint_worked()
            return _configured(minted)
        self._evidence.mint_refused()
        return self._deferred(minted, session)

    def _probe(self, session: Session) -> None:
        """Mint once more with the block, drop the secret, and note what came of it.

        The mint just before it, of the same session without the block, is what it is compared with. It asks for
        the shortest lifetime, and without one where that is refused: no public report tells of Azure honouring
        `expires_after`, and a refusal of it must not be taken for one of the block.
        """
        outcome = self._evidence.probe_inconclusive
        try:
            refused = False
            if not self._expires_after_refused:
                refused = self._refuses(replace(session, expires_after_seconds=SHORTEST_LIFETIME))
            if refused or self._expires_after_refused:
                again = self._refuses(session)
                self._expires_after_refused |= refused and not again
                refused = again
            outcome = self._evidence.probe_refused if refused else self._evidence.probe_worked
        except MintError:
            pass  # no evidence: throttled, denied, unreachable, too slow, or Azure is down
        finally:
            outcome()

    def _refuses(self, session: Session) -> bool:
        """Tell whether a mint with the block is refused, or minted without it; raises `MintError` if neither."""
        trip = Trip(self._clock() + self._settings.deadline_seconds, clock=self._clock)
        try:
            minted = self._upstream.send(session, trip, transcribed=True, final=_any)
        except UpstreamError as error:
            if _may_blame_block(error):
                return True
            raise
        return not _echoes_block(minted.echo)

    def _deferred(self, minted: Minted, session: Session) -> Minted:
        block = session.transcription or {}
        update = {
            "type": "session.update",
            "event_id": f"evt_{secrets.token_hex(8)}",  # an `error` event names it; `session.updated` does not
            "session": with_block({"type": session.type}, self._settings.transcription_field, block),
        }
        return replace(minted, configured="post_connect", session_update=update)


def _may_blame_block(error: UpstreamError) -> bool:
    """Tell whether a refusal may be the block's fault: a 500, a 400, or a deployment that is missing."""
    return error.upstream_status in (500, 400) or error.code == "deployment_not_found"


def _refuses_block(error: UpstreamError) -> bool:
    """Tell whether a refusal is to be taken for the block's: any 500, or a 400 that names it."""
    named = f"{error.param} {error.upstream_text}"
    return error.upstream_status == 500 or (
        error.upstream_status == 400 and any(path in named for path in (FLAT_FIELD, GA_FIELD))
    )


def _any(_: UpstreamError) -> bool:
    return True


def _configured(minted: Minted) -> Minted:
    return replace(minted, configured="mint_time")


def _echoes_block(echo: Json) -> bool:
    """Tell whether Azure says that it configured transcription. Newer replies echo the block's `model` alone."""
    nested: Any = echo.get("audio")
    for name in ("input", "transcription"):
        nested = nested.get(name) if isinstance(nested, dict) else None
    return isinstance(nested, dict) or isinstance(echo.get(FLAT_FIELD), dict)
