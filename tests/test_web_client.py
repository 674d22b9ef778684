"""clients/web/realtime.js in a real Chromium, over real WebRTC, with the endpoint and the simulated resource.

Chromium's fake microphone beeps; the resource transcribes only once transcription is on and audio has come.
"""

import socket
import subprocess
from typing import Any

import pytest

from tests.browser import MODES, Browser, Page, mint_url, node_package
from tests.conftest import Endpoint
from tests.hosting import ROOT, Host
from tests.simulated import SimulatedAzure

CALLS = "/openai/v1/realtime/calls"


@pytest.fixture
def post_connect(hosts: dict[str, str], azure: SimulatedAzure) -> str:
    """The mint of an endpoint whose replies carry an update to send."""
    azure.set(defect=MODES["post_connect"])
    return hosts["post_connect"]


@pytest.fixture
def mint_time(hosts: dict[str, str], azure: SimulatedAzure) -> str:
    """The mint of an endpoint whose secrets have transcription in them."""
    azure.set(defect=MODES["mint_time"])
    return hosts["mint_time"]


def run(page: Page, script: str, **values: Any) -> Any:
    """Run a script with all of tests/watch.js at hand."""
    names = "open, told, until, on, proven, failed, thrown, changing, answering"
    return page.run(f'const {{ {names} }} = await import("/tests/watch.js");\n{script}', **values)


def calls(azure: SimulatedAzure) -> list[dict[str, Any]]:
    """Return the offers that reached the resource."""
    return [request for request in azure.requests(CALLS) if request["method"] == "POST"]


# Every mode


@pytest.mark.parametrize("mode", MODES)
def test_the_user_is_transcribed_in_every_mode(
    mode: str, page: Page, hosts: dict[str, str], azure: SimulatedAzure
) -> None:
    """The same call in every mode: pending, on because the server said so, proven by a transcript."""
    azure.set(defect=MODES[mode])

    told = run(
        page,
        """
        const session = await open({ tokenUrl });
        await until(session, proven);
        session.close();
        return told(session);
        """,
        tokenUrl=hosts[mode],
    )

    assert told == ["pending", "on", "on proven", "off"]
    assert page.errors == []


def test_the_flag_flips_between_two_connections_of_one_page(
    page: Page, required: dict[str, str], site: str, azure: SimulatedAzure
) -> None:
    """An app setting changes and the app restarts; the page is not reloaded, and stays transcribed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    talk = """
        const session = await open({ tokenUrl });
        await until(session, proven);
        session.close();
        return [session.secret.transcription.configured, session.seen.includes("session.updated")];
    """

    before_and_after = []
    for mode in ("post_connect", "mint_time"):
        azure.set(defect=MODES[mode])
        with Host(required | {"TRANSCRIPTION_MODE": mode}, "--cors", site, "--port", port) as host:
            before_and_after.append(run(page, talk, tokenUrl=mint_url(host)))

    assert before_and_after == [["post_connect", True], ["mint_time", False]]


def test_both_sides_transcripts_are_collected(page: Page, post_connect: str) -> None:
    """Deltas add up to the text so far, and the last piece of each side is final."""
    transcripts = run(
        page,
        """
        const session = await open({ tokenUrl });
        const finals = {};
        return await new Promise((resolve) => {
          session.addEventListener("transcript", ({ detail: { role, text, final } }) => {
            if (final) finals[role] = text;
            if (role === "user" && final) session.send({ type: "response.create" });
            if (finals.user && finals.assistant) resolve(finals);
          });
        });
        """,
        tokenUrl=post_connect,
    )

    assert transcripts["user"].startswith("simulated transcript of ")
    assert transcripts["assistant"] == "This is a simulated answer."


def test_without_transcription_the_state_is_off(page: Page, start_endpoint: Any, site: str) -> None:
    """A deployment without transcription is neither pending nor a failure, and nothing is held back."""
    endpoint: Endpoint = start_endpoint("--cors", site, AZURE_OPENAI_TRANSCRIPTION_DEPLOYMENT="")

    result = run(
        page,
        """
        const session = await open({ tokenUrl, holdMicrophone: true });
        const heard = new Promise((resolve) => session.addEventListener("event", ({ detail }) => {
          if (detail.type === "input_audio_buffer.speech_started") resolve(true);
        }));
        return [await heard, told(session), session.held];
        """,
        tokenUrl=endpoint.url,
    )

    assert result == [True, ["off"], False]


# Each way to lose the user's words


@pytest.mark.parametrize(
    ("switches", "code", "words"),
    [
        ({"update_ack": "error"}, "update_rejected", "The server had an error while processing your request."),
        ({"update_ack": "close"}, "closed", "ended"),
        ({"transcription_result": "failed"}, "transcription_failed", "Input transcription failed"),
        ({"transcription_result": "close"}, "closed", "ended"),
        ({"deployments": {"gpt-realtime": "realtime"}}, "transcription_failed", "Input transcription failed"),
    ],
)
def test_what_the_server_refuses_is_told(
    switches: dict[str, Any], code: str, words: str, page: Page, post_connect: str, azure: SimulatedAzure
) -> None:
    """Refused at once, refused late, or hung up on: the state is failed, with the server's own words."""
    azure.set(**switches)

    state = run(
        page,
        "return await until(await open({ tokenUrl }), failed);",
        tokenUrl=post_connect,
    )

    assert (state["state"], state["proven"], state["code"]) == ("failed", False, code)
    assert words in state["reason"]


