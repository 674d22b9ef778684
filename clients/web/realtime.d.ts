/** One realtime session from a browser or from React Native. `realtime.js` is checked against this file. */

export interface ConnectOptions {
  /** The token endpoint: `https://APP.azurewebsites.net/api/realtime/client_secrets`. */
  tokenUrl: string;
  /**
   * The signed-in user's access token, asked for anew for every secret; sent as `Authorization: Bearer`. It has
   * `connectSeconds` to answer, so a sign-in with a person in it belongs before `connect`.
   */
  getAccessToken?: () => string | Promise<string>;
  /** Sent as `x-functions-key`. In an app that anyone can install it is no secret. */
  functionKey?: string;
  /** Which of the endpoint's profiles to use. */
  profile?: string;
  /** Session fields that the profile lets a client choose, such as `{audio: {output: {voice: "cedar"}}}`. */
  session?: Record<string, unknown>;
  /** How long the secret shall be good for starting sessions, if the profile lets a client choose. */
  expiresAfterSeconds?: number;

  /** `true` (the default) asks for one; `false` only listens; or constraints, a stream or a track of your own. */
  microphone?: boolean | MediaTrackConstraints | MediaStream | MediaStreamTrack;
  /** Keep the microphone silent until transcription is on, off or has failed, so that no word goes unheard. */
  holdMicrophone?: boolean;
  /**
   * Ask Azure to withhold from this device what shows the instructions (`?webrtcfilter=on`). It also withholds
   * acknowledgements and errors, so it is left off while an update is pending, and with `holdMicrophone`.
   */
  webrtcFilter?: boolean;

  /** Ends the attempt to connect, whatever it waits for. Afterwards, `close()` does. */
  signal?: AbortSignal;
  /**
   * For the access token, for the secret, for the answer to the offer and for the channel to open, each; not for
   * the person who is asked for the microphone. 15 unless told.
   */
  connectSeconds?: number;
  /** How long the server may take to say that transcription is on. 5 unless told. */
  acknowledgeSeconds?: number;
  /** How long a transcript may take after the user has stopped talking. 15 unless told. */
  transcriptSeconds?: number;

  /** `"websocket"` carries events only, no microphone. OpenAI accepts it from browsers; Azure is not known to. */
  transport?: "webrtc" | "websocket";

  // What a platform without these globals hands in, such as React Native.
  fetch?: typeof fetch;
  getUserMedia?: (constraints: MediaStreamConstraints) => Promise<MediaStream>;
  RTCPeerConnection?: new (configuration?: RTCConfiguration) => RTCPeerConnection;
  WebSocket?: new (url: string, protocols: string[]) => WebSocket;
}

/** Connects. It resolves once the channel is open and `session_update`, if there is one, has been sent. */
export function connect(options: ConnectOptions): Promise<RealtimeSession>;

export interface RealtimeEvent {
  type: string;
  event_id?: string;
  [field: string]: any;
}

/** What the endpoint replied. */
export interface ClientSecret {
  value: string;
  expires_at: number;
  session: { type: string; object: string; id: string; model?: string };
  webrtc_url: string;
  websocket_url: string;
  transcription: {
    configured: "mint_time" | "post_connect" | "off";
    config: Record<string, unknown> | null;
  };
  session_update: RealtimeEvent | null;
}

/**
 * Whether the user's words become text.
 *
 * - `off`: the endpoint's profile has none, or the session was closed.
 * - `pending`: the server has not said yet.
 * - `on`: the server said that it is configured; `proven` once a transcript has come as well.
 * - `failed`: it is not, for the reason given. A transcript that comes all the same makes it `on` again.
 */
export interface Transcription {
  readonly state: "off" | "pending" | "on" | "failed";
  readonly proven: boolean;
  /** With `failed` only: which defence fired. */
  readonly code: TranscriptionFailure | null;
  /** With `failed` only: a sentence for a person. */
  readonly reason: string | null;
}

