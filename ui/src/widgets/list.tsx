import type { UseInfiniteQueryResult } from "@tanstack/react-query";
import { type ReactNode, useCallback } from "react";
import { numberText } from "../app/format";
import { type GridProps, VirtualGrid } from "./grid";
import { Empty, Failure, Skeleton } from "./states";

/** Bars that fill the place of a list until it is there. */
const SKELETON_ROWS = 12;

/** Why a list is empty: nothing there yet, or nothing that matches. */
export interface Emptiness {
  readonly filtered: boolean;
  readonly noMatch: string;
  /** Ways out of the filter. */
  readonly ways: ReactNode;
  readonly nothingYet: string;
  readonly begin: string;
}

type GridParts<T> = Omit<GridProps<T>, "rows" | "hasMore" | "loadMore">;

/** A screen's list in each of its states: being fetched, failed, empty for either reason, or there. */
export function ListBody<T, D>({
  query,
  rows,
  empty,
  grid,
}: {
  query: UseInfiniteQueryResult<D>;
  rows: readonly T[];
  empty: Emptiness;
  grid: GridParts<T>;
}) {
  const { fetchNextPage, isFetchingNextPage } = query;
  const loadMore = useCallback(() => {
    if (!isFetchingNextPage) void fetchNextPage();
  }, [fetchNextPage, isFetchingNextPage]);
  if (query.data === undefined) {
    if (query.isError) return <Failure error={query.error} retry={() => void query.refetch()} />;
    return <Skeleton rows={SKELETON_ROWS} />;
  }
  if (rows.length > 0)
    return <VirtualGrid {...grid} rows={rows} hasMore={query.hasNextPage} loadMore={loadMore} />;
  if (empty.filtered) return <Empty title={empty.noMatch}>{empty.ways}</Empty>;
  return <Empty title={empty.nothingYet}>{empty.begin}</Empty>;
}

/** How many rows are there: `500+` while the server has more. */
export function RowCount({ rows, hasMore }: { rows: number; hasMore: boolean }) {
  return (
    <span className="num">
      {numberText(rows)}
      {hasMore ? "+" : ""}
    </span>
  );
}
