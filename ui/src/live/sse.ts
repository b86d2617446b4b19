/** One event of a text/event-stream. */
export interface StreamEvent {
  readonly event: string;
  readonly data: string;
  readonly id: string | null;
}

/** Longest unfinished event that is kept; more is a broken stream. */
const LONGEST_EVENT = 4 * 1024 * 1024;

/** Reads a text/event-stream piece by piece, however the pieces are cut. */
export class SseParser {
  #rest = "";
  #event = "";
  #data: string[] = [];
  #id: string | null = null;
  #skipLineFeed = false;

  /** Takes the next piece and gives the events that it completes. */
  push(piece: string): StreamEvent[] {
    const events: StreamEvent[] = [];
    let text = this.#rest + piece;
    if (this.#skipLineFeed && text.startsWith("\n")) text = text.slice(1);
    if (text !== "") this.#skipLineFeed = false;
    let start = 0;
    for (let at = 0; at < text.length; at += 1) {
      const character = text[at];
      if (character !== "\n" && character !== "\r") continue;
      this.#line(text.slice(start, at), events);
      if (character === "\r") {
        if (at + 1 === text.length) this.#skipLineFeed = true;
        else if (text[at + 1] === "\n") at += 1;
      }
      start = at + 1;
    }
    this.#rest = text.slice(start);
    if (this.#rest.length > LONGEST_EVENT) throw new Error("an event of the stream is too long");
    return events;
  }

  #line(line: string, events: StreamEvent[]): void {
    if (line === "") {
      if (this.#data.length > 0 || this.#event !== "") {
        events.push({ event: this.#event || "message", data: this.#data.join("\n"), id: this.#id });
      }
      this.#event = "";
      this.#data = [];
      return;
    }
    if (line.startsWith(":")) return;
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
    else if (field === "id" && !value.includes("\0")) this.#id = value;
  }
}
