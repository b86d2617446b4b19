import type {
  Alarm,
  Bench,
  BenchLedger,
  Check,
  DeadLetter,
  Job,
  LedgerTotals,
  Live,
  Relay,
  Replicas,
  Run,
  Status,
  Step,
} from "../../src/api/types";
import { alarms, checks, deadLetters, noTotals, relay, replicas, totals } from "./system";

/** Names as an attacker, or a careless person, would choose them. They have to appear as text. */
export const HOSTILE = {
  ecu: "<img src=x onerror=\"document.title='owned'\">",
  station: "</script><script>document.title='owned'</script>",
  detail: '"><svg onload=document.title="owned">',
  parameter: "javascript:document.title='owned'",
} as const;

/** What the mock server knows. All times are relative to its start, so that ages look alike in each run. */
export interface World {
  status: Status;
  benches: Bench[];
  ledgers: Map<string, BenchLedger>;
  jobs: Job[];
  runs: Map<string, Run>;
  live: Live[];
  /** The parts of the server, as /readyz has them. */
  checks: Check[];
  replicas: Replicas;
  relay: Relay;
  totals: LedgerTotals;
  alarms: Alarm[];
  deadLetters: DeadLetter[];
}

const uuid = (n: number): string => `0197b1c0-0000-7000-8000-${n.toString(16).padStart(12, "0")}`;
const SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

export const BENCH_VIN = "WVWZZZ1KZAW000123";
export const JOB = {
  running: uuid(1),
  failed: uuid(2),
  doubt: uuid(3),
  passed: uuid(4),
  queued: uuid(5),
  hostile: uuid(6),
} as const;

function ago(seconds: number): string {
  return new Date(Date.now() - seconds * 1_000).toISOString();
}

export function bench(device: string, change: Partial<Bench> = {}): Bench {
  return {
    device,
    plant: "plant-1",
    slot: "7",
    online: true,
    presence_since: ago(7_400),
    last_seen: ago(2),
    station: "EOL 3",
    vin: BENCH_VIN,
    ecus: ["ESP", "CAM", "GW"],
    transports: ["doip"],
    agent_version: "0.1.0",
    public_key: "2Kk3vXvF7y2oZzLr0d0u3dW0mFjG7vN1nTq4bq8s6oE",
    run_id: uuid(900),
    desired_version: 12,
    refusing_jobs: null,
    spool: { held_events: 41, outstanding: 0 },
    open_jobs: [],
    ...change,
  };
}

export function job(id: string, change: Partial<Job> = {}): Job {
  return {
    id,
    request_id: null,
    kind: "flash",
    vin: BENCH_VIN,
    ecu: "ESP",
    procedure: { id: "flash.esp.app", version: "1.2.0", sha256: SHA },
    artifacts: [{ input: "image", name: "esp-app", version: "4.7.1", sha256: SHA, size: 98_304 }],
    parameters: {},
    state: "finished",
    parked: null,
    verdict: "passed",
    reason_code: null,
    detail: null,
    device: "bench-a",
    attempt: 1,
    fence: 17,
    created_at: ago(3_900),
    offered_at: ago(3_899),
    accepted_at: ago(3_898),
    started_at: ago(3_897),
    finished_at: ago(3_855),
    deadline: null,
    priority: 0,
    requested_by: "local operator",
    steps_total: 9,
    steps_done: 9,
    software: { ESP: "4.7.1" },
    fenced_events: 0,
    allowed_actions: [
      { action: "cancel", allowed: false, reason: "the job is final" },
      { action: "take_over", allowed: false, reason: "the job is final" },
      { action: "retry", allowed: true, reason: null },
    ],
    traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    retry_of: null,
    retry_reason: null,
    ...change,
  };
}

export function step(index: number, name: string, change: Partial<Step> = {}): Step {
  return {
    index,
    step: name.toLowerCase().replaceAll(" ", "_"),
    name,
    outcome: "passed",
    started_at: ago(3_890 - index * 4),
    finished_at: ago(3_887 - index * 4),
    duration_ms: [84, 312, 2_140, 18_450, 640][index % 5] ?? 84,
    retries: 0,
    nrc: null,
    detail: null,
    measurements: [],
    ...change,
  };
}

const FLASH_STEPS = [
  "Read identity",
  "Check supply",
  "Extended session",
  "Unlock",
  "Erase",
  "Download",
  "Check memory",
  "Reset",
  "Read back",
];

function supply(outcome: "passed" | "failed", value: number): Partial<Step> {
  return {
    outcome,
    measurements: [
      {
        name: "supply voltage",
        raw: "7D0A",
        value,
        unit: "V",
        limits: { ge: 12, le: 15 },
        outcome,
        marginal: false,
      },
      {
        name: "ignition current",
        raw: "01F4",
        value: 0.487,
        unit: "A",
        limits: { le: 0.5 },
        outcome: "passed",
        marginal: true,
      },
      {
        name: "application software",
        raw: "342E372E30",
        value: "4.7.0",
        unit: null,
        limits: { equals: "4.7.0" },
        outcome: "passed",
        marginal: false,
      },
    ],
  };
}

