import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import type { Bench } from "../../src/api/types";
import { normalWorld, type World } from "./data";

/** The same policy as the server's (fleet-server/src/http/page.rs): what it blocks fails here as well. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const KINDS: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};

/** Id of the job that a retry makes. */
export const RETRIED = "01961111-2222-7333-8444-555566667777";

const HEARTBEAT_MS = 5_000;

/** A server with the REST interface's shapes, the built page, and faults to order. */
export class MockServer {
  world: World = normalWorld();
  /** `error`: every answer of the API is a 500 problem. `slow`: no answer of the API until changed. */
  mode: "normal" | "error" | "slow" = "normal";
  /** How the stream answers: as it should, not a byte, or as a proxy without its server. */
  stream: "normal" | "silent" | "bad_gateway" = "normal";
  /** What the page asked for, newest last. */
  readonly asked: string[] = [];
  readonly posted: { path: string; body: unknown }[] = [];
  readonly #dist: string;
  readonly #server: Server;
  readonly #readers = new Set<ServerResponse>();
  #seq = 0;
  #heartbeat: ReturnType<typeof setInterval> | undefined;

  constructor(dist: string) {
    this.#dist = dist;
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  async listen(): Promise<string> {
    await new Promise<void>((done) => this.#server.listen(0, "127.0.0.1", done));
    this.#heartbeat = setInterval(() => this.send("heartbeat", {}), HEARTBEAT_MS);
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    clearInterval(this.#heartbeat);
    this.dropReaders();
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  /** Back to the beginning, between tests. */
  reset(world: World = normalWorld()): void {
    this.world = world;
    this.mode = "normal";
    this.stream = "normal";
    this.asked.length = 0;
    this.posted.length = 0;
    this.dropReaders();
  }

  /** Sends an event to every reader. */
  send(event: string, data: unknown): void {
    this.#seq += 1;
    if (this.stream !== "normal") return;
    for (const reader of this.#readers) reader.write(this.#event(event, data));
  }

  dropReaders(): void {
    for (const reader of this.#readers) reader.destroy();
    this.#readers.clear();
  }

  get readers(): number {
    return this.#readers.size;
  }

  #event(event: string, data: unknown): string {
    return `event: ${event}\nid: e1-${this.#seq}\ndata: ${JSON.stringify(data)}\n\n`;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://mock");
    if (url.pathname === "/readyz") return this.#readiness(response);
    if (!url.pathname.startsWith("/api/")) return this.#page(url.pathname, response);
    this.asked.push(`${request.method} ${url.pathname}${url.search}`);
    if (url.pathname === "/api/v1/stream") return this.#stream(response);
    if (this.mode === "slow") return;
    if (this.mode === "error")
      return problem(response, 500, "store_unavailable", "The store is not available");
    if (request.method === "POST") return this.#post(request, url, response);
    const found = this.#get(url);
    if (found === undefined) return problem(response, 404, "not_found", `There is no ${url.pathname}`);
    json(response, 200, found);
  }

  #get(url: URL): unknown {
    const [, , , group, id, part] = url.pathname.split("/").map(decodeURIComponent);
    const query = url.searchParams;
    const { world } = this;
    if (group === "status") return { ...world.status, checks: world.checks };
    if (group === "replicas") return world.replicas;
    if (group === "relay") return world.relay;
    if (group === "ledger") return world.totals;
    if (group === "alarms") return this.#alarms(query);
    if (group === "dead-letters") return { items: world.deadLetters, next_cursor: null };
    if (group === "benches") {
      if (id === undefined) return this.#benches(query);
      if (part === "ledger") return world.ledgers.get(id);
      const hidden = (world as World & { hidden?: Bench[] }).hidden ?? [];
      return [...world.benches, ...hidden].find((bench) => bench.device === id);
    }
    if (group === "jobs") {
      if (id === undefined) {
        const items = world.jobs.filter(
          (job) =>
            (query.get("state") ?? job.state) === job.state &&
            job.vin.includes(query.get("vin") ?? "") &&
            (query.get("device") ?? job.device) === job.device,
        );
        return { items, next_cursor: null, stream_cursor: `e1-${this.#seq}` };
      }
      if (part === "run") return world.runs.get(id);
      return world.jobs.find((job) => job.id === id);
    }
    return undefined;
  }

  #alarms(query: URLSearchParams): unknown {
    const from = Number(query.get("cursor") ?? 0);
    const end = from + Number(query.get("limit") ?? 100);
    const { alarms } = this.world;
    return { items: alarms.slice(from, end), next_cursor: end < alarms.length ? String(end) : null };
  }

  #benches(query: URLSearchParams): unknown {
    const state = query.get("state");
    const q = query.get("q") ?? "";
    const all = this.world.benches.filter(
      (bench) =>
        (state === null || bench.online === (state === "online")) &&
        [bench.device, bench.station ?? "", bench.vin ?? ""].some((text) =>
          text.toLowerCase().includes(q.toLowerCase()),
        ),
    );
    const from = Number(query.get("cursor") ?? 0);
    const limit = Number(query.get("limit") ?? 100);
    const next = from + limit < all.length ? String(from + limit) : null;
    return { items: all.slice(from, from + limit), next_cursor: next, stream_cursor: `e1-${this.#seq}` };
  }

  async #post(request: IncomingMessage, url: URL, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    this.posted.push({ path: url.pathname, body: JSON.parse(Buffer.concat(chunks).toString("utf8")) });
    const released = /^\/api\/v1\/benches\/([^/]+)\/release$/.exec(url.pathname)?.[1];
    if (released !== undefined) return this.#release(released, response);
    const job = this.world.jobs.find((candidate) => url.pathname.includes(candidate.id));
    if (job === undefined) return problem(response, 404, "not_found", "There is no such job");
    if (url.pathname.endsWith("/retry")) {
      const body = this.posted.at(-1)?.body as { reason: string } | undefined;
      const again = {
        ...structuredClone(job),
        ...{ id: RETRIED, state: "queued" as const, verdict: null, finished_at: null, attempt: 0 },
        ...{ retry_of: job.id, retry_reason: body?.reason ?? null },
      };
      this.world.jobs.unshift(again);
      this.world.runs.set(RETRIED, { job: again, attempt: 0, steps: [], live: null, record: null });
      return json(response, 201, again);
    }
    job.state = url.pathname.endsWith("/cancel") ? "canceled" : "taken_over";
    job.finished_at = new Date().toISOString();
    json(response, 200, job);
  }

  /** The parts, also while the API fails. */
  #readiness(response: ServerResponse): void {
    const { checks } = this.world;
    const ready = checks.every((check) => check.ok || !check.required);
    json(response, ready ? 200 : 503, { ready, checks });
  }

