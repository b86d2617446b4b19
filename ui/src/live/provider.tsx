import type { QueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, use, useEffect, useState, useSyncExternalStore } from "react";
import { apply, fold } from "./apply";
import { type ConnectionState, LiveConnection } from "./connection";
import { oncePerFrame, throttled } from "./frames";
import type { StreamEvent } from "./sse";

/** A list is fetched again at most this often because of changes that its pages don't hold. */
const LIST_REFETCH_MS = 2_000;

/** Fetches everything again, also what is being fetched for the first time at this moment. */
function refetchAll(client: QueryClient): void {
  for (const query of client.getQueryCache().getAll()) {
    if (query.state.data !== undefined || query.state.fetchStatus !== "fetching") continue;
    const again = (): void => void client.invalidateQueries({ queryKey: query.queryKey, exact: true });
    query.promise?.then(again, again);
  }
  void client.invalidateQueries();
}

/** Opens the page's one live stream and ties it to the query cache. */
export function createLive(client: QueryClient): LiveConnection {
  const refetch = (queryKey: string): (() => void) =>
    throttled(() => void client.invalidateQueries({ queryKey: [queryKey] }), LIST_REFETCH_MS);
  const again = {
    benches: refetch("benches"),
    jobs: refetch("jobs"),
    ledger: refetch("plant-ledger"),
    alarms: refetch("alarms"),
  };
  const take = oncePerFrame<StreamEvent>((events) => {
    const outdated = apply(client, fold(events));
    for (const name of ["benches", "jobs", "ledger", "alarms"] as const) if (outdated[name]) again[name]();
  });
  return new LiveConnection({
    open: (since, signal) => {
      const query = since === null ? "" : `?since=${encodeURIComponent(since)}`;
      return fetch(`/api/v1/stream${query}`, {
        signal,
        headers: { accept: "text/event-stream" },
        cache: "no-store",
      });
    },
    onEvents: take,
    onFirst: () => refetchAll(client),
    onReset: () => void client.invalidateQueries(),
    now: Date.now,
    random: Math.random,
  });
}

const LiveContext = createContext<LiveConnection | null>(null);

/** Runs the stream while the page is there. */
export function LiveProvider({ live, children }: { live: LiveConnection; children: ReactNode }) {
  useEffect(() => {
    const visible = (): void => {
      if (document.visibilityState === "visible") live.check();
    };
    live.start();
    document.addEventListener("visibilitychange", visible);
    window.addEventListener("online", visible);
    return () => {
      document.removeEventListener("visibilitychange", visible);
      window.removeEventListener("online", visible);
      live.stop();
    };
  }, [live]);
  return <LiveContext value={live}>{children}</LiveContext>;
}

function useLive(): LiveConnection {
  const live = use(LiveContext);
  if (live === null) throw new Error("outside of the live provider");
  return live;
}

/** The state of the stream; renders again with each sign of life. */
export function useConnection(): ConnectionState {
  const live = useLive();
  return useSyncExternalStore(live.subscribe, live.state);
}

/** True while what is shown may be old. Renders again only when that changes. */
export function useStale(): boolean {
  const live = useLive();
  return useSyncExternalStore(
    live.subscribe,
    () => live.state().phase === "stale" || live.state().phase === "offline",
  );
}

/** The present time, renewed every `everyMs`, for ages. */
export function useNow(read: () => number, everyMs = 1_000): number {
  const [now, setNow] = useState(read);
  useEffect(() => {
    const timer = setInterval(() => setNow(read()), everyMs);
    return () => clearInterval(timer);
  }, [read, everyMs]);
  return now;
}
