import { describe, expect, test } from "vitest";
import { SseParser, type StreamEvent } from "./sse";

const STREAM =
  'event: bench\nid: e1-7\ndata: {"device":"b"}\n\n: a comment\n\nevent: heartbeat\r\ndata: {}\r\n\r\ndata: first\ndata: second\n\n';

const EVENTS: StreamEvent[] = [
  { event: "bench", data: '{"device":"b"}', id: "e1-7" },
  { event: "heartbeat", data: "{}", id: "e1-7" },
  { event: "message", data: "first\nsecond", id: "e1-7" },
];

describe("a text/event-stream", () => {
  test("reads the same however its pieces are cut", () => {
    for (let size = 1; size <= STREAM.length; size += 1) {
      const parser = new SseParser();
      const read: StreamEvent[] = [];
      for (let at = 0; at < STREAM.length; at += size) read.push(...parser.push(STREAM.slice(at, at + size)));
      expect(read, `pieces of ${size}`).toEqual(EVENTS);
    }
  });

  test("an unfinished event waits for its end", () => {
    const parser = new SseParser();
    expect(parser.push("event: job\ndata: {}")).toEqual([]);
    expect(parser.push("\n")).toEqual([]);
    expect(parser.push("\n")).toEqual([{ event: "job", data: "{}", id: null }]);
  });

  test("an event without end is a broken stream, not a full memory", () => {
    const parser = new SseParser();
    const piece = "x".repeat(1024 * 1024);
    expect(() => {
      for (let n = 0; n < 6; n += 1) parser.push(piece);
    }).toThrow("too long");
  });
});