  #release(device: string, response: ServerResponse): void {
    const { status } = this.world;
    status.waiting_for_benches = status.waiting_for_benches.filter((waiting) => waiting !== device);
    if (status.waiting_for_benches.length === 0)
      this.world.checks = this.world.checks.map((check) =>
        check.name === "offers" ? { ...check, state: "ok" } : check,
      );
    json(
      response,
      200,
      this.world.benches.find((bench) => bench.device === device),
    );
  }

  #stream(response: ServerResponse): void {
    if (this.stream === "bad_gateway") {
      response.writeHead(502, { "content-type": "text/html" }).end("<h1>502 Bad Gateway</h1>");
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    response.flushHeaders();
    this.#readers.add(response);
    response.on("close", () => this.#readers.delete(response));
    if (this.stream === "silent") return;
    response.write(this.#event("hello", { cursor: `e1-${this.#seq}` }));
    for (const live of this.world.live) response.write(this.#event("live", live));
  }

  async #page(pathname: string, response: ServerResponse): Promise<void> {
    const file = path.extname(pathname) === "" ? "/index.html" : pathname;
    try {
      const bytes = await readFile(path.join(this.#dist, path.normalize(file)));
      response.writeHead(200, {
        "content-type": KINDS[path.extname(file)] ?? "application/octet-stream",
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
      });
      response.end(bytes);
    } catch {
      problem(response, 404, "not_found", `There is no ${pathname}`);
    }
  }
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function problem(response: ServerResponse, status: number, code: string, title: string): void {
  const body = { type: `urn:vds:problem:${code}`, title, status, detail: "Ordered by the test.", code };
  response.writeHead(status, { "content-type": "application/problem+json" }).end(JSON.stringify(body));
}
