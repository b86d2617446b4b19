import { useSyncExternalStore } from "react";
import type { Live } from "../api/types";

/**
 * Live progress by job. It is never stored anywhere (QoS 0 on the bench's side), so it lives beside the
 * query cache: a refetch does not know it.
 */
const progress = new Map<string, Live>();
const listeners = new Set<() => void>();

export function putProgress(items: readonly Live[]): void {
  for (const item of items) progress.set(item.job_id, item);
  if (items.length > 0) for (const listener of listeners) listener();
}

export function dropProgress(jobIds: Iterable<string>): void {
  let dropped = false;
  for (const id of jobIds) dropped = progress.delete(id) || dropped;
  if (dropped) for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The newest progress of a job, or null. */
export function useProgress(jobId: string | undefined): Live | null {
  return useSyncExternalStore(subscribe, () => (jobId === undefined ? null : (progress.get(jobId) ?? null)));
}
