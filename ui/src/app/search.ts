import { JOB_STATES } from "./words";

/**
 * Filters in the address. Everything is text there: a VIN or a bench named `123` or `true` must stay text,
 * so the router's own JSON reading is not used.
 */
export function parseSearch(search: string): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(search));
}

export function stringifySearch(search: Record<string, unknown>): string {
  const given = Object.entries(search).filter(([, value]) => value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString();
  return text === "" ? "" : `?${text}`;
}

/** Longest filter text that is taken over from an address. */
const LONGEST = 64;

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function words(value: unknown): string | undefined {
  return text(value).trim().slice(0, LONGEST) || undefined;
}

/** A VIN or a part of one that the server finds jobs by: 3 characters at least; none is I, O or Q (ISO 3779). */
export function vinFilter(typed: string): string | undefined {
  const part = typed.trim().toUpperCase();
  return /^[A-HJ-NPR-Z0-9]{3,17}$/.test(part) ? part : undefined;
}

/**
 * What a text from the frame's search is: a VIN, whole or its last characters, as they stand on papers, or
 * something that names a bench or a station. Six characters with a digit among them are taken for a VIN.
 */
export function looksLikeVin(typed: string): string | undefined {
  const part = vinFilter(typed);
  return part !== undefined && part.length >= 6 && /\d/.test(part) ? part : undefined;
}

/** The id of a bench, or undefined for what can't be one. */
export function deviceId(typed: string): string | undefined {
  const id = typed.trim();
  return /^[A-Za-z0-9_-]{1,64}$/.test(id) ? id : undefined;
}

/** Drops the keys that have no value, so that an address holds only what filters. */
function set<T extends object>(filter: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };
}

export interface BenchSearch {
  state?: "online" | "offline";
  q?: string;
}

export function benchSearch(search: Record<string, unknown>): BenchSearch {
  const state = search["state"];
  return set({ state: state === "online" || state === "offline" ? state : undefined, q: words(search["q"]) });
}

export interface SpoolSearch {
  spool?: string;
}

/** The spool of a bench that is looked at. */
export function spoolSearch(search: Record<string, unknown>): SpoolSearch {
  const spool = text(search["spool"]).toLowerCase();
  return /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(spool) ? { spool } : {};
}

export interface JobSearch {
  state?: string;
  vin?: string;
  device?: string;
}

export function jobSearch(search: Record<string, unknown>): JobSearch {
  const state = search["state"];
  const known = JOB_STATES.find((candidate) => candidate === state);
  return set({
    state: known,
    vin: vinFilter(text(search["vin"])),
    device: deviceId(text(search["device"])),
  });
}

export interface RunSearch {
  attempt?: number;
}

export function runSearch(search: Record<string, unknown>): RunSearch {
  const attempt = Number(search["attempt"]);
  return Number.isInteger(attempt) && attempt >= 1 && attempt < 1_000_000 ? { attempt } : {};
}
