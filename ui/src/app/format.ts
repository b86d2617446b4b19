import { i18n } from "@lingui/core";

/** The plant's time zone; the browser's until the server has named it. */
let plantZone: string | undefined;

export function setPlantZone(zone: string | null | undefined): void {
  if (zone == null) return;
  try {
    new Intl.DateTimeFormat("en", { timeZone: zone });
    plantZone = zone;
  } catch {
    // A zone that this browser does not know: its own stays.
  }
}

const made = new Map<string, Intl.DateTimeFormat>();

function formatter(name: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${name} ${i18n.locale} ${plantZone ?? ""}`;
  let found = made.get(key);
  if (found === undefined) {
    const zone = plantZone === undefined ? {} : { timeZone: plantZone };
    found = new Intl.DateTimeFormat(i18n.locale === "de" ? "de-DE" : "en-GB", { ...options, ...zone });
    made.set(key, found);
  }
  return found;
}

/** Clock with zone, as in the frame. */
export function clockText(time: number): string {
  return formatter("clock", {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    timeZoneName: "short",
  }).format(time);
}

/** Time of day where it is of the same plant day as `now`, with the date otherwise, with the year where it is another. */
export function timeText(time: number, now: number): string {
  const day = formatter("day", { year: "numeric", month: "short", day: "numeric" });
  const short = formatter("short", { month: "short", day: "numeric" });
  const year = formatter("year", { year: "numeric" });
  const clock = formatter("time", { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(time);
  if (day.format(time) === day.format(now)) return clock;
  return `${(year.format(time) === year.format(now) ? short : day).format(time)} ${clock}`;
}

/** A span in the two largest units that say something: `850 ms`, `4.2 s`, `3 min 5 s`, `2 h 10 min`, `5 d 3 h`. */
export function durationText(ms: number): string {
  const whole = Math.max(0, ms);
  if (whole < 1_000) return `${Math.round(whole)} ms`;
  if (whole < 10_000) return `${numberText(Math.floor(whole / 100) / 10, 1)} s`;
  const seconds = Math.floor(whole / 1_000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3_600)} h`;
}

/** How old something is: `now` below a second, then whole units. */
export function ageText(ms: number): string {
  return durationText(Math.max(1, Math.floor(ms / 1_000)) * 1_000).replace(/[.,]0 s$/, " s");
}

export function numberText(value: number, digits?: number): string {
  const options =
    digits === undefined
      ? { maximumFractionDigits: 6 }
      : { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat(i18n.locale === "de" ? "de-DE" : "en-GB", options).format(value);
}

/** Bytes in powers of 1,024. */
export function bytesText(bytes: number): string {
  if (bytes < 1_024) return `${bytes} B`;
  if (bytes < 1_024 ** 2) return `${numberText(bytes / 1_024, 1)} KiB`;
  return `${numberText(bytes / 1_024 ** 2, 1)} MiB`;
}

/** A time of the API in milliseconds, or null where there is none. */
export function timeOf(value: string | null | undefined): number | null {
  if (value == null) return null;
  const time = Date.parse(value);
  return Number.isNaN(time) ? null : time;
}

/** 32 hexadecimal digits of the trace in a traceparent, or null. */
export function traceIdOf(traceparent: string | null | undefined): string | null {
  return /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/.exec(traceparent ?? "")?.[1] ?? null;
}
