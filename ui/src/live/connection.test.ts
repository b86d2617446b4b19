import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { LONGEST_WAIT_MS, SHORTEST_WAIT_MS, waitBeforeAttempt } from "./backoff";
import { LiveConnection } from "./connection";
import type { StreamEvent } from "./sse";

/** A stream that a test feeds by hand. */
function source() {
  const encoder = new TextEncoder();
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  const body = new ReadableStream<Uint8Array>({
    start(given) {
      controller = given;
    },
  });
  const response = new Response(body, { headers: { "content-type": "text/event-stream" } });
  return {
    response,
    send: async (text: string) => {
      controller?.enqueue(encoder.encode(text));
      await vi.advanceTimersByTimeAsync(0);
    },
    end: async () => {
      controller?.close();
      await vi.advanceTimersByTimeAsync(0);
    },
  };
}

function connection(answers: (() => Response | Promise<Response>)[]) {
  const opened: (string | null)[] = [];
  const events: StreamEvent[] = [];
  let resets = 0;
  let firsts = 0;
  const live = new LiveConnection({
    open: async (since, signal) => {
      opened.push(since);
      const answer = answers.shift();
      if (answer !== undefined) return answer();
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("aborted"))));
    },
    onEvents: (more) => events.push(...more),
    onReset: () => {
      resets += 1;
    },
    onFirst: () => {
      firsts += 1;
    },
    now: Date.now,
    random: () => 0,
  });
  return { live, opened, events, counts: () => ({ resets, firsts }) };
}

const badGateway = () =>
  new Response("<h1>502</h1>", { status: 502, headers: { "content-type": "text/html" } });

describe("the live connection", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test("is live with the first byte and stale after 12 s of silence, not before", async () => {
    const stream = source();
    const { live } = connection([() => stream.response]);
    live.start();
    await stream.send("event: hello\nid: e1-4\ndata: {}\n\n");
    expect(live.state().phase).toBe("live");
    await vi.advanceTimersByTimeAsync(11_900);
    expect(live.state().phase).toBe("live");
    await vi.advanceTimersByTimeAsync(200);
    expect(live.state().phase).toBe("stale");
    live.stop();
  });

  test("heartbeats alone keep it live and are passed to nobody", async () => {
    const stream = source();
    const { live, events } = connection([() => stream.response]);
    live.start();
    for (let n = 0; n < 6; n += 1) {
      await stream.send("event: heartbeat\nid: e1-4\ndata: {}\n\n");
      await vi.advanceTimersByTimeAsync(5_000);
    }
    expect(live.state().phase).toBe("live");
    expect(events).toEqual([]);
    live.stop();
  });

  test("resumes from the last cursor after a 502 in between, and is live again", async () => {
    const first = source();
    const second = source();
    const { live, opened } = connection([() => first.response, badGateway, () => second.response]);
    live.start();
    await first.send('event: job\nid: e1-9\ndata: {"id":"x"}\n\n');
    await first.end();
    await vi.advanceTimersByTimeAsync(2_000);
    await second.send("event: heartbeat\nid: e1-9\ndata: {}\n\n");
    expect(opened).toEqual([null, "e1-9", "e1-9"]);
    expect(live.state().phase).toBe("live");
    live.stop();
  });

  test("a cut between hello and what was missed asks from the old place again", async () => {
    const first = source();
    const second = source();
    const { live, opened } = connection([() => first.response, () => second.response]);
    live.start();
    await first.send("event: hello\nid: e1-4\ndata: {}\n\n");
    await first.end();
    await vi.advanceTimersByTimeAsync(600);
    await second.send("event: hello\nid: e1-90\ndata: {}\n\n");
    await second.end();
    await vi.advanceTimersByTimeAsync(600);
    expect(opened).toEqual([null, "e1-4", "e1-4"]);
    live.stop();
  });

  test("a page of a proxy with status 200 is no stream", async () => {
    const login = () => new Response("<form>", { headers: { "content-type": "text/html" } });
    const { live } = connection([login, login, login, login, login, login, login, login]);
    live.start();
    await vi.advanceTimersByTimeAsync(100);
    expect(live.state()).toEqual({ phase: "offline", lastTrafficAt: null });
    live.stop();
  });

  test("an attempt that hangs is given up and tried anew", async () => {
    const { live, opened } = connection([]);
    live.start();
    await vi.advanceTimersByTimeAsync(26_000);
    expect(opened.length).toBe(3);
    expect(live.state().phase).toBe("stale");
    live.stop();
  });

  test("after a frozen tab the first look finds it stale and connects at once", async () => {
    const stream = source();
    const { live, opened } = connection([() => stream.response]);
    live.start();
    await stream.send("event: hello\nid: e1-4\ndata: {}\n\n");
    vi.setSystemTime(Date.now() + 600_000);
    live.check();
    expect(live.state().phase).toBe("stale");
    await vi.advanceTimersByTimeAsync(0);
    expect(opened).toEqual([null, "e1-4"]);
    live.stop();
  });

  test("a reset is told once and gives the new cursor", async () => {
    const stream = source();
    const { live, opened, counts } = connection([() => stream.response]);
    live.start();
    await stream.send("event: hello\nid: e1-4\ndata: {}\n\nevent: reset\nid: e2-1\ndata: {}\n\n");
    await stream.end();
    await vi.advanceTimersByTimeAsync(600);
    expect(counts()).toEqual({ resets: 1, firsts: 1 });
    expect(opened).toEqual([null, "e2-1"]);
    live.stop();
  });
});

describe("the wait before an attempt", () => {
  test("grows from 0.5 s to 10 s and never leaves that range", () => {
    for (let failures = 0; failures < 2_000; failures += 1) {
      for (const random of [0, 0.3, 0.999]) {
        const wait = waitBeforeAttempt(failures, random);
        expect(wait).toBeGreaterThanOrEqual(SHORTEST_WAIT_MS);
        expect(wait).toBeLessThanOrEqual(LONGEST_WAIT_MS);
      }
    }
    expect(waitBeforeAttempt(0, 0.999)).toBeLessThan(1_000);
    expect(waitBeforeAttempt(20, 0.999)).toBeGreaterThan(9_000);
  });

  test("differs between pages that lost the server in the same instant", () => {
    expect(waitBeforeAttempt(5, 0.1)).not.toBe(waitBeforeAttempt(5, 0.9));
  });
});