def test_an_update_that_the_service_does_not_know_is_told(
    page: Page, start_endpoint: Any, site: str, azure: SimulatedAzure
) -> None:
    """The preview's flat field, which the GA service discards together with the whole update."""
    endpoint: Endpoint = start_endpoint("--cors", site, TRANSCRIPTION_FIELD="input_audio_transcription")
    azure.set(defect="flat-fails")

    state = run(page, "return await until(await open({ tokenUrl }), failed);", tokenUrl=endpoint.url)

    assert state["code"] == "update_rejected"
    assert "Unknown parameter: 'session.input_audio_transcription'" in state["reason"]


def test_an_acknowledgement_that_never_comes_is_told(page: Page, post_connect: str, azure: SimulatedAzure) -> None:
    """Silence is a failure; a transcript that comes all the same makes up for it."""
    azure.set(update_ack="lost")

    told = run(
        page,
        """
        const session = await open({ tokenUrl, acknowledgeSeconds: 0.05 });
        await until(session, proven);
        return told(session);
        """,
        tokenUrl=post_connect,
    )

    assert told == ["pending", "failed not_acknowledged", "on proven"]


def test_a_transcript_after_a_failure_means_on_again(page: Page, post_connect: str, azure: SimulatedAzure) -> None:
    """One turn that could not be transcribed does not condemn the ones after it."""
    azure.set(transcription_result="failed")
    run(
        page,
        "globalThis.session = await open({ tokenUrl }); await until(session, failed);",
        tokenUrl=post_connect,
    )

    azure.set(transcription_result="completed")
    told = run(page, "await until(session, proven); return told(session);")

    assert told[:3] == ["pending", "on", "failed transcription_failed"]
    assert told[-1] == "on proven"


def test_a_session_without_the_block_is_told(page: Page, post_connect: str) -> None:
    """The reply says that nothing is to be sent, and the server's own description shows no transcription."""
    told = run(
        page,
        """
        const fetch = changing(tokenUrl, (reply) => ({ ...reply, session_update: null,
          transcription: { ...reply.transcription, configured: "mint_time" } }));
        const session = await open({ tokenUrl, fetch });
        await until(session, failed);
        return told(session);
        """,
        tokenUrl=post_connect,
    )

    assert told == ["pending", "failed not_configured"]


def test_an_update_of_the_app_that_turns_transcription_off_is_told(page: Page, mint_time: str) -> None:
    """A later session.update can undo what was minted; the state does not go on saying that it is on."""
    told = run(
        page,
        """
        const session = await open({ tokenUrl, microphone: false });
        await until(session, on);
        const input = { transcription: null };
        session.send({ type: "session.update", session: { type: "realtime", audio: { input } } });
        await until(session, failed);
        return told(session);
        """,
        tokenUrl=mint_time,
    )

    assert told == ["pending", "on", "failed not_configured"]


def test_speech_without_a_transcript_is_told(page: Page, post_connect: str) -> None:
    """Even behind the filter, which withholds every error: the user spoke, and no words came of it."""
    told = run(
        page,
        """
        const fetch = changing(tokenUrl, (reply) => ({ ...reply, session_update: null,
          transcription: { ...reply.transcription, configured: "mint_time" } }));
        const session = await open({ tokenUrl, fetch, webrtcFilter: true, transcriptSeconds: 0.05 });
        await until(session, failed);
        return told(session);
        """,
        tokenUrl=post_connect,
    )

    assert told == ["pending", "failed no_transcript"]


