// The demo page: what realtime.js says, put into words. Nothing here is needed to use realtime.js.
import { connect, RealtimeError } from "./realtime.js";

/** @import { RealtimeEvent, RealtimeSession, Transcript, Transcription } from "./realtime.js" */

const MOST_EVENTS = 500; // kept on the page; a long talk has thousands

/** @type {(id: string) => any} */
const element = (id) => document.getElementById(id);
const [start, mute, answer, form, type] = ["start", "mute", "answer", "settings", "type"].map(element);
const [conversation, log] = ["conversation", "log"].map(element);

/** @type {RealtimeSession | null} */
let session = null;
/** @type {AbortController | null} */
let connecting = null;
/** @type {Map<string, HTMLLIElement>} */
let turns = new Map();
let turnDetection = true;
let events = 0;
let begun = 0;
/** @type {() => void} */
let stopMeter = () => {};

form.tokenUrl.value = new URL("/api/realtime/client_secrets", location.href).href;

start.addEventListener("click", () => {
  if (session) session.close();
  else if (connecting) connecting.abort();
  else void begin();
});

mute.addEventListener("click", () => {
  if (!session) return;
  session.muted = !session.muted;
  mute.setAttribute("aria-pressed", String(session.muted));
  showMicrophone();
});

answer.addEventListener("click", () => {
  if (!turnDetection) session?.send({ type: "input_audio_buffer.commit" });
  session?.send({ type: "response.create" });
});

form.addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
type.addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  const text = type.text.value.trim();
  if (!session || !text) return;
  const content = [{ type: "input_text", text }];
  session.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
  session.send({ type: "response.create" });
  type.text.value = "";
});

async function begin() {
  clear();
  connecting = new AbortController();
  showButtons();
  showState("pending", "Connecting", "Asking for a client secret, then calling.");
  const { functionKey, accessToken, profile, holdMicrophone, webrtcFilter } = form;
  try {
    opened(
      await connect({
        tokenUrl: form.tokenUrl.value,
        functionKey: functionKey.value || undefined,
        getAccessToken: accessToken.value ? () => accessToken.value : undefined,
        profile: profile.value || undefined,
        holdMicrophone: holdMicrophone.checked,
        webrtcFilter: webrtcFilter.checked,
        signal: connecting.signal,
      }),
    );
  } catch (error) {
    showState("idle", "Not connected", "Press the button and say something.");
    if (!(error instanceof RealtimeError && error.code === "aborted")) showError(error);
  } finally {
    connecting = null;
    showButtons();
  }
}

/** @param {RealtimeSession} opened */
function opened(opened) {
  session = opened;
  const { secret, remoteStream, peer } = session;
  element("mode").textContent = {
    mint_time: "At mint time: the page had nothing to send",
    post_connect: "After connecting: the page sent a session update",
    off: "Not at all: the profile or the app has no transcription",
  }[secret.transcription.configured];
  element("model").textContent = secret.session.model ?? "A transcription session";
  element("voice").srcObject = remoteStream;
  const track = peer?.getSenders()[0]?.track;
  if (track) stopMeter = meter(track);
  if (secret.session_update) note(secret.session_update, "sent"); // before anyone could listen
  session.addEventListener("sent", ({ detail }) => note(detail, "sent"));
  session.addEventListener("event", ({ detail }) => {
    note(detail, "received");
    follow(detail);
  });
  session.addEventListener("transcript", ({ detail }) => write(detail));
  session.addEventListener("transcription", ({ detail }) => showTranscription(detail));
  session.addEventListener("close", ({ detail }) => {
    session = null;
    stopMeter();
    if (!detail.expected) showError(new Error("The connection has ended. Start again to go on talking."));
    showButtons();
    showMicrophone();
  });
  showTranscription(session.transcription);
}

// What the conversation shows

/** @param {RealtimeEvent} event */
function follow(event) {
  switch (event.type) {
    case "session.created":
    case "session.updated":
      turnDetection = event.session.audio?.input?.turn_detection !== null;
      showButtons();
      break;
    case "input_audio_buffer.speech_started":
      say(event.item_id, "user", "listening …", "open");
      break;
    case "input_audio_buffer.speech_stopped":
    case "input_audio_buffer.committed":
      if (turns.get(event.item_id)?.classList.contains("done")) break;
      if (session?.transcription.state === "off")
        say(event.item_id, "user", "spoken; not written down", "open");
      else say(event.item_id, "user", "writing it down …", "open");
      break;
    case "conversation.item.input_audio_transcription.failed":
      say(event.item_id, "user", "This could not be written down.", "lost");
      break;
    case "conversation.item.added":
      for (const part of event.item.content ?? []) {
        if (part.type === "input_text") say(event.item.id, "user", part.text, "done");
      }
      break;
    case "error":
      if (event.error?.event_id !== session?.secret.session_update?.event_id) {
        showError(new Error(event.error?.message ?? "The server reported an error."));
      }
  }
}

