import type { ReactNode } from "react";
import { numberText } from "../app/format";

/** A column's name; `end` for one of numbers. */
export interface Head {
  readonly text: string;
  readonly end?: boolean;
}

/** The head of a table from its columns' names. */
export function TableHead({ columns }: { columns: readonly Head[] }) {
  return (
    <thead>
      <tr>
        {columns.map(({ text, end }) => (
          <th key={text} scope="col" className={end === true ? "end" : undefined}>
            {text}
          </th>
        ))}
      </tr>
    </thead>
  );
}

/** A count in a table; one that should be 0 is marked where it is not. */
export function Count({ value, alarm = false }: { value: number; alarm?: boolean }): ReactNode {
  return (
    <td className="num end" data-weight={alarm && value > 0 ? "warning" : undefined}>
      {numberText(value)}
    </td>
  );
}