def test_a_session_that_ends_by_itself_is_told(browser: Browser, site: str, required: dict[str, str]) -> None:
    """The service goes away in mid-conversation: failed, a close event, and a send that says why not."""
    own = SimulatedAzure()
    env = required | own.app_env
    with Host(env, "--cors", site) as host:
        page = browser.page(f"{site}/")
        run(
            page,
            """
            globalThis.session = await open({ tokenUrl });
            globalThis.ended = new Promise((resolve) =>
              session.addEventListener("close", ({ detail }) => resolve(detail)));
            await until(session, proven);
            """,
            tokenUrl=mint_url(host),
        )
        own.stop()
        detail, told, code, microphone = run(
            page,
            """
            const detail = await ended;
            let code;
            try { session.send({ type: "response.create" }); } catch (error) { code = error.code; }
            return [detail, told(session), code, session.peer.getSenders().map(({ track }) => track.readyState)];
            """,
        )
        page.close()

    assert detail == {"expected": False}
    assert told[-1] == "failed closed"
    assert code == "closed"
    assert microphone == ["ended"]


# The microphone


@pytest.mark.parametrize(
    ("switches", "seconds", "end"),
    [({}, 20, "on"), ({"update_ack": "error"}, 20, "failed"), ({"update_ack": "lost"}, 0.1, "failed")],
)
def test_a_held_microphone_is_silent_until_transcription_is_decided(
    switches: dict[str, Any], seconds: float, end: str, page: Page, post_connect: str, azure: SimulatedAzure
) -> None:
    """No word is spoken into a session that does not write it down, and a failure does not silence the user."""
    azure.set(**switches)

    before, after = run(
        page,
        """
        const enabled = () => session.peer.getSenders()[0].track.enabled;
        const session = await open({ tokenUrl, holdMicrophone: true, acknowledgeSeconds: seconds });
        const before = [session.transcription.state, session.held, enabled()];
        const { state } = await until(session, ({ state }) => state !== "pending");
        return [before, [state, session.held, enabled()]];
        """,
        tokenUrl=post_connect,
        seconds=seconds,
    )

    assert before == ["pending", True, False]
    assert after == [end, False, True]


def test_a_muted_microphone_stays_muted_when_the_hold_ends(page: Page, post_connect: str) -> None:
    """The user's own wish outlives ours."""
    enabled = run(
        page,
        """
        const session = await open({ tokenUrl, holdMicrophone: true });
        session.muted = true;
        await until(session, on);
        const { track } = session.peer.getSenders()[0];
        const muted = track.enabled;
        session.muted = false;
        return [muted, track.enabled];
        """,
        tokenUrl=post_connect,
    )

    assert enabled == [False, True]


def test_a_denied_microphone_costs_no_secret(
    browser: Browser, site: str, post_connect: str, azure: SimulatedAzure
) -> None:
    """The browser's refusal is a sentence for the user, before anything was minted."""
    page = browser.page(f"{site}/", microphone=False)

    error = run(page, "return await thrown({ tokenUrl });", tokenUrl=post_connect)
    page.close()

    assert (error["name"], error["code"]) == ("RealtimeError", "microphone_denied")
    assert error["message"] == "The microphone was not allowed. Allow it and try again."
    assert azure.mints() == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("NotFoundError", "microphone_missing"),
        ("NotReadableError", "microphone_busy"),
        ("TypeError", "microphone_unavailable"),
    ],
)
def test_each_trouble_with_the_microphone_has_its_own_code(
    name: str, code: str, page: Page, post_connect: str
) -> None:
    """None connected, taken by another app, and what no one has met yet."""
    error = run(
        page,
        """
        const getUserMedia = () => Promise.reject(new DOMException("from the device", name));
        return await thrown({ tokenUrl, getUserMedia });
        """,
        tokenUrl=post_connect,
        name=name,
    )

    assert error["code"] == code


def test_a_microphone_of_the_app_is_used_and_left_open(page: Page, post_connect: str) -> None:
    """A stream or a track that was handed in belongs to the app: close() does not stop it."""
    states = run(
        page,
        """
        const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
        const [track] = stream.getAudioTracks();
        for (const microphone of [stream, track]) {
          const session = await open({ tokenUrl, microphone });
          await until(session, proven);
          session.close();
        }
        return track.readyState;
        """,
        tokenUrl=post_connect,
    )

    assert states == "live"


