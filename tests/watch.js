// What tests of realtime.js share: connect, and note every state of transcription with what led to it.
import { connect } from "/clients/web/realtime.js";

export async function open(options) {
  const session = await connect(options);
  session.seen = [];
  session.states = [session.transcription];
  session.addEventListener("event", ({ detail }) => session.seen.push(detail.type));
  session.addEventListener("transcription", ({ detail }) => session.states.push(detail));
  return session;
}

/** Each state so far as text: "on", "on proven", "failed update_rejected". */
export function told(session) {
  return session.states.map(
    ({ state, proven, code }) => state + (proven ? " proven" : "") + (code ? ` ${code}` : ""),
  );
}

/** The state of transcription once it passes the test. The caller's own time limit ends the wait. */
export function until(session, test) {
  return new Promise((resolve) => {
    const look = () => test(session.transcription) && resolve(session.transcription);
    session.addEventListener("transcription", look);
    look();
  });
}

export const on = ({ state }) => state === "on";
export const proven = ({ proven }) => proven;
export const failed = ({ state }) => state === "failed";

/** What an attempt to connect throws, for comparison. */
export async function thrown(options) {
  try {
    await connect(options);
  } catch (error) {
    const { name, code, message, status, serverCode, requestId, retryAfterSeconds } = error;
    return { name, code, message, status, serverCode, requestId, retryAfterSeconds };
  }
}

/** fetch, with the endpoint's reply changed on the way; the number of the mint is handed over as well. */
export function changing(tokenUrl, change) {
  let mints = 0;
  return async (url, request) => {
    const response = await fetch(url, request);
    if (!url.startsWith(tokenUrl)) return response;
    return Response.json(change(await response.json(), ++mints));
  };
}

/** fetch, with an answer of our own in place of the one from an address that contains the text. */
export function answering(text, answer) {
  return (url, request) => (url.includes(text) ? answer() : fetch(url, request));
}
