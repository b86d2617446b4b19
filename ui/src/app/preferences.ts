import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";
export type Locale = "en" | "de";

/** What a person sets for this browser. The address never holds it, so that a link looks the same to everybody. */
export interface Preferences {
  readonly theme: Theme;
  readonly locale: Locale;
  /** Single keys such as `/` act; can be switched off (WCAG 2.1.4). */
  readonly shortcuts: boolean;
}

const KEY = "vds-fleet.preferences";
const listeners = new Set<() => void>();

function browserLocale(): Locale {
  return navigator.language.toLowerCase().startsWith("de") ? "de" : "en";
}

function load(): Preferences {
  let stored: Record<string, unknown> = {};
  try {
    const value: unknown = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    if (typeof value === "object" && value !== null) stored = value as Record<string, unknown>;
  } catch {
    // Storage switched off, or bytes of something else: the defaults do.
  }
  const theme = stored["theme"];
  const locale = stored["locale"];
  return {
    theme: theme === "light" || theme === "dark" ? theme : "system",
    locale: locale === "en" || locale === "de" ? locale : browserLocale(),
    shortcuts: stored["shortcuts"] !== false,
  };
}

let current = load();

export function preferences(): Preferences {
  return current;
}

export function setPreferences(change: Partial<Preferences>): void {
  current = { ...current, ...change };
  try {
    localStorage.setItem(KEY, JSON.stringify(current));
  } catch {
    // Kept for this page only.
  }
  for (const listener of listeners) listener();
}

export function onPreferences(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function usePreferences(): Preferences {
  return useSyncExternalStore(onPreferences, preferences);
}