# What stands in the way of connecting


def test_an_expired_secret_is_fetched_anew_once(page: Page, post_connect: str, azure: SimulatedAzure) -> None:
    """Azure refuses the first secret, as it does an expired one; the user notices nothing."""
    told = run(
        page,
        """
        const stale = (reply, mint) => (mint === 1 ? { ...reply, value: "ek_expired" } : reply);
        const session = await open({ tokenUrl, fetch: changing(tokenUrl, stale) });
        await until(session, proven);
        return told(session);
        """,
        tokenUrl=post_connect,
    )

    assert told == ["pending", "on", "on proven"]
    assert [call["status"] for call in calls(azure)] == [401, 201]


def test_a_second_secret_that_is_refused_is_an_error(page: Page, post_connect: str, azure: SimulatedAzure) -> None:
    """Once, and not for ever: what Azure says is passed on, with its id for the support request."""
    error = run(
        page,
        """
        const fetch = changing(tokenUrl, (reply) => ({ ...reply, value: "ek_expired" }));
        return await thrown({ tokenUrl, fetch });
        """,
        tokenUrl=post_connect,
    )

    assert (error["code"], error["status"]) == ("secret_refused", 401)
    assert error["message"] == "Realtime session ephemeral token is required."
    assert len(azure.mints()) == 2


def test_a_missing_function_key_is_unauthenticated(page: Page, start_endpoint: Any, site: str) -> None:
    """The platform's bare 401 becomes a sentence; with the key the same call connects."""
    endpoint: Endpoint = start_endpoint("--cors", site, "--keys", "a-function-key")

    error, told = run(
        page,
        """
        const error = await thrown({ tokenUrl });
        const session = await open({ tokenUrl, functionKey: "a-function-key" });
        await until(session, on);
        return [error, told(session)];
        """,
        tokenUrl=endpoint.url,
    )

    assert (error["code"], error["status"], error["serverCode"]) == ("unauthenticated", 401, None)
    assert error["message"] == "The token endpoint did not accept the credential. Sign in again."
    assert told == ["pending", "on"]


def test_an_access_token_is_asked_for_and_sent(page: Page, post_connect: str) -> None:
    """A token that may have been refreshed since: it is asked for at each mint, not once."""
    sent = run(
        page,
        """
        const sent = [];
        let tokens = 0;
        const watched = (url, request) => {
          if (url.startsWith(tokenUrl)) sent.push([url.slice(tokenUrl.length), request.headers, request.body]);
          return fetch(url, request);
        };
        const options = { tokenUrl, fetch: watched, getAccessToken: async () => `token ${++tokens}` };
        await open({ ...options, profile: "default" });
        await thrown({ ...options, session: { audio: { output: { voice: "cedar" } } }, expiresAfterSeconds: 60 });
        return sent;
        """,
        tokenUrl=post_connect,
    )

    asked = (
        '{"session":{"audio":{"output":{"voice":"cedar"}}},"expires_after":{"anchor":"created_at","seconds":60}}'
    )
    assert sent == [
        ["?profile=default", {"Authorization": "Bearer token 1"}, None],
        ["", {"Authorization": "Bearer token 2", "Content-Type": "application/json"}, asked],
    ]


@pytest.mark.parametrize(
    ("get_access_token", "code", "words"),
    [
        ("() => { throw new Error('Signed out.'); }", "token_failed", "Signed out."),
        ("() => Promise.reject(new Error('Signed out.'))", "token_failed", "Signed out."),
        ("() => new Promise(() => {})", "timeout", "gave no access token in time"),
    ],
)
def test_an_access_token_that_is_not_to_be_had_is_an_error(
    get_access_token: str, code: str, words: str, page: Page, post_connect: str, azure: SimulatedAzure
) -> None:
    """The app's own function throws, rejects or never answers: an error like any other, and no mint."""
    error = run(
        page,
        f"return await thrown({{ tokenUrl, getAccessToken: {get_access_token}, connectSeconds: 0.2 }});",
        tokenUrl=post_connect,
    )

    assert (error["name"], error["code"]) == ("RealtimeError", code)
    assert words in error["message"]
    assert azure.mints() == []