/** @param {Transcript} transcript */
function write({ role, itemId, text, final }) {
  say(itemId, role, text || "(nothing to be understood)", final ? "done" : "open");
}

/**
 * @param {string} id
 * @param {Transcript["role"]} role
 * @param {string} text
 * @param {"open" | "done" | "lost"} state
 */
function say(id, role, text, state) {
  let turn = turns.get(id);
  if (!turn) {
    turn = document.createElement("li");
    turn.append(document.createElement("b"), document.createElement("span"));
    conversation.append(turn);
    turns.set(id, turn);
  }
  turn.className = `turn ${role} ${state}`;
  turn.children[0].textContent = role === "user" ? "You" : "Assistant";
  turn.children[1].textContent = text;
  conversation.scrollTop = conversation.scrollHeight;
}

// What the panel shows

/** @param {Transcription} transcription */
function showTranscription({ state, proven, reason }) {
  const words = {
    off: ["Off", session ? "Nothing of what you say is written down." : "The conversation has ended."],
    pending: ["Pending", "Waiting for the server to say that it is on."],
    on: ["On", proven ? "Proven: what you said was written down." : "The server says so. Say something."],
    failed: ["Failed", `${reason} What you say is not written down.`],
  }[state];
  showState(state === "off" ? "idle" : state, words[0], words[1]);
  if (state === "failed") {
    for (const [id, turn] of turns) {
      if (turn.matches(".user.open")) say(id, "user", "This was not written down.", "lost");
    }
  }
  showMicrophone();
}

/**
 * @param {string} state
 * @param {string} word
 * @param {string} reason
 */
function showState(state, word, reason) {
  element("transcription").dataset.state = state;
  element("state-word").textContent = word;
  element("state-reason").textContent = reason;
}

function showButtons() {
  start.textContent = session ? "End" : connecting ? "Give up" : "Start talking";
  start.toggleAttribute("data-busy", Boolean(session || connecting));
  for (const control of [mute, answer, ...type.elements]) control.disabled = !session;
  answer.textContent = turnDetection ? "Answer now" : "I have finished";
  if (!session) mute.setAttribute("aria-pressed", "false");
}

function showMicrophone() {
  element("microphone").textContent = !session
    ? "Off"
    : session.held
      ? "Held until transcription is on"
      : session.muted
        ? "Muted"
        : "Live";
}

/** @param {any} error */
function showError(error) {
  const words = document.createElement("p");
  words.textContent = error.message;
  const details = [
    error.retryAfterSeconds && !/\d s\b/.test(error.message) && `Try again in ${error.retryAfterSeconds} s.`,
    error.serverCode && `Code: ${error.serverCode}.`,
    error.requestId && `Request: ${error.requestId}`,
  ].filter(Boolean);
  element("error").replaceChildren(words);
  if (details.length > 0) {
    const small = document.createElement("small");
    small.textContent = details.join(" ");
    element("error").append(small);
  }
}

function clear() {
  turns = new Map();
  turnDetection = true;
  events = 0;
  begun = performance.now();
  for (const emptied of [conversation, log, element("error")]) emptied.replaceChildren();
  element("count").textContent = "0";
  for (const id of ["mode", "model"]) element(id).textContent = "Known once connected";
}

/**
 * @param {RealtimeEvent} event
 * @param {"sent" | "received"} way
 */
function note(event, way) {
  const row = document.createElement("li");
  row.className = /^error$|\.failed$/.test(event.type) ? "bad" : way;
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  const time = document.createElement("time");
  time.textContent = `${((performance.now() - begun) / 1000).toFixed(2)} s`;
  summary.append(time, ` ${way === "sent" ? "→ to the server" : "← from the server"}  ${event.type}`);
  const json = document.createElement("pre");
  json.textContent = JSON.stringify(event, null, 2);
  details.append(summary, json);
  row.append(details);
  log.append(row);
  if (log.children.length > MOST_EVENTS) log.firstChild.remove();
  element("count").textContent = String(++events);
}

/**
 * Shows how loud the microphone is, so that silence and a held microphone can be told apart.
 *
 * @param {MediaStreamTrack} track
 */
function meter(track) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const bar = element("level").firstElementChild;
  let frame = requestAnimationFrame(function draw() {
    analyser.getFloatTimeDomainData(samples);
    const loudest = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    bar.style.scale = `${Math.min(1, Math.sqrt(loudest))} 1`;
    frame = requestAnimationFrame(draw);
  });
  return () => {
    cancelAnimationFrame(frame);
    bar.style.scale = "0 1";
    void context.close();
  };
}
