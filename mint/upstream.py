"""Mints at one Azure OpenAI resource: what is sent, and a second try where that helps."""

import json
from collections.abc import Callable
from dataclasses import replace

from mint.body import Json
from mint.identity import Identity
from mint.outcome import Minted, Remedy, UpstreamError
from mint.replies import read as read_reply
from mint.session import Session, with_block
from mint.settings import Settings
from mint.trip import Trip
from mint.wire import Wire, timeout


class Upstream:
    """One Azure OpenAI resource."""

    def __init__(self, settings: Settings, identity: Identity, endpoint: str) -> None:
        self._identity = identity
        self._field = settings.transcription_field
        url = f"{endpoint}/openai/v1/realtime/client_secrets"
        if settings.api_version:
            url += f"?api-version={settings.api_version}"
        self._wire = Wire(url, settings.max_concurrent_mints)

    def mint(self, session: Session, trip: Trip) -> Minted:
        """Mint `session` with its transcription block, if it has one, in the payload.

        Raises `UpstreamError`, or `MintError` `identity_unavailable`.
        """
        if session.transcription is None:
            return self.send(session, trip)
        return replace(self.send(session, trip, transcribed=True), configured="mint_time")

    def warm(self) -> None:
        """Open a connection; raises what `requests` raises."""
        self._wire.warm()

    def health(self, session: Session) -> Json:
        """Return what /api/health says of transcription, `configured` being what a mint of `session` would say."""
        mode = "off" if session.transcription is None else "mint_time"
        return {"mode": mode, "configured": mode, "mint_time_works": None, "checked_at": None}

    def take_notices(self) -> list[Json]:
        """Return log events that no request of its own stands for: none here."""
        return []

    def send(
        self,
        session: Session,
        trip: Trip,
        *,
        transcribed: bool = False,
        final: Callable[[UpstreamError], bool] = lambda _: False,
    ) -> Minted:
        """Send one mint, and again where that may help: with a fresh token, or after a passing fault.

        `transcribed` puts the transcription block into the payload; `final` tells which errors are answers, so
        that they are raised at once.
        """
        body = session.body
        if transcribed and session.transcription is not None:
            body = with_block(body, self._field, session.transcription)
            trip.block_sent = True
        payload: Json = {"session": body}
        if session.expires_after_seconds is not None:
            payload["expires_after"] = {"anchor": "created_at", "seconds": session.expires_after_seconds}
        data = json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()
        tried: set[Remedy] = set()
        while True:
            with trip.on_the_whole_times_account():
                token = self._identity.token(trip.seconds_to_deadline())
            if not trip.seconds_left():
                raise timeout(trip)
            try:
                return read_reply(self._wire.post(data, token, trip))
            except UpstreamError as error:
                if error.remedy in tried | {Remedy.NONE}:
                    raise
                tried.add(error.remedy)
                if error.remedy is Remedy.FRESH_TOKEN and not self._identity.discard(token):
                    raise
                if final(error) or not trip.may_call():
                    raise