def test_what_the_access_tokens_function_threw_is_the_cause(page: Page, post_connect: str) -> None:
    """The app finds its own error, whatever it was, to tell a sign-in that is needed from a bug."""
    same = run(
        page,
        """
        const own = { errorCode: "interaction_required" };
        const error = await open({ tokenUrl, getAccessToken: () => Promise.reject(own) }).catch((error) => error);
        return error.cause === own;
        """,
        tokenUrl=post_connect,
    )

    assert same


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "unauthenticated"), (403, "forbidden"), (429, "throttled"), (502, "endpoint_failed")],
)
def test_the_endpoints_refusal_is_passed_on(status: int, code: str, page: Page, post_connect: str) -> None:
    """Its message, its code, Azure's request id, and when to come back."""
    error = run(
        page,
        """
        const error = { message: "What to do.", code: "a_code", upstream_request_id: "apim-1" };
        const answer = () => Response.json({ error }, { status, headers: { "Retry-After": "7" } });
        return await thrown({ tokenUrl, fetch: answering("client_secrets", answer) });
        """,
        tokenUrl=post_connect,
        status=status,
    )

    assert error == {
        "name": "RealtimeError",
        "code": code,
        "message": "What to do.",
        "status": status,
        "serverCode": "a_code",
        "requestId": "apim-1",
        "retryAfterSeconds": 7,
    }


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ("Response.json({ hello: 1 })", "endpoint_failed", "Is tokenUrl right?"),
        ("new Response('<h1>It works', { status: 200 })", "endpoint_failed", "Is tokenUrl right?"),
        ("new Response('<h1>Oh', { status: 500 })", "endpoint_failed", "answered 500"),
        ("new Promise(() => {})", "timeout", "did not answer in time"),
        ("new Response(new ReadableStream())", "timeout", "did not answer in time"),
    ],
)
def test_an_answer_that_is_no_secret_is_an_error(
    answer: str, code: str, words: str, page: Page, post_connect: str
) -> None:
    """Another site's page, a proxy's error page, no answer at all, or one that stalls."""
    error = run(
        page,
        f"""
        const fetch = answering("client_secrets", () => {answer});
        return await thrown({{ tokenUrl, fetch, connectSeconds: 0.2 }});
        """,
        tokenUrl=post_connect,
    )

    assert error["code"] == code
    assert words in error["message"]


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ("Response.json({ error: { message: 'Slow down.' } }, { status: 429, headers: { 'Retry-After': '3' } })",
         "throttled", "Slow down."),
        ("new Response('', { status: 429 })", "throttled", "too many calls"),
        ("new Response('', { status: 503 })", "call_refused", "answered the offer with 503"),
        ("Promise.reject(new TypeError('Failed to fetch'))", "azure_unreachable", "cannot be reached"),
        ("new Promise(() => {})", "timeout", "did not answer the offer in time"),
        ("new Response(new ReadableStream(), { status: 201 })", "timeout", "did not answer the offer in time"),
        ("new Response(new ReadableStream(), { status: 503 })", "timeout", "did not answer the offer in time"),
        ("new Response(new ReadableStream({ start: (body) => body.error(new TypeError('reset')) }))",
         "azure_unreachable", "cannot be reached"),
    ],
)  # fmt: skip
def test_azures_refusal_of_the_call_is_passed_on(
    answer: str, code: str, words: str, page: Page, post_connect: str
) -> None:
    """Throttled, refused, unreachable, silent, or stalled or cut off in mid-answer: each is told apart."""
    error = run(
        page,
        f"""
        const fetch = answering("{CALLS}", () => {answer});
        return await thrown({{ tokenUrl, fetch, connectSeconds: 2 }});
        """,
        tokenUrl=post_connect,
    )

    assert error["code"] == code
    assert words in error["message"]


def test_a_page_that_cors_does_not_list_is_a_network_error(page: Page, endpoint: Endpoint) -> None:
    """A browser does not tell the page more than that; so the message names the three causes."""
    error = run(page, "return await thrown({ tokenUrl });", tokenUrl=endpoint.url)

    assert error["code"] == "network"
    assert "CORS" in error["message"]


