import type { InfiniteData, QueryClient } from "@tanstack/react-query";
import type { BenchFilter, JobFilter } from "../api/queries";
import type { Bench, BenchPage, Job, JobPage, Live, Run } from "../api/types";
import { dropProgress, putProgress } from "./progress";
import type { StreamEvent } from "./sse";

/** What one frame brings, newest state per thing only. */
export interface Changes {
  readonly benches: ReadonlyMap<string, Bench>;
  readonly jobs: ReadonlyMap<string, Job>;
  readonly live: ReadonlyMap<string, Live>;
  /** An alarm was raised or has changed. */
  readonly alarms: boolean;
}

/** What has to be fetched again because the stream says that it changed and not what it is now. */
export interface Outdated {
  readonly benches: boolean;
  readonly jobs: boolean;
  readonly ledger: boolean;
  readonly alarms: boolean;
}

function parsed(data: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(data);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Folds events into the newest state per thing. An event that can't be read is left out: a later one heals it. */
export function fold(events: readonly StreamEvent[]): Changes {
  const benches = new Map<string, Bench>();
  const jobs = new Map<string, Job>();
  const live = new Map<string, Live>();
  let alarms = false;
  for (const event of events) {
    const value = parsed(event.data);
    if (value === null) continue;
    if (event.event === "bench" && typeof value["device"] === "string") {
      benches.set(value["device"], value as unknown as Bench);
    } else if (event.event === "job" && typeof value["id"] === "string") {
      jobs.set(value["id"], value as unknown as Job);
    } else if (event.event === "live" && typeof value["job_id"] === "string") {
      live.set(value["job_id"], value as unknown as Live);
    } else if (event.event === "alarm") {
      alarms = true;
    }
  }
  return { benches, jobs, live, alarms };
}

function patch<T>(
  items: readonly T[],
  key: (item: T) => string,
  changed: ReadonlyMap<string, T>,
): T[] | null {
  let touched = false;
  const next = items.map((item) => {
    const newer = changed.get(key(item));
    if (newer === undefined) return item;
    touched = true;
    return newer;
  });
  return touched ? next : null;
}

/** Puts newer items into the pages of a list; the same object comes back where nothing changed. */
export function patchPages<T, P extends { items: T[] }>(
  data: InfiniteData<P> | undefined,
  key: (item: T) => string,
  changed: ReadonlyMap<string, T>,
): InfiniteData<P> | undefined {
  if (data === undefined || changed.size === 0) return data;
  let touched = false;
  const pages = data.pages.map((page) => {
    const items = patch(page.items, key, changed);
    if (items === null) return page;
    touched = true;
    return { ...page, items };
  });
  return touched ? { ...data, pages } : data;
}

/**
 * True where the list is no longer what the server would answer: something changed that belongs to it and is
 * in none of its pages, or something in its pages belongs to it no longer. Whether a filter's text matches is
 * the server's to say, so `belongs` may answer null for "unknown".
 */
export function isOutdated<T, P extends { items: T[] }>(
  data: InfiniteData<P> | undefined,
  key: (item: T) => string,
  changed: ReadonlyMap<string, T>,
  belongs: (item: T) => boolean | null,
): boolean {
  if (changed.size === 0) return false;
  const known = new Set<string>();
  for (const page of data?.pages ?? []) for (const item of page.items) known.add(key(item));
  for (const [id, item] of changed) {
    const member = belongs(item);
    if (known.has(id) ? member === false : member !== false) return true;
  }
  return false;
}

function benchBelongs(filter: BenchFilter): (bench: Bench) => boolean | null {
  return (bench) => {
    if (filter.state !== undefined && bench.online !== (filter.state === "online")) return false;
    return filter.q === undefined ? true : null;
  };
}

function jobBelongs(filter: JobFilter): (job: Job) => boolean | null {
  return (job) => {
    if (filter.vin !== undefined && !job.vin.includes(filter.vin)) return false;
    if (filter.state !== undefined && job.state !== filter.state) return false;
    // A queued job may be meant for a bench without saying so.
    if (filter.device !== undefined && job.device !== filter.device) return job.device == null ? null : false;
    return true;
  };
}

const benchKey = (bench: Bench): string => bench.device;
const jobKey = (job: Job): string => job.id;

/** Applies one frame's changes to everything in the cache. Gives what has to be fetched again. */
export function apply(client: QueryClient, changes: Changes): Outdated {
  putProgress([...changes.live.values()]);
  const refetch = {
    benches: false,
    jobs: false,
    // A bench changes with each batch of its events that was stored.
    ledger: changes.benches.size > 0,
    alarms: changes.alarms,
  };
  for (const [key, data] of client.getQueriesData<InfiniteData<BenchPage>>({ queryKey: ["benches"] })) {
    refetch.benches ||= isOutdated(
      data,
      benchKey,
      changes.benches,
      benchBelongs((key[1] ?? {}) as BenchFilter),
    );
    client.setQueryData(key, patchPages(data, benchKey, changes.benches));
  }
  for (const [device, bench] of changes.benches) {
    if (client.getQueryData(["bench", device]) !== undefined) client.setQueryData(["bench", device], bench);
    if (client.getQueryData(["ledger", device]) !== undefined) {
      void client.invalidateQueries({ queryKey: ["ledger", device] });
    }
  }
  for (const [key, data] of client.getQueriesData<InfiniteData<JobPage>>({ queryKey: ["jobs"] })) {
    refetch.jobs ||= isOutdated(data, jobKey, changes.jobs, jobBelongs((key[1] ?? {}) as JobFilter));
    client.setQueryData(key, patchPages(data, jobKey, changes.jobs));
  }
  for (const [id, job] of changes.jobs) {
    for (const [key, run] of client.getQueriesData<Run>({ queryKey: ["run", id] })) {
      if (run === undefined) continue;
      client.setQueryData(key, { ...run, job });
      void client.invalidateQueries({ queryKey: key });
    }
  }
  dropProgress([...changes.jobs.values()].filter((job) => job.finished_at != null).map((job) => job.id));
  return refetch;
}
