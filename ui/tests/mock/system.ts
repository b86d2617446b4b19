import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Alarm, Check, DeadLetter, LedgerTotals, Relay, Replica, Replicas } from "../../src/api/types";

const REPOSITORY = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");

/** Every kind of alarm, from the server's own table. */
export function alarmKinds(): string[] {
  const source = readFileSync(path.join(REPOSITORY, "crates/fleet-store/src/ingest.rs"), "utf8");
  const table = /impl AlarmKind \{[\s\S]*?fn as_str[\s\S]*?\n {4}\}\n/.exec(source)?.[0] ?? "";
  return [...table.matchAll(/=> "(\w+)"/g)].map((kind) => kind[1] ?? "");
}

/** Each part with its states, from the server's own table. */
export function namedStates(): Map<string, string[]> {
  const source = readFileSync(path.join(REPOSITORY, "fleet-server/src/metrics/components.rs"), "utf8");
  const table = /const STATES[^=]*= \[([\s\S]*?)\n\];/.exec(source)?.[1] ?? "";
  const parts = table.matchAll(/"(\w+)",\s*&\[([^\]]*)\]/g);
  return new Map(
    [...parts].map(([, name, states]) => [
      name ?? "",
      [...(states ?? "").matchAll(/"(\w+)"/g)].map((state) => state[1] ?? ""),
    ]),
  );
}

export function runbook(): string {
  return readFileSync(path.join(REPOSITORY, "docs/runbook.md"), "utf8");
}

const NEEDS_NOBODY: ReadonlySet<string> = new Set(["ok", "off", "standby", "held"]);

export function check(name: string, state: string, change: Partial<Check> = {}): Check {
  const ok = NEEDS_NOBODY.has(state);
  return {
    name,
    state,
    ok,
    required: name !== "kafka" && name !== "offers",
    detail: ok ? "as it should be" : `${name} at 10.0.0.7 says: ${state.replaceAll("_", " ")}`,
    help: ok ? null : "what the server would do",
    ...change,
  };
}

/** Every part, well; given ones in the given state. */
export function checks(states: Readonly<Record<string, string>> = {}): Check[] {
  return ["store", "broker", "slots", "kafka", "offers", "files"].map((name) =>
    check(name, states[name] ?? "ok"),
  );
}

export function replica(owner: string, slots: string, change: Partial<Replica> = {}): Replica {
  const now = Date.now();
  return {
    owner,
    this: false,
    http: `http://${owner}:8080`,
    broker: "mqtt://broker.plant-1:1883",
    version: "0.1.0",
    started_at: new Date(now - 7_400_000).toISOString(),
    seen_at: new Date(now - 1_000).toISOString(),
    slots: [...slots],
    slots_ready: slots.length,
    relay: false,
    ...change,
  };
}

export function replicas(): Replicas {
  return {
    items: [
      replica("server-1-0197b1c0", "01234567", { this: true, relay: true }),
      replica("server-2-0197b1c1", "89abcdef"),
    ],
    free_slots: [],
  };
}

export function relay(): Relay {
  return {
    owner: "server-1-0197b1c0",
    term: 3,
    waiting: 12,
    oldest_waiting: new Date(Date.now() - 2_000).toISOString(),
    relayed_seq: 20_391,
    newest_seq: 20_403,
  };
}

export function totals(): LedgerTotals {
  return {
    announced: 20_440,
    stored: 20_403,
    rejected: 1,
    holes: 2,
    outstanding: 34,
    duplicates: 118,
    gaps: 4,
    conflicts: 0,
    in_kafka: 20_380,
    already_in_kafka: 10,
    unrelayable: 1,
    expired: 0,
    in_outbox: 12,
    unprojected: 0,
    dead_letters: 2,
  };
}

export function alarm(id: number, code: string, change: Partial<Alarm> = {}): Alarm {
  const now = Date.now();
  return {
    id,
    code,
    device: "bench-b",
    detail: `${code}: what the server says`,
    count: 1,
    raised_at: new Date(now - 1_560_000).toISOString(),
    last_at: new Date(now - 60_000 * id).toISOString(),
    ...change,
  };
}

/** The alarms of a plant with a bench that is away. */
export function alarms(): Alarm[] {
  return [
    alarm(1, "ledger_outstanding", {
      detail: "30 events of this bench are known of and have not come for 26 min",
      count: 26,
    }),
    alarm(2, "rejected", { device: "bench-c", detail: "spool 0197b1c0-…-01f5, place 4 is no CloudEvent" }),
    alarm(3, "clock_off", { device: "bench-d", detail: "its events are 365 d behind the server's clock" }),
    alarm(4, "misplaced", { device: null, detail: "vds/plant-1/7/../../etc: the bench level is no id" }),
  ];
}

/** A plant that nothing was announced in. */
export function noTotals(): LedgerTotals {
  return Object.fromEntries(Object.keys(totals()).map((name) => [name, 0])) as unknown as LedgerTotals;
}

/** A message of a bench and one of a stranger. */
export function deadLetters(): DeadLetter[] {
  const letter = (id: number, change: Partial<DeadLetter>): DeadLetter => ({
    id,
    device: "bench-c",
    channel: "events",
    spool_id: "0197b1c0-0000-7000-8000-0000000001f6",
    seq: 4,
    code: "malformed",
    reason: "the payload is no CloudEvent: expected value at line 1 column 1",
    received_at: new Date(Date.now() - 240_000 * id).toISOString(),
    size: 612,
    bytes_base64: "",
    ...change,
  });
  const stranger = '"><svg onload=document.title="owned">';
  return [
    letter(2, {}),
    letter(1, {
      device: stranger,
      code: "misplaced",
      reason: "the bench level is no id",
      spool_id: null,
      seq: null,
    }),
  ];
}