def test_an_attempt_that_fails_lets_the_microphone_go(page: Page, post_connect: str) -> None:
    """Neither the browser's red dot nor a half-open connection stays behind an error."""
    left = run(
        page,
        f"""
        let stream, peer;
        const getUserMedia = async (wanted) => (stream = await navigator.mediaDevices.getUserMedia(wanted));
        const Peer = class extends RTCPeerConnection {{ constructor() {{ super(); peer = this; }} }};
        const fetch = answering("{CALLS}", () => new Response("", {{ status: 500 }}));
        await thrown({{ tokenUrl, fetch, getUserMedia, RTCPeerConnection: Peer }});
        return [stream.getAudioTracks()[0].readyState, peer.signalingState];
        """,
        tokenUrl=post_connect,
    )

    assert left == ["ended", "closed"]


@pytest.mark.parametrize("moment", ["before", "token", "mint", "call", "answer", "refusal", "open"])
def test_an_attempt_can_be_given_up_at_any_moment(moment: str, page: Page, post_connect: str) -> None:
    """The user leaves while the token, the secret, the answer, its body or the channel is on its way."""
    left = run(
        page,
        f"""
        const giveUp = new AbortController();
        let stream;
        const getUserMedia = async (wanted) => (stream = await navigator.mediaDevices.getUserMedia(wanted));
        const Peer = class extends RTCPeerConnection {{
          async setRemoteDescription(answer) {{
            if (moment === "open") giveUp.abort();
            await super.setRemoteDescription(answer);
          }}
        }};
        const never = () => {{
          queueMicrotask(() => giveUp.abort());
          return new Promise(() => {{}});
        }};
        const stalled = (status) => // given up once its body is being read
          new Response(new ReadableStream({{ pull: never }}, {{ highWaterMark: 0 }}), {{ status }});
        const answers = {{ call: never, answer: () => stalled(201), refusal: () => stalled(503) }};
        const fetching = async (url, request) => {{
          const answer = url.includes("{CALLS}") ? answers[moment] : moment === "mint" && never;
          return await (answer ? answer() : fetch(url, request));
        }};
        const getAccessToken = () => (moment === "token" ? never() : "");
        if (moment === "before") giveUp.abort();
        const own = {{ getUserMedia, RTCPeerConnection: Peer, fetch: fetching, getAccessToken }};
        const {{ code }} = await thrown({{ tokenUrl, ...own, signal: giveUp.signal, connectSeconds: 99 }});
        return [code, stream?.getAudioTracks()[0].readyState];
        """,
        tokenUrl=post_connect,
        moment=moment,
    )

    assert left == ["aborted", None if moment == "before" else "ended"]


def test_an_unanswered_question_for_the_microphone_can_be_given_up(
    page: Page, post_connect: str, azure: SimulatedAzure
) -> None:
    """The attempt ends at once; a permission that is given afterwards does not leave the microphone open."""
    code, microphone = run(
        page,
        """
        const giveUp = new AbortController();
        let allow;
        const getUserMedia = () => {
          queueMicrotask(() => giveUp.abort());
          return new Promise((resolve) => (allow = resolve));
        };
        const { code } = await thrown({ tokenUrl, getUserMedia, signal: giveUp.signal });
        const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
        const [track] = stream.getAudioTracks();
        await new Promise((resolve) => {
          track.stop = () => resolve(MediaStreamTrack.prototype.stop.call(track));
          allow(stream);
        });
        return [code, track.readyState];
        """,
        tokenUrl=post_connect,
    )

    assert (code, microphone) == ("aborted", "ended")
    assert azure.mints() == []


def test_an_open_question_for_the_microphone_has_no_time_limit(page: Page, post_connect: str) -> None:
    """A person may think about it for as long as they like: connectSeconds is for machines."""
    error = run(
        page,
        """
        const answer = new DOMException("after ten times the limit", "NotAllowedError");
        const getUserMedia = () => new Promise((_, reject) => setTimeout(reject, 100, answer));
        return await thrown({ tokenUrl, getUserMedia, connectSeconds: 0.01 });
        """,
        tokenUrl=post_connect,
    )

    assert error["code"] == "microphone_denied"


# The filter


def test_the_filter_is_not_asked_for_while_an_update_is_pending(
    page: Page, post_connect: str, azure: SimulatedAzure
) -> None:
    """It would withhold the acknowledgement: the app's wish for it waits for the day of the fix."""
    told = run(
        page,
        """
        const session = await open({ tokenUrl, webrtcFilter: true });
        await until(session, proven);
        return told(session);
        """,
        tokenUrl=post_connect,
    )

    assert [call["query"] for call in calls(azure)] == [{}]
    assert told == ["pending", "on", "on proven"]


