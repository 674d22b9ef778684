"""The workaround: what is done about transcription while Azure refuses it at mint time.

With the transcription block in the mint payload Azure answered 500 in Sweden Central, without it 200; Microsoft's
advice is to mint without and to send a `session.update` once connected
(learn.microsoft.com/answers/questions/5908916). This module is switched in at one line of function_app.py, where
`upstream.mint` would stand without it. docs/decisions.md says how to remove it.
"""

import secrets
from dataclasses import replace
from typing import Any

from mint.body import Json
from mint.errors import MintError
from mint.replies import Minted, UpstreamError
from mint.session import Session, with_block
from mint.settings import FLAT_FIELD, GA_FIELD, Settings
from mint.upstream import Trip, Upstream


class Transcription:
    """Does what TRANSCRIPTION_MODE says; a client never learns which mode it was."""

    def __init__(self, settings: Settings, upstream: Upstream) -> None:
        self._mode = settings.transcription_mode
        self._field = settings.transcription_field
        self._deployed = settings.transcription_deployment is not None
        self._upstream = upstream

    def mint(self, session: Session, trip: Trip) -> Minted:
        """Mint `session`; the result's `session_update` is there whenever transcription is not yet configured.

        Raises what `Upstream.mint` raises, and `MintError` `transcription_rejected` where the mode forces a
        block that Azure refuses.
        """
        if session.transcription is None or self._mode == "mint_time":
            return self._mint_time(session, trip)
        minted = self._upstream.send(session, trip)
        return self._deferred(minted, session.transcription)

    def health(self, session: Session) -> Json:
        """Return what /api/health says of transcription, `configured` being what a mint of `session` would say."""
        return {
            "mode": self._mode if self._deployed else "off",
            "configured": "off" if session.transcription is None else self._mode,
            "mint_time_works": None,
            "checked_at": None,
        }

    def _mint_time(self, session: Session, trip: Trip) -> Minted:
        try:
            minted = self._upstream.mint(session, trip)
        except UpstreamError as error:
            if session.transcription is None or not self._blames_block(error):
                raise
            raise MintError(
                "transcription_rejected",
                "Azure OpenAI refused the mint with the transcription block in it. Set TRANSCRIPTION_MODE to "
                "post_connect. If that is refused too, it was an outage and not the block.",
                upstream_request_id=error.upstream_request_id,
                detail=error.detail,
            ) from error
        if session.transcription is not None and not _echoes_block(minted.echo):
            return self._deferred(minted, session.transcription)
        return minted

    def _blames_block(self, error: UpstreamError) -> bool:
        """Tell whether the refusal may be the block's fault: any 500, or a 400 that names the block."""
        if error.upstream_status == 500:
            return True
        named = f"{error.param} {error.detail}"
        return error.upstream_status == 400 and any(path in named for path in (FLAT_FIELD, GA_FIELD))

    def _deferred(self, minted: Minted, block: Json) -> Minted:
        update = {
            "type": "session.update",
            "event_id": f"evt_{secrets.token_hex(8)}",  # an `error` event names it; `session.updated` does not
            "session": with_block({"type": "realtime"}, self._field, block),
        }
        return replace(minted, configured="post_connect", session_update=update)


def _echoes_block(echo: Json) -> bool:
    """Tell whether Azure says that it configured transcription. Newer replies echo the block's `model` alone."""
    nested: Any = echo.get("audio")
    for name in ("input", "transcription"):
        nested = nested.get(name) if isinstance(nested, dict) else None
    return isinstance(nested, dict) or isinstance(echo.get(FLAT_FIELD), dict)
