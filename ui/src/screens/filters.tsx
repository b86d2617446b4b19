import { useEffect, useId, useState } from "react";

/** Wait after the last key before the address changes, in milliseconds. */
const SETTLE_MS = 250;

/** A text filter: its value lives in the address, typing settles before it gets there. */
export function TextFilter({
  label,
  value,
  onChange,
  read = (text) => text,
  hint,
}: {
  label: string;
  value: string;
  onChange: (value: string) => void;
  /** The filter that a text stands for; undefined where it is none (yet). Nothing typed is no filter. */
  read?: (text: string) => string | undefined;
  /** What a filter looks like, said when the text is none. */
  hint?: string;
}) {
  const id = useId();
  const [text, setText] = useState(value);
  const [seen, setSeen] = useState(value);
  if (seen !== value) {
    // The address changed elsewhere (back, a link): it wins.
    setSeen(value);
    setText(value);
  }
  const wanted = text.trim() === "" ? "" : read(text.trim());
  useEffect(() => {
    if (wanted === undefined || wanted === value) return;
    const timer = setTimeout(() => onChange(wanted), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [wanted, value, onChange]);
  return (
    <div className="filter">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        type="search"
        value={text}
        aria-describedby={`${id}-hint`}
        spellCheck={false}
        autoComplete="off"
        maxLength={64}
        onChange={(event) => setText(event.target.value)}
      />
      <span id={`${id}-hint`} className="filter-hint">
        {wanted === undefined ? hint : ""}
      </span>
    </div>
  );
}

/** A choice among few. */
export function ChoiceFilter({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: string;
  options: readonly (readonly [value: string, text: string])[];
  onChange: (value: string) => void;
}) {
  const id = useId();
  return (
    <div className="filter">
      <label htmlFor={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => onChange(event.target.value)}>
        {options.map(([key, text]) => (
          <option key={key} value={key}>
            {text}
          </option>
        ))}
      </select>
    </div>
  );
}
