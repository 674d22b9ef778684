// One realtime session from a browser or from React Native, with one answer to "is the user being transcribed?".
// What it cannot see is the wording: a transcript in the wrong language still counts as one.

/**
 * @import { ClientSecret, ConnectOptions, ErrorCode, RealtimeErrorDetails, RealtimeEvent, RealtimeSession,
 *   Transcript, Transcription, TranscriptionFailure } from "./realtime.js"
 */

const CONNECT_SECONDS = 15;
const ACKNOWLEDGE_SECONDS = 5;
const TRANSCRIPT_SECONDS = 15;

const USER = "conversation.item.input_audio_transcription.";
const ASSISTANT = /^response\.output_(?:audio_transcript|text)\.(delta|done)$/;

/** @type {typeof import("./realtime.js").connect} */
export async function connect(options) {
  const { signal, transport = "webrtc" } = options;
  const attempt = transport === "websocket" ? overWebSocket : overWebRtc;
  throwIfAborted(signal);
  return await attempt(options);
}

export class RealtimeError extends Error {
  /**
   * @param {ErrorCode} code
   * @param {string} message
   * @param {RealtimeErrorDetails} [more]
   */
  constructor(code, message, { status, serverCode, requestId, retryAfterSeconds, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = /** @type {const} */ ("RealtimeError");
    this.code = code;
    this.status = status ?? null;
    this.serverCode = serverCode ?? null;
    this.requestId = requestId ?? null;
    this.retryAfterSeconds = retryAfterSeconds ?? null;
  }
}

// The two ways to connect

/** @param {ConnectOptions} options */
async function overWebRtc(options) {
  const { signal, connectSeconds = CONNECT_SECONDS } = options;
  const Peer = options.RTCPeerConnection ?? globalThis.RTCPeerConnection;
  const peer = new Peer();
  let release = () => {};
  try {
    // Before the secret, which would grow old while a person reads the browser's question.
    const microphone = await openMicrophone(options);
    release = microphone.release;
    throwIfAborted(signal);
    const channel = peer.createDataChannel("oai-events"); // before the offer, or the offer has no room for it
    if (microphone.tracks.length === 0) peer.addTransceiver("audio", { direction: "recvonly" });
    for (const track of microphone.tracks) peer.addTrack(track, ...microphone.streams);
    await peer.setLocalDescription(await peer.createOffer());

    const { secret, answer, filtered } = await call(options, peer.localDescription?.sdp ?? "");
    const session = new Session(secret, channel, { options, peer, microphone, filtered });
    const opened = opening(channel, peer);
    await peer.setRemoteDescription({ type: "answer", sdp: answer });
    const late = "Azure answered, but the connection did not open. A firewall may block UDP.";
    await within(connectSeconds, signal, late, () => opened);
    session.start();
    return session;
  } catch (error) {
    peer.close();
    release();
    throw error;
  }
}

/** @param {ConnectOptions} options */
async function overWebSocket(options) {
  const { signal, connectSeconds = CONNECT_SECONDS } = options;
  const Socket = options.WebSocket ?? globalThis.WebSocket;
  const secret = await fetchSecret(options);
  throwIfAborted(signal);
  const channel = new Socket(secret.websocket_url, ["realtime", `openai-insecure-api-key.${secret.value}`]);
  try {
    const microphone = { tracks: [], streams: [], release() {} };
    const session = new Session(secret, channel, { options, peer: null, microphone, filtered: false });
    const opened = opening(channel, null);
    await within(connectSeconds, signal, "Azure did not accept the WebSocket in time.", () => opened);
    session.start();
    return session;
  } catch (error) {
    channel.close();
    throw error;
  }
}

/**
 * Resolves when the channel opens.
 *
 * @param {RTCDataChannel | WebSocket} channel
 * @param {RTCPeerConnection | null} peer
 * @returns {Promise<void>}
 */
function opening(channel, peer) {
  const opened = new Promise((resolve, reject) => {
    const fail = () =>
      reject(new RealtimeError("not_connected", "The connection to Azure did not come about."));
    channel.addEventListener("open", () => resolve(undefined));
    channel.addEventListener("close", fail);
    peer?.addEventListener("connectionstatechange", () => {
      if (peer.connectionState === "failed") fail();
    });
  });
  opened.catch(() => {}); // it may fail before, or long after, someone waits for it
  return opened;
}

// The secret and the call

/**
 * @param {ConnectOptions} options
 * @returns {Promise<ClientSecret>}
 */
async function fetchSecret(options) {
  const {
    tokenUrl,
    profile,
    session,
    expiresAfterSeconds,
    signal,
    connectSeconds = CONNECT_SECONDS,
  } = options;
  /** @type {Record<string, string>} */
  const headers = {};
  const token = await accessToken(options);
  if (token) headers["Authorization"] = `Bearer ${token}`;
  if (options.functionKey) headers["x-functions-key"] = options.functionKey;
  /** @type {Record<string, unknown>} */
  const asked = {};
  if (session) asked.session = session;
  if (expiresAfterSeconds) asked.expires_after = { anchor: "created_at", seconds: expiresAfterSeconds };
  const body = Object.keys(asked).length > 0 ? JSON.stringify(asked) : undefined;
  if (body) headers["Content-Type"] = "application/json"; // not without a body: it would cost a preflight
  let url = tokenUrl; // put together by hand: React Native's URL has no searchParams to set
  if (profile) url += `${url.includes("?") ? "&" : "?"}profile=${encodeURIComponent(profile)}`;

  const late = "The token endpoint did not answer in time.";
  return await within(connectSeconds, signal, late, async (signal) => {
    const response = await fetched(options, url, { method: "POST", headers, body, signal }, "network");
    const reply = await json(response);
    if (!response.ok) throw endpointError(response, reply);
    if (typeof reply?.value !== "string" || typeof reply.webrtc_url !== "string") {
      throw new RealtimeError("endpoint_failed", "The answer is no client secret. Is tokenUrl right?", {
        status: response.status,
      });
    }
    return reply;
  });
}

/** @param {ConnectOptions} options */
async function accessToken(options) {
  const { signal, connectSeconds = CONNECT_SECONDS } = options;
  return await within(connectSeconds, signal, "The app gave no access token in time.", async () => {
    try {
      return await options.getAccessToken?.();
    } catch (/** @type {any} */ cause) {
      throw new RealtimeError("token_failed", `No access token is to be had: ${cause?.message}`, { cause });
    }
  });
}

/**
 * Offers the call to Azure. A secret that has expired on the way is fetched anew, once.
 *
 * @param {ConnectOptions} options
 * @param {string} offer
 */
async function call(options, offer) {
  const secret = await fetchSecret(options);
  try {
    return await post(options, secret, offer);
  } catch (error) {
    if (!(error instanceof RealtimeError && error.code === "secret_refused")) throw error;
    return await post(options, await fetchSecret(options), offer);
  }
}

/**
 * @param {ConnectOptions} options
 * @param {ClientSecret} secret
 * @param {string} offer
 */
async function post(options, secret, offer) {
  const { webrtcFilter, holdMicrophone, signal, connectSeconds = CONNECT_SECONDS } = options;
  // The filter withholds session.updated, error and .failed: never where one of them is being waited for.
  const filtered = Boolean(webrtcFilter && !holdMicrophone && secret.session_update === null);
  const { webrtc_url } = secret;
  const url = filtered ? `${webrtc_url}${webrtc_url.includes("?") ? "&" : "?"}webrtcfilter=on` : webrtc_url;
  const headers = { Authorization: `Bearer ${secret.value}`, "Content-Type": "application/sdp" };
  return await within(connectSeconds, signal, "Azure did not answer the offer in time.", async (signal) => {
    const request = { method: "POST", headers, body: offer, signal };
    const response = await fetched(options, url, request, "azure_unreachable");
    if (!response.ok) throw callError(response, await json(response));
    try {
      return { secret, answer: await response.text(), filtered };
    } catch (cause) {
      throw unreachable("azure_unreachable", cause);
    }
  });
}

/**
 * @param {ConnectOptions} options
 * @param {string} url
 * @param {RequestInit} request
 * @param {"network" | "azure_unreachable"} code
 */
async function fetched({ fetch = globalThis.fetch }, url, request, code) {
  try {
    return await fetch(url, request);
  } catch (cause) {
    throw unreachable(code, cause);
  }
}

/**
 * @param {"network" | "azure_unreachable"} code
 * @param {unknown} cause
 */
function unreachable(code, cause) {
  const message =
    code === "network"
      ? "The token endpoint cannot be reached: no network, a wrong address, or CORS does not list this page."
      : "Azure cannot be reached: no network, or a wrong address in the endpoint's settings.";
  return new RealtimeError(code, message, { cause });
}

/** @param {Response} response */
async function json(response) {
  try {
    return await response.json();
  } catch {
    return null; // an error page, or the platform's bare 401
  }
}

/**
 * @param {Response} response
 * @param {any} reply
 */
function endpointError(response, reply) {
  const { status } = response;
  /** @type {[ErrorCode, string]} */
  const [code, generic] =
    status === 401
      ? ["unauthenticated", "The token endpoint did not accept the credential. Sign in again."]
      : status === 403
        ? ["forbidden", "This account may not start a conversation."]
        : status === 429
          ? ["throttled", "Too many conversations were started. Wait a moment and try again."]
          : ["endpoint_failed", `The token endpoint answered ${status}.`];
  return refusal(code, generic, response, reply);
}

/**
 * @param {Response} response
 * @param {any} reply
 */
function callError(response, reply) {
  const { status } = response;
  /** @type {[ErrorCode, string]} */
  const [code, generic] =
    status === 401
      ? ["secret_refused", "Azure refused two fresh client secrets."]
      : status === 429
        ? ["throttled", "Azure is receiving too many calls. Wait a moment and try again."]
        : ["call_refused", `Azure answered the offer with ${status}.`];
  return refusal(code, generic, response, reply);
}

/**
 * @param {ErrorCode} code
 * @param {string} generic
 * @param {Response} response
 * @param {any} reply
 */
function refusal(code, generic, response, reply) {
  const { headers, status } = response;
  const wait = headers.get("Retry-After"); // null to a page of another origin, unless the server exposes it
  const seconds = wait === null ? NaN : Number(wait);
  const said = reply?.error ?? {};
  return new RealtimeError(code, typeof said.message === "string" ? said.message : generic, {
    status,
    serverCode: typeof said.code === "string" ? said.code : null,
    requestId:
      said.upstream_request_id ?? headers.get("apim-request-id") ?? headers.get("x-request-id") ?? null,
    retryAfterSeconds: Number.isFinite(seconds) ? seconds : null,
  });
}

// The microphone

/**
 * @param {ConnectOptions} options
 * @returns {Promise<{tracks: MediaStreamTrack[], streams: MediaStream[], release: () => void}>}
 */
async function openMicrophone({ microphone = true, ...options }) {
  if (microphone === false) return { tracks: [], streams: [], release() {} };
  if (typeof microphone === "object") {
    if ("getAudioTracks" in microphone) {
      return { tracks: microphone.getAudioTracks(), streams: [microphone], release() {} };
    }
    if ("readyState" in microphone) return { tracks: [microphone], streams: [], release() {} };
  }
  const devices = globalThis.navigator?.mediaDevices;
  const open = options.getUserMedia ?? devices?.getUserMedia?.bind(devices);
  if (!open) {
    const message = "No microphone is to be had here. In a browser, the page must be https or on localhost.";
    throw new RealtimeError("microphone_unavailable", message);
  }
  // A person reads the question for as long as they like, unless the app gives up.
  return await within(Infinity, options.signal, "", async (signal) => {
    let stream;
    try {
      stream = await open({ audio: microphone });
    } catch (cause) {
      throw microphoneError(cause);
    }
    const tracks = stream.getAudioTracks();
    const release = () => tracks.forEach((track) => track.stop());
    if (signal.aborted) release(); // allowed after all, and nobody waits for it any more
    return { tracks, streams: [stream], release };
  });
}

/** @param {any} cause */
function microphoneError(cause) {
  switch (cause?.name) {
    case "NotAllowedError":
    case "SecurityError":
      return new RealtimeError(
        "microphone_denied",
        "The microphone was not allowed. Allow it and try again.",
        {
          cause,
        },
      );
    case "NotFoundError":
    case "OverconstrainedError":
      return new RealtimeError("microphone_missing", "No microphone was found. Connect one and try again.", {
        cause,
      });
    case "NotReadableError":
    case "AbortError":
      return new RealtimeError("microphone_busy", "The microphone is in use by something else, or broken.", {
        cause,
      });
    default:
      return new RealtimeError("microphone_unavailable", `The microphone did not open: ${cause?.message}`, {
        cause,
      });
  }
}

// The session

/** React Native has no EventTarget of its own. */
class PlainTarget {
  /** @type {Map<string, Set<(event: any) => void>>} */
  #listeners = new Map();

