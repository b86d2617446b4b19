import { waitBeforeAttempt } from "./backoff";
import { SseParser, type StreamEvent } from "./sse";

/** Silence after which what the page shows counts as stale, in milliseconds. The server sends every 5 s. */
export const STALE_AFTER_MS = 12_000;

/**
 * `connecting`: nothing came yet. `live`: traffic within the last 12 s. `stale`: silence, but the server took
 * the connection. `offline`: silence, and the last attempt to connect failed.
 */
export type Phase = "connecting" | "live" | "stale" | "offline";

export interface ConnectionState {
  readonly phase: Phase;
  /** When something last came over the stream, in this machine's time; null before the first. */
  readonly lastTrafficAt: number | null;
}

export interface ConnectionOptions {
  /** Opens the stream from a cursor; null asks for the present. */
  readonly open: (since: string | null, signal: AbortSignal) => Promise<Response>;
  /** All events of one piece that was read. */
  readonly onEvents: (events: StreamEvent[]) => void;
  /** Something was missed: everything shown has to be fetched again. */
  readonly onReset: () => void;
  /** The stream begins at the present: what was fetched before it began may be older than that. */
  readonly onFirst: () => void;
  readonly now: () => number;
  readonly random: () => number;
}

/**
 * Holds the live stream open: reads by fetch (an EventSource gives up for good after a proxy's 502), resumes
 * from the last cursor, judges silence and comes back with a growing wait.
 */
export class LiveConnection {
  readonly #options: ConnectionOptions;
  readonly #listeners = new Set<() => void>();
  #state: ConnectionState = { phase: "connecting", lastTrafficAt: null };
  #cursor: string | null = null;
  #failures = 0;
  #attemptFailed = false;
  #abort: AbortController | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #watch: ReturnType<typeof setInterval> | undefined;
  #startedAt = 0;
  #attemptAt = 0;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly state = (): ConnectionState => this.#state;

  start(): void {
    this.#startedAt = this.#options.now();
    this.#watch = setInterval(this.check, 1_000);
    void this.#attempt();
  }

  stop(): void {
    clearInterval(this.#watch);
    clearTimeout(this.#retry);
    this.#abort?.abort();
  }

  /**
   * Judges silence. Called each second and when the tab becomes visible again: a frozen tab's timers and
   * sockets stood still, so a connection that was silent too long is opened anew at once.
   */
  readonly check = (): void => {
    const now = this.#options.now();
    const silentSince = this.#state.lastTrafficAt ?? this.#startedAt;
    if (now - silentSince < STALE_AFTER_MS) return;
    this.#set({ phase: this.#attemptFailed ? "offline" : "stale", lastTrafficAt: this.#state.lastTrafficAt });
    if (now - this.#attemptAt >= STALE_AFTER_MS) this.reconnect();
  };

  /** Drops what is there and connects at once. */
  reconnect(): void {
    this.#abort?.abort();
    clearTimeout(this.#retry);
    void this.#attempt();
  }

  async #attempt(): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    this.#attemptAt = this.#options.now();
    try {
      const response = await this.#options.open(this.#cursor, abort.signal);
      if (!response.ok || response.body === null) throw new Error(`the stream answered ${response.status}`);
      if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
        throw new Error("the stream's address answered something that is no stream");
      }
      await this.#read(response.body, abort.signal);
    } catch {
      if (abort.signal.aborted) return;
      this.#attemptFailed = true;
      if (this.#state.lastTrafficAt === null) this.#set({ phase: "offline", lastTrafficAt: null });
    }
    if (abort.signal.aborted) return;
    const wait = waitBeforeAttempt(this.#failures, this.#options.random());
    this.#failures += 1;
    this.#retry = setTimeout(() => void this.#attempt(), wait);
  }

  async #read(body: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<void> {
    const reader = body.getReader();
    const parser = new SseParser();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      this.#traffic();
      this.#take(parser.push(decoder.decode(value, { stream: true })));
    }
  }

  #take(events: StreamEvent[]): void {
    const passOn: StreamEvent[] = [];
    for (const event of events) {
      const first = this.#cursor === null && event.id !== null;
      // `hello` names the present. To a page that asked for what it missed this comes later, so a cut in
      // between has to ask from the old place again.
      if (event.id !== null && (first || event.event !== "hello")) this.#cursor = event.id;
      if (first) this.#options.onFirst();
      if (event.event === "reset") {
        this.#cursor = event.id;
        this.#options.onReset();
      } else if (event.event !== "heartbeat" && event.event !== "hello") passOn.push(event);
    }
    if (passOn.length > 0) this.#options.onEvents(passOn);
  }

  #traffic(): void {
    this.#failures = 0;
    this.#attemptFailed = false;
    this.#set({ phase: "live", lastTrafficAt: this.#options.now() });
  }

  #set(state: ConnectionState): void {
    const changed = state.phase !== this.#state.phase || state.lastTrafficAt !== this.#state.lastTrafficAt;
    this.#state = state;
    if (changed) for (const listener of this.#listeners) listener();
  }
}
