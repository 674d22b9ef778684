"""One realtime session: takes a client's events and audio, gives the server's events; knows no transport.

Turns are not answered by themselves: only response.create brings an answer, and no audio is ever sent back.
"""

import base64
import binascii
import json
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from local import ga_session
from local.client_secrets import FLAT
from local.listening import RATE, Listener, Turn

if TYPE_CHECKING:
    from local.azure import State
    from local.ga_session import Session

type Event = dict[str, Any]

_MOST_ITEMS = 100


class _RefusedError(Exception):
    """An event that the session does not carry out; becomes an `error` event and ends nothing."""

    def __init__(self, code: str | None, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


def _id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(10)}"


class RealtimeSession:
    """A session in progress. `closed` turns true when the service would hang up; the transport then has to."""

    def __init__(self, bound: "Session", state: "State") -> None:
        self._state = state
        self._session = {**bound, "id": _id("sess")}
        self._listener = Listener()
        self._items: OrderedDict[str, Event] = OrderedDict()
        self._outbox: list[Event] = []
        self.closed = False

    def open(self) -> list[Event]:
        """Return what the server says first."""
        self._emit("session.created", session=self._session)
        return self._drain()

    def receive(self, text: str) -> list[Event]:
        """Carry out one client event and return what the server says to it."""
        try:
            event = json.loads(text)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            event = {}
        try:
            self._carry_out(event)
        except _RefusedError as refused:
            error = {
                "type": "server_error" if refused.code is None else "invalid_request_error",
                "code": refused.code,
                "message": str(refused),
                "param": refused.param,
                "event_id": event.get("event_id"),
            }
            self._emit("error", error=error)
        return self._drain()

    def hear(self, pcm: bytes) -> list[Event]:
        """Take 16-bit mono audio of 24 kHz and return what the server says to it."""
        self._listen(pcm)
        return self._drain()

    def _emit(self, kind: str, **content: object) -> None:
        self._outbox.append({"type": kind, "event_id": _id("event"), **content})

    def _drain(self) -> list[Event]:
        events, self._outbox = self._outbox, []
        return events

    def _carry_out(self, event: Event) -> None:
        match event.get("type"):
            case "session.update":
                self._update(event.get("session"))
            case "input_audio_buffer.append":
                self._listen(_audio(event.get("audio")))
            case "input_audio_buffer.commit":
                self._commit()
            case "input_audio_buffer.clear":
                self._listener.clear()
                self._emit("input_audio_buffer.cleared")
            case "conversation.item.create":
                self._create_item(event.get("item"))
            case "conversation.item.retrieve":
                self._retrieve_item(event.get("item_id"))
            case "response.create":
                self._respond()
            case str(kind):
                raise _RefusedError("invalid_value", f"Invalid value: '{kind}'.", "type")
            case _:
                raise _RefusedError("invalid_event", "The event is not a JSON object with a type.", "type")

    # session.update

    def _update(self, changes: object) -> None:
        """Apply all of an update or none of it: one unknown field discards the whole, as was seen on Azure."""
        if self._state.switches.update_ack == "close":
            self.closed = True
            return
        if not isinstance(changes, dict):
            raise _RefusedError("missing_required_parameter", "Missing required parameter: 'session'.", "session")
        self._check_update(changes)
        plain = {name: value for name, value in changes.items() if name != FLAT}
        updated = ga_session.merged(self._session, plain)
        if FLAT in changes:
            in_place = {"audio": {"input": {"transcription": changes[FLAT]}}}
            updated = ga_session.merged(updated, in_place) | {FLAT: changes[FLAT]}
        self._session = updated
        if self._state.switches.update_ack != "lost":
            self._emit("session.updated", session=self._session)

    def _check_update(self, changes: "Session") -> None:
        kind = changes.get("type")
        if kind is None:
            raise _RefusedError(
                "missing_required_parameter", "Missing required parameter: 'session.type'.", "session.type"
            )
        if kind != self._session["type"]:
            message = f"Passing a {kind} session update event to a {self._session['type']} session is not allowed."
            raise _RefusedError("invalid_parameter", message, "session.type")
        flat_is_known = self._state.switches.flat_update == "accepted"
        known = {name: value for name, value in changes.items() if not (flat_is_known and name == FLAT)}
        unknown = ga_session.first_unknown(known)
        if unknown:
            raise _RefusedError("unknown_parameter", f"Unknown parameter: '{unknown}'.", unknown)
        misshapen = ga_session.first_misshapen(changes)
        if misshapen:
            raise _RefusedError("invalid_type", f"Invalid type for '{misshapen}': expected an object.", misshapen)
        if changes.get("model", self._session.get("model")) != self._session.get("model"):
            # That the model is fixed is in the SDKs' own docs; the wording is inference.
            raise _RefusedError("invalid_parameter", "The session's model cannot be changed.", "session.model")
        if self._state.switches.update_ack == "error":
            raise _RefusedError(None, "The server had an error while processing your request.")

    # audio

    def _listen(self, pcm: bytes) -> None:
        turns = self._session["audio"]["input"]["turn_detection"]
        for moment in self._listener.hear(pcm, turns):
            if moment.kind == "started":
                self._emit(
                    "input_audio_buffer.speech_started",
                    audio_start_ms=moment.at_ms,
                    item_id=moment.item_id,
                )
            else:
                self._emit("input_audio_buffer.speech_stopped", audio_end_ms=moment.at_ms, item_id=moment.item_id)
                self._take_turn(moment)
            if self.closed:
                return

    def _commit(self) -> None:
        turn = self._listener.commit()
        if turn is None:
            message = "Error committing input audio buffer: the buffer is empty."
            raise _RefusedError("input_audio_buffer_commit_empty", message)
        self._take_turn(turn)

    def _take_turn(self, turn: Turn) -> None:
        self._emit("input_audio_buffer.committed", item_id=turn.item_id, previous_item_id=self._last_item())
        content = {"type": "input_audio", "transcript": None}
        self._add_item({"id": turn.item_id, "type": "message", "role": "user", "content": [content]})
        block = self._session["audio"]["input"]["transcription"]
        if block:
            self._transcribe(turn, content, str(block.get("model")))

    def _transcribe(self, turn: Turn, content: Event, deployment: str) -> None:
        """Transcribe, or find out only now that the deployment is none that can; seen to be so late on Azure."""
        switches = self._state.switches
        if switches.transcription_result == "close":
            self.closed = True
            return
        name = "conversation.item.input_audio_transcription"
        about = {"item_id": turn.item_id, "content_index": 0}
        exists = switches.deployments.get(deployment) == "transcription"
        if not exists or switches.transcription_result == "failed":
            error = {
                "type": "server_error",
                "code": None if exists else "DeploymentNotFound",
                "message": f"Input transcription failed for item '{turn.item_id}'.",
                "param": None,
            }
            self._emit(f"{name}.failed", **about, error=error)
            return
        transcript = f"simulated transcript of {turn.duration_ms} ms of audio"
        content["transcript"] = transcript
        self._emit(f"{name}.delta", **about, delta=transcript)
        usage = {"type": "duration", "seconds": turn.duration_ms / 1000}
        self._emit(f"{name}.completed", **about, transcript=transcript, usage=usage)

    # the conversation

    def _last_item(self) -> str | None:
        return next(reversed(self._items), None)

    def _add_item(self, item: Event) -> None:
        previous = self._last_item()
        whole = {"id": _id("item"), **item, "object": "realtime.item", "status": "completed"}
        self._items[whole["id"]] = whole
        if len(self._items) > _MOST_ITEMS:
            self._items.popitem(last=False)
        self._emit("conversation.item.added", previous_item_id=previous, item=whole)
        self._emit("conversation.item.done", previous_item_id=previous, item=whole)

    def _create_item(self, item: object) -> None:
        if not isinstance(item, dict):
            raise _RefusedError("missing_required_parameter", "Missing required parameter: 'item'.", "item")
        self._add_item(item)

    def _retrieve_item(self, item_id: object) -> None:
        item = self._items.get(item_id) if isinstance(item_id, str) else None
        if item is None:
            message = f"Error retrieving item: the item with id '{item_id}' does not exist."
            raise _RefusedError("item_retrieve_invalid_item_id", message, "item_id")
        self._emit("conversation.item.retrieved", item=item)

    def _respond(self) -> None:
        answer = "This is a simulated answer."
        response: Event = {"id": _id("resp"), "object": "realtime.response", "status": "in_progress", "output": []}
        about = {"response_id": response["id"], "item_id": _id("item"), "output_index": 0, "content_index": 0}
        as_text = self._session.get("output_modalities") == ["text"]
        name = "response.output_text" if as_text else "response.output_audio_transcript"
        said = {"text" if as_text else "transcript": answer}
        self._emit("response.created", response=response)
        self._emit(f"{name}.delta", **about, delta=answer)
        self._emit(f"{name}.done", **about, **said)
        item = {
            "id": about["item_id"],
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text" if as_text else "output_audio", **said}],
        }
        self._emit("response.done", response={**response, "status": "completed", "output": [item]})


def _audio(encoded: object) -> bytes:
    """Decode what input_audio_buffer.append carries."""
    try:
        return base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else _no_audio()
    except (binascii.Error, ValueError):
        return _no_audio()


def _no_audio() -> bytes:
    message = f"Invalid 'audio'. Expected base64-encoded 16-bit PCM of {RATE} Hz."
    raise _RefusedError("invalid_value", message, "audio")
