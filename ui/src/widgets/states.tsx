import { i18n } from "@lingui/core";
import type { ReactNode } from "react";
import { Button } from "react-aria-components";
import { ApiProblem } from "../api/problem";
import { Mark } from "./mark";

/** Grey bars in the place of what is being fetched, of the height that it will have. */
export function Skeleton({ rows, label }: { rows: number; label?: string }) {
  return (
    <div className="skeleton" role="status" aria-label={label ?? i18n._("Loading")}>
      {Array.from({ length: rows }, (_, row) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the bars are all the same and never move.
        <div key={row} className="skeleton-row" />
      ))}
    </div>
  );
}

/** Nothing there: says why, and what to do. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="notice" role="status">
      <span className="notice-mark">
        <Mark shape="ring" />
      </span>
      <div>
        <p className="notice-title">{title}</p>
        <div className="notice-text">{children}</div>
      </div>
    </div>
  );
}

function whatToDo(problem: ApiProblem): string {
  if (problem.status === 0)
    return i18n._("The server did not answer. It is tried again when the connection is back.");
  if (problem.status === 404)
    return i18n._("There is nothing under this address. It may belong to another plant.");
  if (problem.status >= 500)
    return i18n._("The server could not answer. Its log has the cause under this id.");
  return i18n._("The server did not accept the request.");
}

/** What failed, the id to quote, and a way to try again. */
export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const problem =
    error instanceof ApiProblem
      ? error
      : new ApiProblem(0, "page_fault", String((error as Error)?.message ?? error), null);
  return (
    <div className="notice" data-weight="alarm" role="alert">
      <span className="notice-mark">
        <Mark shape="cross" />
      </span>
      <div>
        <p className="notice-title">{problem.message}</p>
        <p className="notice-text">{whatToDo(problem)}</p>
        <p className="notice-id">
          <code>{problem.code}</code>
          {problem.id === null ? null : (
            <>
              {" · "}
              <code>{problem.id}</code>
            </>
          )}
        </p>
        {retry === undefined ? null : (
          <Button className="button" onPress={retry}>
            {i18n._("Try again")}
          </Button>
        )}
      </div>
    </div>
  );
}