const running: Partial<Job> = {
  state: "running",
  verdict: null,
  finished_at: null,
  started_at: ago(21),
  accepted_at: ago(22),
  created_at: ago(24),
  steps_done: 5,
  software: {},
  allowed_actions: [
    {
      action: "cancel",
      allowed: false,
      reason: "the download has begun: an interruption would leave the control unit without software",
    },
    { action: "take_over", allowed: true, reason: null },
    { action: "retry", allowed: false, reason: "the job is open" },
  ],
};

export const LIVE: Live = {
  device: "bench-a",
  job_id: JOB.running,
  attempt: 1,
  step: "download",
  step_index: 5,
  steps_total: 9,
  bytes_done: 61_440,
  bytes_total: 98_304,
  time: ago(0),
};

/** A plant with one of everything. */
export function normalWorld(): World {
  const run = (id: string, change: Partial<Job>, steps: Step[], record: Run["record"] = null): [Job, Run] => {
    const made = job(id, change);
    return [made, { job: made, attempt: made.attempt, steps, live: null, record }];
  };
  const steps = FLASH_STEPS.map((name, index) =>
    step(index, name, index === 1 ? supply("passed", 13.2) : {}),
  );
  const jws = `eyJhbGciOiJFZERTQSJ9.${"eyJyZWNvcmQiOiJ0ZXN0In0".repeat(8)}.c2lnbmF0dXJl`;
  const key = bench("x").public_key ?? null;
  const all = [
    run(JOB.running, running, steps.slice(0, 5)),
    run(
      JOB.queued,
      {
        kind: "calibrate",
        ecu: "CAM",
        state: "queued",
        verdict: null,
        parked: "no online bench holds this vehicle",
        device: null,
        attempt: 0,
        accepted_at: null,
        offered_at: null,
        started_at: null,
        finished_at: null,
        steps_total: null,
        steps_done: 0,
        software: {},
        traceparent: null,
        vin: "WVWZZZ1KZAW000777",
        artifacts: [],
        allowed_actions: [
          { action: "cancel", allowed: true, reason: null },
          { action: "take_over", allowed: false, reason: "no bench has it" },
        ],
      },
      [],
    ),
    run(
      JOB.doubt,
      {
        verdict: "in_doubt",
        reason_code: "link_lost_in_transfer",
        detail: "The link was lost at block 118 of 192.",
        device: "bench-b",
        attempt: 2,
        fenced_events: 3,
        software: {},
      },
      [
        ...steps.slice(0, 5),
        step(5, "Download", {
          outcome: "error",
          nrc: 0x72,
          retries: 2,
          detail: "TCP connection reset by the entity",
        }),
      ],
      { jws, verified: false, public_key: key },
    ),
    run(
      JOB.failed,
      {
        kind: "test",
        ecu: "GW",
        procedure: { id: "eol.test", version: "3.0.0", sha256: SHA },
        verdict: "failed",
        reason_code: "limit_missed",
        detail: "supply voltage 11.4 V",
        artifacts: [],
        software: { GW: "2.0.3" },
      },
      [step(0, "Read identity"), step(1, "Check supply", supply("failed", 11.4))],
      { jws, verified: true, public_key: key },
    ),
    run(JOB.passed, {}, steps, { jws, verified: true, public_key: key }),
    run(
      JOB.hostile,
      {
        ecu: HOSTILE.ecu,
        detail: HOSTILE.detail,
        verdict: "error",
        reason_code: "procedure_fault",
        parameters: { note: HOSTILE.parameter },
        device: "bench-c",
        software: { [HOSTILE.ecu]: HOSTILE.detail },
      },
      [
        step(0, HOSTILE.ecu, {
          outcome: "error",
          detail: HOSTILE.detail,
          measurements: [
            {
              name: HOSTILE.station,
              raw: "00",
              value: HOSTILE.ecu,
              unit: HOSTILE.detail,
              limits: { equals: HOSTILE.parameter },
              outcome: "failed",
              marginal: false,
            },
          ],
        }),
      ],
    ),
    run(uuid(7), { verdict: "aborted", reason_code: "bench_cancelled", device: "bench-b", software: {} }, []),
    run(
      uuid(8),
      {
        state: "rejected",
        verdict: null,
        reason_code: "wrong_vehicle",
        device: "bench-c",
        started_at: null,
        software: {},
        steps_total: null,
      },
      [],
    ),
    run(
      uuid(9),
      {
        state: "timed_out",
        verdict: null,
        device: null,
        accepted_at: null,
        started_at: null,
        software: {},
        steps_total: null,
      },
      [],
    ),
    run(uuid(10), { state: "taken_over", verdict: null, device: "bench-d", software: {} }, []),
    run(
      uuid(11),
      {
        state: "canceled",
        verdict: null,
        device: null,
        accepted_at: null,
        started_at: null,
        software: {},
        steps_total: null,
      },
      [],
    ),
  ];
  const summary = (index: number) => {
    const found = all[index]?.[0] ?? job(uuid(99));
    const { id, kind, vin, ecu, state, verdict, steps_total, steps_done } = found;
    return {
      id,
      kind,
      vin,
      ecu,
      state,
      verdict: verdict ?? null,
      steps_total: steps_total ?? null,
      steps_done,
    };
  };
  const benches = [
    bench("bench-a", { open_jobs: [summary(0)], spool: { held_events: 96, outstanding: 4 } }),
    bench("bench-b", {
      online: false,
      presence_since: ago(1_320),
      last_seen: ago(1_320),
      station: "EOL 4",
      vin: "WVWZZZ1KZAW000555",
      open_jobs: [summary(2)],
      spool: { held_events: 310, outstanding: 30 },
    }),
    bench("bench-c", {
      station: HOSTILE.station,
      ecus: [HOSTILE.ecu],
      vin: null,
      refusing_jobs: "spool above 95 %: 12 MB free",
    }),
    bench("bench-d", { station: "CAL 1", vin: "WVWZZZ1KZAW000777", ecus: [] }),
    ...Array.from({ length: 6 }, (_, n) =>
      bench(`bench-${String.fromCharCode(101 + n)}`, {
        station: `CAL ${n + 2}`,
        vin: `WVWZZZ1KZAW0008${n}0`,
      }),
    ),
  ];
  const spool = (n: number, change: object = {}) => ({
    spool_id: uuid(500 + n),
    announced: 214,
    stored: 214,
    rejected: 0,
    holes: 0,
    outstanding: 0,
    outstanding_since: null,
    through: 214,
    duplicates: 2,
    gaps: 0,
    conflicts: 0,
    in_kafka: 200,
    already_in_kafka: 0,
    unrelayable: 0,
    expired: 0,
    in_outbox: 14,
    ...change,
  });
  return {
    status: {
      plant: "plant-1",
      version: "0.1.0",
      store_generation: uuid(1_000),
      ready: true,
      checks: [],
      benches_online: 9,
      benches_offline: 1,
      jobs: { running: 1 },
      waiting_for_benches: [],
      time: ago(0),
      time_zone: "Europe/Berlin",
    },
    benches,
    ledgers: new Map(
      benches.map((entry, index) => [
        entry.device,
        {
          spools: [
            spool(index + 50, {
              announced: 96,
              stored: 90,
              in_kafka: 60,
              already_in_kafka: 20,
              unrelayable: 1,
              expired: 0,
              in_outbox: 9,
              rejected: 1,
              holes: 1,
              outstanding: 4,
              outstanding_since: ago(1_980),
              through: 92,
            }),
            spool(index),
          ],
        },
      ]),
    ),
    jobs: all.map(([made]) => made),
    runs: new Map(all.map(([made, itsRun]) => [made.id, itsRun])),
    live: [LIVE],
    checks: checks(),
    replicas: replicas(),
    relay: relay(),
    totals: totals(),
    alarms: alarms(),
    deadLetters: deadLetters(),
  };
}

