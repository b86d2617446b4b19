import { i18n } from "@lingui/core";
import type { UseQueryResult } from "@tanstack/react-query";
import { type ReactNode, useId } from "react";
import { Failure, Skeleton } from "./states";

/** A titled box. */
export function Panel({ title, aside, children }: { title: string; aside?: ReactNode; children: ReactNode }) {
  const id = useId();
  return (
    <section className="panel" aria-labelledby={id}>
      <header className="panel-head">
        <h2 id={id}>{title}</h2>
        {aside === undefined ? null : <div className="panel-aside">{aside}</div>}
      </header>
      {children}
    </section>
  );
}

/** Shows a query's skeleton, its failure or its data. Data that is there stays when a later fetch fails, and says so. */
export function Fetched<T>({
  query,
  rows,
  silent = false,
  children,
}: {
  query: UseQueryResult<T>;
  rows: number;
  /** Another panel of the same query says that a later fetch failed. */
  silent?: boolean;
  children: (data: T) => ReactNode;
}) {
  if (query.data !== undefined) {
    return (
      <>
        {query.isRefetchError && !silent ? (
          <p className="callout" data-weight="warning">
            {i18n._("Not current: the last request failed.")}
          </p>
        ) : null}
        {children(query.data)}
      </>
    );
  }
  if (query.isError) return <Failure error={query.error} retry={() => void query.refetch()} />;
  return <Skeleton rows={rows} />;
}

/** Names and values. */
export function Facts({ items }: { items: readonly (readonly [name: string, value: ReactNode])[] }) {
  return (
    <dl className="facts">
      {items.map(([name, value]) => (
        <div key={name} className="fact">
          <dt>{name}</dt>
          <dd>{value ?? <span className="none">–</span>}</dd>
        </div>
      ))}
    </dl>
  );
}

/** A table that scrolls sideways where the window is narrow; reachable by keyboard for that. */
export function ScrollX({ label, children }: { label: string; children: ReactNode }) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: the group is a place to scroll in, no set of form fields.
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard.
    <div className="scroll-x" role="group" tabIndex={0} aria-label={label}>
      {children}
    </div>
  );
}