export type TranscriptionFailure =
  /** The server refused `session_update`: an `error` with its `event_id`. */
  | "update_rejected"
  /** The server said nothing within `acknowledgeSeconds`. */
  | "not_acknowledged"
  /** The server described a session without transcription. */
  | "not_configured"
  /** The server could not transcribe what was said. */
  | "transcription_failed"
  /** The user spoke, and no transcript came within `transcriptSeconds`. */
  | "no_transcript"
  /** The connection ended, and not by `close()`. */
  | "closed";

/** What one side has said so far. */
export interface Transcript {
  role: "user" | "assistant";
  itemId: string;
  text: string;
  final: boolean;
}

interface RealtimeSessionEvents {
  /** The state of transcription has changed. */
  transcription: CustomEvent<Transcription>;
  /** A piece of either side's transcript; `text` is all of it so far. */
  transcript: CustomEvent<Transcript>;
  /** Every event of the server. */
  event: CustomEvent<RealtimeEvent>;
  /** Every event sent to the server, `session_update` too if the listener can be there in time. */
  sent: CustomEvent<RealtimeEvent>;
  /** The connection has ended; `expected` if `close()` ended it. */
  close: CustomEvent<{ expected: boolean }>;
}

export interface RealtimeSession extends EventTarget {
  readonly transcription: Transcription;
  readonly secret: ClientSecret;
  /** Null over WebSocket. */
  readonly peer: RTCPeerConnection | null;
  readonly channel: RTCDataChannel | WebSocket;
  /** The assistant's voice, for the `srcObject` of an audio element. React Native plays it by itself. */
  readonly remoteStream: MediaStream | null;
  /** True while `holdMicrophone` keeps the microphone silent. */
  readonly held: boolean;
  /** Set it to silence the microphone. */
  muted: boolean;
  /** Throws a `RealtimeError` with the code `closed` once the connection has ended. */
  send(event: RealtimeEvent): void;
  /** Ends the session, and the microphone unless it was handed in. */
  close(): void;
  addEventListener<K extends keyof RealtimeSessionEvents>(
    type: K,
    listener: (event: RealtimeSessionEvents[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof RealtimeSessionEvents>(
    type: K,
    listener: (event: RealtimeSessionEvents[K]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}

export type ErrorCode =
  /** The endpoint cannot be reached: network, address or CORS. */
  | "network"
  /** `getAccessToken` threw or rejected; `cause` is what with. */
  | "token_failed"
  /** 401: sign in again, or the function key is wrong. */
  | "unauthenticated"
  /** 403: signed in, but not allowed. */
  | "forbidden"
  /** 429, from the endpoint or Azure: `retryAfterSeconds` says when to try again, if the page may read it. */
  | "throttled"
  /** Any other answer of the endpoint; `serverCode` has its own code. */
  | "endpoint_failed"
  | "microphone_denied"
  | "microphone_missing"
  | "microphone_busy"
  /** The platform offers none; in a browser, a page that is neither https nor on localhost. */
  | "microphone_unavailable"
  /** Azure cannot be reached. */
  | "azure_unreachable"
  /** Azure refused two fresh secrets. */
  | "secret_refused"
  /** Azure refused the call. */
  | "call_refused"
  /** The connection did not come about. */
  | "not_connected"
  /** No answer within `connectSeconds`; from `getAccessToken` as well. */
  | "timeout"
  | "aborted"
  /** `send` on a connection that has ended. */
  | "closed";

export class RealtimeError extends Error {
  constructor(code: ErrorCode, message: string, more?: RealtimeErrorDetails);
  readonly name: "RealtimeError";
  readonly code: ErrorCode;
  readonly status: number | null;
  readonly serverCode: string | null;
  /** For the support request: Azure's id, or else the endpoint's. */
  readonly requestId: string | null;
  readonly retryAfterSeconds: number | null;
}

export interface RealtimeErrorDetails {
  status?: number;
  serverCode?: string | null;
  requestId?: string | null;
  retryAfterSeconds?: number | null;
  cause?: unknown;
}
