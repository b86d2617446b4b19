import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { api, dataOf } from "./client";
import type { Readiness } from "./types";

/** How often the parts' states are asked for. With what the server takes to notice, a fault shows within 10 s. */
const PARTS_EVERY_MS = 3_000;
/** How often figures that no stream brings are asked for while they are looked at. */
const FIGURES_EVERY_MS = 5_000;
/** How often alarms are asked for: the stream tells of one that is raised, not of one that is over. */
const ALARMS_EVERY_MS = 10_000;
/** Rows of one page of a list. */
const PAGE_ROWS = 500;
/** Alarms of one page. */
const ALARM_ROWS = 100;
/** Dead letters that are shown; the API has them all. */
const DEAD_LETTER_ROWS = 10;

export interface BenchFilter {
  readonly state?: "online" | "offline" | undefined;
  readonly q?: string | undefined;
}

export interface JobFilter {
  readonly state?: string | undefined;
  readonly vin?: string | undefined;
  readonly device?: string | undefined;
}

/** Drops what is not set: the address of a request holds only what filters. */
function given<T extends object>(filter: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const entries = Object.entries(filter).filter(([, value]) => value !== undefined && value !== "");
  return Object.fromEntries(entries) as { [K in keyof T]?: NonNullable<T[K]> };
}

export const statusQuery = queryOptions({
  queryKey: ["status"],
  queryFn: async ({ signal }) => dataOf(await api.GET("/api/v1/status", { signal })),
  staleTime: 60_000,
});

/** Each part's state. Answered also while the database can't be read, then with status 503. */
export const readinessQuery = queryOptions({
  queryKey: ["readiness"],
  queryFn: async ({ signal }) => {
    const answer = await api.GET("/readyz", { signal });
    const told = answer.data ?? (isReadiness(answer.error) ? answer.error : undefined);
    return dataOf({ ...answer, data: told });
  },
  staleTime: 0,
  refetchInterval: PARTS_EVERY_MS,
});

function isReadiness(body: unknown): body is Readiness {
  return typeof body === "object" && body !== null && "checks" in body && Array.isArray(body.checks);
}

export const replicasQuery = queryOptions({
  queryKey: ["replicas"],
  queryFn: async ({ signal }) => dataOf(await api.GET("/api/v1/replicas", { signal })),
  refetchInterval: FIGURES_EVERY_MS,
});

export const relayQuery = queryOptions({
  queryKey: ["relay"],
  queryFn: async ({ signal }) => dataOf(await api.GET("/api/v1/relay", { signal })),
  refetchInterval: FIGURES_EVERY_MS,
});

export const plantLedgerQuery = queryOptions({
  queryKey: ["plant-ledger"],
  queryFn: async ({ signal }) => dataOf(await api.GET("/api/v1/ledger", { signal })),
  refetchInterval: FIGURES_EVERY_MS,
});

/** What a person should know, last raised first. */
export const alarmsQuery = infiniteQueryOptions({
  queryKey: ["alarms"],
  queryFn: async ({ signal, pageParam }) => {
    const query = { limit: ALARM_ROWS, ...given({ cursor: pageParam }) };
    return dataOf(await api.GET("/api/v1/alarms", { params: { query }, signal }));
  },
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (page) => page.next_cursor ?? undefined,
  refetchInterval: ALARMS_EVERY_MS,
});

/** The newest messages that could not be taken. */
export const deadLettersQuery = queryOptions({
  queryKey: ["dead-letters"],
  queryFn: async ({ signal }) =>
    dataOf(await api.GET("/api/v1/dead-letters", { params: { query: { limit: DEAD_LETTER_ROWS } }, signal })),
  refetchInterval: ALARMS_EVERY_MS,
});

export const benchesQuery = (filter: BenchFilter) =>
  infiniteQueryOptions({
    queryKey: ["benches", given(filter)],
    queryFn: async ({ signal, pageParam }) => {
      const query = { ...given(filter), limit: PAGE_ROWS, ...given({ cursor: pageParam }) };
      return dataOf(await api.GET("/api/v1/benches", { params: { query }, signal }));
    },
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export const benchQuery = (device: string) =>
  queryOptions({
    queryKey: ["bench", device],
    queryFn: async ({ signal }) =>
      dataOf(await api.GET("/api/v1/benches/{device}", { params: { path: { device } }, signal })),
  });

export const ledgerQuery = (device: string) =>
  queryOptions({
    queryKey: ["ledger", device],
    queryFn: async ({ signal }) =>
      dataOf(await api.GET("/api/v1/benches/{device}/ledger", { params: { path: { device } }, signal })),
  });

export const jobsQuery = (filter: JobFilter) =>
  infiniteQueryOptions({
    queryKey: ["jobs", given(filter)],
    queryFn: async ({ signal, pageParam }) => {
      const query = { ...given(filter), limit: PAGE_ROWS, ...given({ cursor: pageParam }) };
      return dataOf(await api.GET("/api/v1/jobs", { params: { query }, signal }));
    },
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

export const runQuery = (id: string, attempt: number | undefined) =>
  queryOptions({
    queryKey: ["run", id, attempt ?? null],
    queryFn: async ({ signal }) => {
      const query = given({ attempt });
      return dataOf(await api.GET("/api/v1/jobs/{id}/run", { params: { path: { id }, query }, signal }));
    },
  });

/** Asks for what `allowed_actions` offers; the server decides again. */
export async function act(id: string, action: "cancel" | "take_over" | "retry", reason: string) {
  const request = { params: { path: { id } }, body: { reason } };
  if (action === "cancel") return dataOf(await api.POST("/api/v1/jobs/{id}/cancel", request));
  // The answer is the new job.
  if (action === "retry") return dataOf(await api.POST("/api/v1/jobs/{id}/retry", request));
  return dataOf(await api.POST("/api/v1/jobs/{id}/take-over", request));
}

/** Offers no longer wait for this bench. */
export async function releaseBench(device: string, reason: string) {
  const request = { params: { path: { device } }, body: { reason } };
  return dataOf(await api.POST("/api/v1/benches/{device}/release", request));
}
