/**
 * The server's clock as seen from this page. Ages are differences to times that the server wrote; a
 * supervisor's PC whose clock is wrong must not make fresh data look old, or old data fresh.
 */
let skewMs = 0;

/** Below this the difference is the resolution of the `Date` header and the time on the way. */
const IGNORED_SKEW_MS = 2_500;

/** Learns from the `Date` header of an answer; `sent` and `received` are times of this machine. */
export function learnServerTime(date: string | null, sent: number, received: number): void {
  const server = date === null ? Number.NaN : Date.parse(date);
  if (Number.isNaN(server)) return;
  const difference = server + 500 - (sent + received) / 2;
  skewMs = Math.abs(difference) < IGNORED_SKEW_MS ? 0 : difference;
}

/** The server's time now, in milliseconds since 1970. */
export function serverNow(): number {
  return Date.now() + skewMs;
}
