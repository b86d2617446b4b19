import { i18n } from "@lingui/core";
import { beforeEach, describe, expect, test } from "vitest";
import { ageText, bytesText, durationText, setPlantZone, timeOf, timeText, traceIdOf } from "./format";
import { learnServerTime, serverNow } from "./server-time";

beforeEach(() => {
  i18n.loadAndActivate({ locale: "en", messages: {} });
  setPlantZone("Europe/Berlin");
});

describe("times and amounts", () => {
  test.each([
    [0, "0 ms"],
    [999, "999 ms"],
    [1_000, "1.0 s"],
    [9_990, "9.9 s"],
    [59_999, "59 s"],
    [185_000, "3 min 5 s"],
    [7_800_000, "2 h 10 min"],
    [442_800_000, "5 d 3 h"],
    [-5, "0 ms"],
  ])("%d ms read %s", (ms, text) => {
    expect(durationText(ms)).toBe(text);
  });

  test("an age is whole seconds and never negative", () => {
    expect(ageText(-3_000)).toBe("1 s");
    expect(ageText(4_999)).toBe("4 s");
  });

  test("a time of another plant day has its date, in the plant's zone and not the browser's", () => {
    const lateEvening = Date.parse("2026-11-24T22:30:00Z");
    const afterMidnight = Date.parse("2026-11-24T23:30:00Z");
    expect(timeText(lateEvening, afterMidnight)).toMatch(/^24 Nov 23:30:00$/);
    expect(timeText(afterMidnight, afterMidnight)).toBe("00:30:00");
  });

  test("a zone that nobody knows changes nothing", () => {
    expect(() => setPlantZone("Atlantis/Centre")).not.toThrow();
    expect(timeText(0, 0)).toBe("01:00:00");
  });

  test.each([
    [1_023, "1023 B"],
    [98_304, "96.0 KiB"],
    [5_242_880, "5.0 MiB"],
  ])("%d bytes read %s", (bytes, text) => {
    expect(bytesText(bytes)).toBe(text);
  });

  test.each([null, undefined, "", "yesterday"])("%s is no time", (value) => {
    expect(timeOf(value)).toBeNull();
  });

  test("the trace is read from a traceparent, and from nothing else", () => {
    expect(traceIdOf("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")).toBe(
      "4bf92f3577b34da6a3ce929d0e0e4736",
    );
    expect(traceIdOf("<img>")).toBeNull();
    expect(traceIdOf(null)).toBeNull();
  });
});

describe("the server's clock", () => {
  test("is followed when this machine's is wrong, and the header's resolution is not", () => {
    const here = Date.now();
    learnServerTime(new Date(here + 3_600_000).toUTCString(), here, here + 20);
    expect(serverNow() - Date.now()).toBeGreaterThan(3_590_000);
    learnServerTime(new Date(here).toUTCString(), here, here + 20);
    expect(Math.abs(serverNow() - Date.now())).toBeLessThan(50);
    learnServerTime("nonsense", here, here);
    expect(Math.abs(serverNow() - Date.now())).toBeLessThan(50);
  });
});
