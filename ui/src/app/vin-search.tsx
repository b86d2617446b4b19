import { i18n } from "@lingui/core";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { Input, SearchField } from "react-aria-components";
import { usePreferences } from "./preferences";
import { looksLikeVin } from "./search";

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches("input, textarea, select, [contenteditable]");
}

/** Finds a vehicle from anywhere, or a bench by a text that is no VIN. A barcode scanner types and ends with Enter. */
export function VinSearch() {
  const [text, setText] = useState("");
  const input = useRef<HTMLInputElement>(null);
  const navigate = useNavigate();
  const { shortcuts } = usePreferences();
  useEffect(() => {
    if (!shortcuts) return;
    const onKey = (event: KeyboardEvent): void => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
      event.preventDefault();
      input.current?.focus();
      input.current?.select();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, [shortcuts]);
  return (
    <SearchField
      className="vin-search"
      aria-label={i18n._("Find a vehicle or a bench")}
      value={text}
      onChange={setText}
      onSubmit={(value) => {
        const text = value.trim();
        if (text === "") return;
        const vin = looksLikeVin(text);
        // Each of the two lists offers the other where nothing is found.
        if (vin === undefined) void navigate({ to: "/benches", search: { q: text } });
        else void navigate({ to: "/jobs", search: { vin } });
        setText("");
        // Where the screen stays the same nothing else takes the focus, and the next / would be typed into the field.
        input.current?.blur();
      }}
    >
      <Input
        ref={input}
        placeholder={i18n._("VIN or a part of it, bench")}
        spellCheck={false}
        autoComplete="off"
      />
      {shortcuts ? (
        <span className="key" aria-hidden="true">
          /
        </span>
      ) : null}
    </SearchField>
  );
}
