// Written by hand after the contract until docs/openapi.json exists; `npm run generate:api` replaces it.
export interface components {
  schemas: {
    Verdict: "passed" | "failed" | "error" | "aborted" | "in_doubt";
    Outcome: "passed" | "failed" | "error" | "skipped";
    JobKind: "flash" | "calibrate" | "personalise_key" | "code" | "test" | "document" | "procedure";
    JobState: "queued" | "offered" | "withdrawing" | "accepted" | "running" | "finished" | "rejected" | "canceled" | "timed_out" | "superseded" | "taken_over";
    AllowedAction: { action: "cancel" | "take_over" | "retry"; allowed: boolean; reason?: string | null };
    JobSummary: { id: string; kind: components["schemas"]["JobKind"]; vin: string; ecu: string; state: components["schemas"]["JobState"]; verdict?: components["schemas"]["Verdict"] | null; steps_total?: number | null; steps_done: number };
    BenchSpool: { held_events: number; outstanding: number };
    Bench: {
      device: string; plant: string; slot: string; online: boolean; presence_since?: string | null; last_seen?: string | null;
      station?: string | null; vin?: string | null; ecus: string[]; transports: string[]; agent_version?: string | null; public_key?: string | null;
      run_id?: string | null; desired_version: number; refusing_jobs?: string | null; spool: components["schemas"]["BenchSpool"]; open_jobs: components["schemas"]["JobSummary"][];
    };
    BenchPage: { items: components["schemas"]["Bench"][]; next_cursor?: string | null; stream_cursor: string };
    LedgerSpool: { spool_id: string; announced: number; stored: number; rejected: number; holes: number; outstanding: number; through: number; duplicates: number; gaps: number; conflicts: number; in_outbox: number };
    BenchLedger: { spools: components["schemas"]["LedgerSpool"][] };
    ProcedureRef: { id: string; version: string; sha256: string };
    ArtifactRef: { input: string; name: string; version: string; sha256: string; size: number };
    Job: {
      id: string; request_id?: string | null; kind: components["schemas"]["JobKind"]; vin: string; ecu: string; procedure: components["schemas"]["ProcedureRef"];
      artifacts: components["schemas"]["ArtifactRef"][]; parameters: Record<string, string>; state: components["schemas"]["JobState"]; parked?: string | null;
      verdict?: components["schemas"]["Verdict"] | null; reason_code?: string | null; detail?: string | null; device?: string | null; attempt: number; fence: number;
      created_at: string; offered_at?: string | null; accepted_at?: string | null; started_at?: string | null; finished_at?: string | null; deadline?: string | null;
      priority: number; requested_by: string; steps_total?: number | null; steps_done: number; software: Record<string, string>; fenced_events: number;
      allowed_actions: components["schemas"]["AllowedAction"][]; traceparent?: string | null;
    };
    JobPage: { items: components["schemas"]["Job"][]; next_cursor?: string | null; stream_cursor: string };
    Limits: { ge?: number | null; le?: number | null; gt?: number | null; lt?: number | null; equals?: string | null };
    Measurement: { name: string; raw: string; value: number | string; unit?: string | null; limits?: components["schemas"]["Limits"]; outcome: components["schemas"]["Outcome"]; marginal?: boolean };
    Step: { index: number; step: string; name: string; outcome: components["schemas"]["Outcome"]; started_at: string; finished_at: string; duration_ms: number; retries: number; nrc?: number | null; detail?: string | null; measurements: components["schemas"]["Measurement"][] };
    Live: { device: string; job_id: string; attempt: number; step: string; step_index: number; steps_total: number; bytes_done: number; bytes_total: number; time: string };
    RunRecord: { jws: string; verified: boolean; public_key?: string | null };
    Run: { job: components["schemas"]["Job"]; attempt: number; steps: components["schemas"]["Step"][]; live?: components["schemas"]["Live"] | null; record?: components["schemas"]["RunRecord"] | null };
    Status: { plant: string; version: string; store_generation: string; ready: boolean; benches_online: number; benches_offline: number; jobs: Record<string, number>; time: string };
    Reason: { reason: string };
    Problem: { type?: string; title: string; status: number; detail?: string | null; code: string; instance?: string | null };
  };
}
type S = components["schemas"];
type Json<T> = { headers: Record<string, unknown>; content: { "application/json": T } };
type ProblemResponse = { headers: Record<string, unknown>; content: { "application/problem+json": S["Problem"] } };
type Get<P, T> = { get: { parameters: P; responses: { 200: Json<T>; default: ProblemResponse } } };
type Post<P, B, T> = { post: { parameters: P; requestBody: { content: { "application/json": B } }; responses: { 200: Json<T>; default: ProblemResponse } } };
export interface paths {
  "/api/v1/status": Get<Record<string, never>, S["Status"]>;
  "/api/v1/benches": Get<{ query?: { state?: string; q?: string; limit?: number; cursor?: string } }, S["BenchPage"]>;
  "/api/v1/benches/{device}": Get<{ path: { device: string } }, S["Bench"]>;
  "/api/v1/benches/{device}/ledger": Get<{ path: { device: string } }, S["BenchLedger"]>;
  "/api/v1/jobs": Get<{ query?: { state?: string; vin?: string; device?: string; limit?: number; cursor?: string } }, S["JobPage"]>;
  "/api/v1/jobs/{id}": Get<{ path: { id: string } }, S["Job"]>;
  "/api/v1/jobs/{id}/cancel": Post<{ path: { id: string } }, S["Reason"], S["Job"]>;
  "/api/v1/jobs/{id}/take-over": Post<{ path: { id: string } }, S["Reason"], S["Job"]>;
  "/api/v1/jobs/{id}/run": Get<{ path: { id: string }; query?: { attempt?: number } }, S["Run"]>;
}
