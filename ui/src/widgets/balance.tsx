import { i18n } from "@lingui/core";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { numberText } from "../app/format";
import { type BalanceLine, ledgerAnchor, missing } from "../app/ledger";
import { Mark } from "./mark";

/**
 * Figures as a clerk would write them: lines, a rule, the sum. What a line is made of stands under it in a column of
 * its own. Whether they add up is computed, not claimed.
 */
export function Balance({
  title,
  lines,
  sum,
  notes = {},
  brief = false,
}: {
  title: string;
  lines: readonly BalanceLine[];
  sum: { readonly name: string; readonly value: number; readonly meaning: string };
  /** Said after a line's meaning, by its id. */
  notes?: Readonly<Record<string, ReactNode>>;
  /** Says what a line means only where a person should look. */
  brief?: boolean;
}) {
  const off = missing(sum.value, lines);
  return (
    <table className="balance">
      <caption className="visually-hidden">{title}</caption>
      <Columns />
      <tbody>
        {lines.map((line) => (
          <Lines key={line.id} line={line} notes={notes} brief={brief} />
        ))}
      </tbody>
      <tfoot>
        <tr className="balance-sum" data-weight={off === 0 ? undefined : "alarm"}>
          <th scope="row">{sum.name}</th>
          <td />
          <td className="num end">{numberText(sum.value)}</td>
          <td className="balance-meaning">
            <span className="balance-check">
              <Mark shape={off === 0 ? "check" : "cross"} />
              {off === 0
                ? i18n._("adds up")
                : i18n._("does not add up: {count} off", { count: numberText(off) })}
            </span>{" "}
            {off === 0 ? (
              sum.meaning
            ) : (
              <Link to="/runbook" hash={ledgerAnchor("does_not_add_up")}>
                {i18n._("What to do")}
              </Link>
            )}
          </td>
        </tr>
      </tfoot>
    </table>
  );
}

function Columns() {
  return (
    <colgroup>
      <col className="balance-name" />
      <col className="balance-count" />
      <col className="balance-count" />
      <col />
    </colgroup>
  );
}

function Lines({
  line,
  notes,
  brief,
}: {
  line: BalanceLine;
  notes: Readonly<Record<string, ReactNode>>;
  brief: boolean;
}) {
  return (
    <>
      <Row line={line} note={notes[line.id]} brief={brief} />
      {line.parts?.map((part) => (
        <Row key={part.id} line={part} note={notes[part.id]} brief={brief} part />
      ))}
    </>
  );
}

function Row({
  line,
  note,
  brief,
  part = false,
}: {
  line: BalanceLine;
  note: ReactNode;
  brief: boolean;
  part?: boolean;
}) {
  const look = line.look === true && line.value > 0;
  const value = <td className="num end">{numberText(line.value)}</td>;
  return (
    <tr
      className={part ? "balance-part" : "balance-line"}
      data-line={line.id}
      data-zero={line.value === 0 ? true : undefined}
      data-weight={look ? "warning" : undefined}
    >
      <th scope="row">
        {look ? <Mark shape="triangle" /> : null}
        {line.name}
      </th>
      {part ? value : <td />}
      {part ? <td /> : value}
      <td className="balance-meaning">
        {brief && !look ? null : line.meaning}
        {note == null ? null : <> {note}</>}
        {look ? (
          <>
            {" "}
            <Link to="/runbook" hash={ledgerAnchor(line.id)}>
              {i18n._("What to do")}
            </Link>
          </>
        ) : null}
      </td>
    </tr>
  );
}

/** Counts that are no part of the balance, each with its meaning. */
export function Tally({
  title,
  lines,
  brief = false,
}: {
  title: string;
  lines: readonly BalanceLine[];
  brief?: boolean;
}) {
  return (
    <table className="balance">
      <caption className="visually-hidden">{title}</caption>
      <Columns />
      <tbody>
        {lines.map((line) => (
          <Row key={line.id} line={line} note={null} brief={brief} />
        ))}
      </tbody>
    </table>
  );
}
