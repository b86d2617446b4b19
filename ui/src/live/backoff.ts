/** Shortest and longest wait before the next attempt, in milliseconds. */
export const SHORTEST_WAIT_MS = 500;
export const LONGEST_WAIT_MS = 10_000;

/**
 * Wait before attempt number `failures` + 1: doubles from the shortest to the longest, of which a random
 * half is taken off, so that twenty pages do not come back in the same instant. `random` is in [0, 1).
 */
export function waitBeforeAttempt(failures: number, random: number): number {
  const full = Math.min(LONGEST_WAIT_MS, SHORTEST_WAIT_MS * 2 ** Math.min(failures, 10));
  return Math.max(SHORTEST_WAIT_MS, full * (0.5 + random / 2));
}