def test_behind_the_filter_the_first_transcript_is_the_proof(
    page: Page, mint_time: str, azure: SimulatedAzure
) -> None:
    """Minted with the block: nothing will say that it is on, so nothing is claimed until a transcript comes."""
    told, seen = run(
        page,
        """
        const session = await open({ tokenUrl, webrtcFilter: true, acknowledgeSeconds: 0.01 });
        await until(session, proven);
        return [told(session), session.seen];
        """,
        tokenUrl=mint_time,
    )

    assert [call["query"] for call in calls(azure)] == [{"webrtcfilter": "on"}]
    assert "session.created" not in seen
    assert told == ["pending", "on proven"]


def test_a_held_microphone_needs_the_acknowledgement_that_the_filter_withholds(
    page: Page, mint_time: str, azure: SimulatedAzure
) -> None:
    """Both at once would wait for ever; the hold wins."""
    told = run(
        page,
        """
        const session = await open({ tokenUrl, webrtcFilter: true, holdMicrophone: true });
        await until(session, proven);
        return told(session);
        """,
        tokenUrl=mint_time,
    )

    assert [call["query"] for call in calls(azure)] == [{}]
    assert told == ["pending", "on", "on proven"]


# Other platforms


def test_it_runs_where_the_browsers_globals_are_missing(page: Page, post_connect: str) -> None:
    """React Native: no EventTarget, no CustomEvent, and WebRTC, fetch and the microphone are handed in."""
    told = page.run(
        """
        const { RTCPeerConnection, fetch: fetching } = globalThis;
        const getUserMedia = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        for (const name of ["EventTarget", "CustomEvent", "RTCPeerConnection", "fetch"]) delete globalThis[name];
        Object.defineProperty(navigator, "mediaDevices", { value: undefined });
        const { connect } = await import("/clients/web/realtime.js?without");
        const options = { RTCPeerConnection, fetch: (...all) => fetching.call(window, ...all), getUserMedia };
        const session = await connect({ tokenUrl, ...options });
        const told = [session.transcription.state];
        await new Promise((resolve) => session.addEventListener("transcription", ({ detail }) => {
          told.push(detail.state);
          if (detail.proven) resolve();
        }));
        session.close();
        return told;
        """,
        tokenUrl=post_connect,
    )

    assert told == ["pending", "on", "on", "off"]


@pytest.mark.parametrize("mode", MODES)
def test_over_websocket_the_app_sends_the_sound(
    mode: str, page: Page, hosts: dict[str, str], azure: SimulatedAzure
) -> None:
    """The same states over WebSocket, which the simulated resource and OpenAI accept from a browser."""
    azure.set(defect=MODES[mode])

    told = run(
        page,
        """
        const session = await open({ tokenUrl, transport: "websocket" });
        await until(session, on);
        const tone = Int16Array.from({ length: 24000 }, (_, index) => (index % 80 < 40 ? 8000 : -8000));
        const audio = btoa(String.fromCharCode(...new Uint8Array(tone.buffer)));
        session.send({ type: "input_audio_buffer.append", audio });
        await until(session, proven);
        session.close();
        return told(session);
        """,
        tokenUrl=hosts[mode],
    )

    assert told == ["pending", "on", "on proven", "off"]


def test_a_websocket_that_is_refused_is_an_error(page: Page, post_connect: str) -> None:
    """A browser hides the status of a refused WebSocket; the client does not wait for its time to run out."""
    error = run(
        page,
        """
        const fetch = changing(tokenUrl, (reply) => ({ ...reply, value: "ek_expired" }));
        return await thrown({ tokenUrl, fetch, transport: "websocket" });
        """,
        tokenUrl=post_connect,
    )

    assert error["code"] == "not_connected"


# The files themselves


def test_the_types_fit_the_code() -> None:
    """realtime.d.ts is written by hand and holds what realtime.js does, as strictly as tsc can tell."""
    tsc = node_package("typescript") / "bin" / "tsc"

    done = subprocess.run(
        ["node", tsc, "-p", "clients/web"],  # noqa: S607 - node is found where the tester's shell finds it
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.stdout == ""
    assert done.returncode == 0


def test_the_files_are_formatted() -> None:
    """As prettier has it; `npx prettier --write clients/web tests/*.js` mends it."""
    prettier = node_package("prettier") / "bin" / "prettier.cjs"

    done = subprocess.run(
        ["node", prettier, "--check", "clients/web", "tests/watch.js"],  # noqa: S607 - see above
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