/** A server that nobody has used yet. */
export function emptyWorld(): World {
  const world = normalWorld();
  const blank = bench("bench-a", {
    station: null,
    vin: null,
    agent_version: null,
    public_key: null,
    run_id: null,
    ecus: [],
    transports: [],
    spool: { held_events: 0, outstanding: 0 },
  });
  const fresh = job(JOB.queued, {
    state: "queued",
    verdict: null,
    device: null,
    attempt: 0,
    started_at: null,
    accepted_at: null,
    offered_at: null,
    finished_at: null,
    software: {},
    steps_total: null,
    steps_done: 0,
    artifacts: [],
    traceparent: null,
  });
  return {
    ...world,
    benches: [],
    jobs: [],
    ledgers: new Map([["bench-a", { spools: [] }]]),
    runs: new Map([[JOB.queued, { job: fresh, attempt: 0, steps: [], live: null, record: null }]]),
    live: [],
    replicas: { items: [], free_slots: [..."0123456789abcdef"] },
    totals: noTotals(),
    alarms: [],
    deadLetters: [],
    hidden: [blank],
  } as World & { hidden: Bench[] };
}

/** As many benches as a large plant has. */
export function largeWorld(count: number): World {
  const world = normalWorld();
  world.benches = Array.from({ length: count }, (_, n) =>
    bench(`bench-${n.toString().padStart(5, "0")}`, { station: `ST ${n % 120}`, online: n % 37 !== 0 }),
  );
  return world;
}