  /**
   * @param {string} type
   * @param {(event: any) => void} listener
   */
  addEventListener(type, listener) {
    this.#listeners.set(type, (this.#listeners.get(type) ?? new Set()).add(listener));
  }

  /**
   * @param {string} type
   * @param {(event: any) => void} listener
   */
  removeEventListener(type, listener) {
    this.#listeners.get(type)?.delete(listener);
  }

  /** @param {{type: string}} event */
  dispatchEvent(event) {
    for (const listener of [...(this.#listeners.get(event.type) ?? [])]) listener(event);
    return true;
  }
}

const hasEvents = Boolean(globalThis.EventTarget && globalThis.CustomEvent);
const Target = /** @type {typeof EventTarget} */ (hasEvents ? globalThis.EventTarget : PlainTarget);

/** @implements {RealtimeSession} */
class Session extends Target {
  #options;
  #microphone;
  #filtered;
  #muted = false;
  #over = false;
  /** @type {Transcription} */
  #transcription;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #acknowledgement;
  /** @type {Map<string, ReturnType<typeof setTimeout> | undefined>} the wait for a turn's transcript, by item */
  #untranscribed = new Map();
  /** @type {Map<string, string>} the transcripts so far, by item */
  #texts = new Map();

  /**
   * @param {ClientSecret} secret
   * @param {RTCDataChannel | WebSocket} channel
   * @param {{
   *   options: ConnectOptions,
   *   peer: RTCPeerConnection | null,
   *   microphone: Awaited<ReturnType<typeof openMicrophone>>,
   *   filtered: boolean,
   * }} parts
   */
  constructor(secret, channel, { options, peer, microphone, filtered }) {
    super();
    this.secret = secret;
    this.channel = channel;
    this.peer = peer;
    /** @type {MediaStream | null} */
    this.remoteStream = null;
    this.#options = options;
    this.#microphone = microphone;
    this.#filtered = filtered;
    const wanted = secret.transcription?.configured !== "off";
    this.#transcription = { state: wanted ? "pending" : "off", proven: false, code: null, reason: null };
    this.#applyMicrophone();

    /** @param {any} message */
    const received = ({ data }) => this.#receive(data);
    channel.addEventListener("message", received);
    channel.addEventListener("close", () => this.#ended());
    peer?.addEventListener("track", ({ track, streams }) => {
      this.remoteStream = streams[0] ?? new MediaStream([track]);
    });
    peer?.addEventListener("connectionstatechange", () => {
      if (peer.connectionState === "failed" || peer.connectionState === "closed") this.#ended();
    });
  }

  /** The client's whole duty: what the endpoint wants to be sent is sent, and the answer is waited for. */
  start() {
    if (this.secret.session_update) this.send(this.secret.session_update);
    if (this.#transcription.state !== "pending" || this.#filtered) return;
    const seconds = this.#options.acknowledgeSeconds ?? ACKNOWLEDGE_SECONDS;
    this.#acknowledgement = setTimeout(() => {
      if (this.#transcription.state !== "pending") return;
      this.#fail("not_acknowledged", `The server did not say within ${seconds} s that transcription is on.`);
    }, seconds * 1000);
  }

  get transcription() {
    return this.#transcription;
  }

  get held() {
    return Boolean(this.#options.holdMicrophone) && this.#transcription.state === "pending";
  }

  get muted() {
    return this.#muted;
  }

  set muted(muted) {
    this.#muted = muted;
    this.#applyMicrophone();
  }

  /** @param {RealtimeEvent} event */
  send(event) {
    if (this.#over) throw new RealtimeError("closed", "The connection has ended.");
    this.channel.send(JSON.stringify(event));
    this.#tell("sent", event);
  }

  close() {
    this.#end(true);
  }

  /** @param {unknown} data */
  #receive(data) {
    /** @type {any} */
    let event;
    try {
      event = JSON.parse(String(data));
    } catch {
      return; // nothing that the protocol knows
    }
    this.#tell("event", event);
    if (this.#over) return; // a listener closed the session
    const updateId = this.secret.session_update?.event_id;
    const item = event.item_id;
    switch (event.type) {
      case "session.created":
        if (!this.secret.session_update) this.#judge(event.session);
        break;
      case "session.updated": // the first is ours: nothing was sent before it
        this.#judge(event.session);
        break;
      case "error":
        if (updateId && event.error?.event_id === updateId) {
          this.#fail(
            "update_rejected",
            `The server refused to turn transcription on: ${event.error.message}`,
          );
        }
        break;
      case "input_audio_buffer.speech_stopped":
      case "input_audio_buffer.committed":
        this.#expectTranscript(item);
        break;
      case `${USER}delta`:
        this.#transcribed(item);
        this.#write("user", item, event.delta, false);
        break;
      case `${USER}completed`:
        this.#transcribed(item);
        this.#write("user", item, event.transcript, true);
        break;
      case `${USER}failed`:
        this.#settle(item);
        this.#fail("transcription_failed", event.error?.message ?? "The server could not transcribe.");
        break;
      default: {
        const kind = ASSISTANT.exec(event.type)?.[1];
        if (kind === "delta") this.#write("assistant", item, event.delta, false);
        if (kind === "done") this.#write("assistant", item, event.transcript ?? event.text, true);
      }
    }
  }

  // Transcription

  /**
   * Takes the server's own description of the session as the truth.
   *
   * @param {any} described
   */
  #judge(described) {
    if (described?.audio?.input?.transcription ?? described?.input_audio_transcription) {
      if (this.#transcription.state !== "on") this.#change({ state: "on" });
    } else if (this.#transcription.state !== "off") {
      this.#fail("not_configured", "The server describes a session without transcription.");
    }
  }

  /** @param {string} item */
  #expectTranscript(item) {
    if (this.#transcription.state === "off" || this.#untranscribed.has(item)) return;
    const seconds = this.#options.transcriptSeconds ?? TRANSCRIPT_SECONDS;
    const fail = () =>
      this.#fail("no_transcript", `No transcript came within ${seconds} s of what was said.`);
    this.#untranscribed.set(item, setTimeout(fail, seconds * 1000));
  }

  /** @param {string} item */
  #settle(item) {
    clearTimeout(this.#untranscribed.get(item));
    this.#untranscribed.set(item, undefined); // and not deleted: the turn's other event may come after this
  }

  /** @param {string} item */
  #transcribed(item) {
    this.#settle(item);
    if (!this.#transcription.proven) this.#change({ state: "on", proven: true });
  }

  /**
   * @param {TranscriptionFailure} code
   * @param {string} reason
   */
  #fail(code, reason) {
    this.#change({ state: "failed", code, reason });
  }

  /** @param {Partial<Transcription> & Pick<Transcription, "state">} change */
  #change(change) {
    clearTimeout(this.#acknowledgement);
    this.#transcription = Object.freeze({ proven: false, code: null, reason: null, ...change });
    this.#applyMicrophone();
    this.#tell("transcription", this.#transcription);
  }

  #applyMicrophone() {
    for (const track of this.#microphone.tracks) track.enabled = !this.#muted && !this.held;
  }

  // Everything else

  /**
   * @param {Transcript["role"]} role
   * @param {string} itemId
   * @param {string} text
   * @param {boolean} final
   */
  #write(role, itemId, text, final) {
    const whole = final ? text : (this.#texts.get(itemId) ?? "") + text;
    if (final) this.#texts.delete(itemId);
    else this.#texts.set(itemId, whole);
    this.#tell("transcript", { role, itemId, text: whole, final });
  }

  #ended() {
    this.#end(false);
  }

  /** @param {boolean} expected */
  #end(expected) {
    if (this.#over) return;
    this.#over = true;
    for (const timer of this.#untranscribed.values()) clearTimeout(timer);
    this.#microphone.release();
    this.channel.close();
    this.peer?.close();
    if (expected) this.#change({ state: "off" });
    else if (this.#transcription.state !== "off") this.#fail("closed", "The connection has ended.");
    this.#tell("close", { expected });
  }

  /**
   * @param {string} type
   * @param {unknown} detail
   */
  #tell(type, detail) {
    const event = hasEvents ? new CustomEvent(type, { detail }) : /** @type {any} */ ({ type, detail });
    this.dispatchEvent(event);
  }
}

// Waiting

/** @param {AbortSignal | undefined} signal */
function throwIfAborted(signal) {
  if (signal?.aborted) throw aborted(signal);
}

/** @param {AbortSignal} signal */
function aborted(signal) {
  return new RealtimeError("aborted", "The attempt to connect was given up.", { cause: signal.reason });
}

/**
 * Does the work in time or not at all; its own signal ends with the time or with the outer signal.
 * What the work returns after that is lost: it must let go of it by itself.
 *
 * @template T
 * @param {number} seconds
 * @param {AbortSignal | undefined} outer
 * @param {string} late
 * @param {(signal: AbortSignal) => Promise<T>} work
 * @returns {Promise<T>}
 */
async function within(seconds, outer, late, work) {
  throwIfAborted(outer);
  const inner = new AbortController();
  const end = () => inner.abort();
  const timer = Number.isFinite(seconds) ? setTimeout(end, seconds * 1000) : undefined;
  outer?.addEventListener("abort", end);
  const ended = new Promise((_, reject) => inner.signal.addEventListener("abort", () => reject()));
  try {
    return await /** @type {Promise<T>} */ (Promise.race([work(inner.signal), ended]));
  } catch (error) {
    throwIfAborted(outer);
    throw inner.signal.aborted ? new RealtimeError("timeout", late) : error;
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener("abort", end);
  }
}
