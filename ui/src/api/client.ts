import createClient from "openapi-fetch";
import { learnServerTime } from "../app/server-time";
import { ApiProblem, problemFrom } from "./problem";
import type { paths } from "./schema";

/** Longest wait for an answer, in milliseconds. */
const ANSWER_WITHIN_MS = 15_000;

/** Trace of the request that an answer belongs to. */
const traces = new WeakMap<Response, string>();

function randomHex(bytes: number): string {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Sends with a time-out and a trace of its own (W3C Trace Context): a person who quotes the trace's id from
 * an error lets the server's log be searched for it.
 */
async function timedFetch(request: Request): Promise<Response> {
  const sent = Date.now();
  const trace = randomHex(16);
  request.headers.set("traceparent", `00-${trace}-${randomHex(8)}-01`);
  try {
    const signal = AbortSignal.any([request.signal, AbortSignal.timeout(ANSWER_WITHIN_MS)]);
    const response = await fetch(new Request(request, { signal }));
    traces.set(response, trace);
    learnServerTime(response.headers.get("date"), sent, Date.now());
    return response;
  } catch (cause) {
    if (request.signal.aborted) throw cause;
    const late = cause instanceof DOMException && cause.name === "TimeoutError";
    const message = late
      ? `no answer within ${ANSWER_WITHIN_MS / 1000} s`
      : "the server could not be reached";
    throw new ApiProblem(0, late ? "timeout" : "unreachable", message, trace);
  }
}

export const api = createClient<paths>({ baseUrl: window.location.origin, fetch: timedFetch });

/** Takes the data out of an answer, or throws what was wrong with it. */
export function dataOf<T>(answer: { data?: T | undefined; error?: unknown; response: Response }): T {
  if (answer.data === undefined)
    throw problemFrom(answer.response, answer.error, traces.get(answer.response) ?? null);
  return answer.data;
}
