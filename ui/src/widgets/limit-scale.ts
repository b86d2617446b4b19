import type { Limits } from "../api/types";

/** Where value and limits lie on a bar, all in 0..1 of its width. */
export interface LimitScale {
  /** Begin of the permitted range; 0 where it is open below. */
  readonly from: number;
  /** End of the permitted range; 1 where it is open above. */
  readonly to: number;
  readonly value: number;
  readonly openBelow: boolean;
  readonly openAbove: boolean;
}

/** A number of the API: some come as text so that no digit is lost. */
export function numeric(value: unknown): number | null {
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (typeof value !== "string" || value.trim() === "") return null;
  const number = Number(value);
  return Number.isFinite(number) ? number : null;
}

/**
 * Lays value and limits out so that both limits and the value are always visible: the permitted range takes
 * the middle half, a value outside moves at most to the edge. Null where there is nothing to draw.
 */
export function limitScale(value: unknown, limits: Limits | null | undefined): LimitScale | null {
  const at = numeric(value);
  if (at === null || limits == null) return null;
  const low = numeric(limits.ge ?? limits.gt);
  const high = numeric(limits.le ?? limits.lt);
  if (low === null && high === null) return null;
  if (low !== null && high !== null && low > high) return null;
  const span = low !== null && high !== null && high > low ? high - low : Math.abs(low ?? high ?? 0) || 1;
  const begin = low === null ? (high ?? 0) - 1.5 * span : low - span / 2;
  const end = high === null ? (low ?? 0) + 1.5 * span : high + span / 2;
  const place = (x: number): number => Math.min(1, Math.max(0, (x - begin) / (end - begin)));
  return {
    from: low === null ? 0 : place(low),
    to: high === null ? 1 : place(high),
    value: Math.min(0.985, Math.max(0.015, place(at))),
    openBelow: low === null,
    openAbove: high === null,
  };
}
