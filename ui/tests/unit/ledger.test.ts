import { i18n } from "@lingui/core";
import { beforeEach, describe, expect, test } from "vitest";
import type { LedgerSpool } from "../../src/api/types";
import { alarmAnchor, alarmNext, alarmWord } from "../../src/app/alarms";
import {
  balanceOf,
  ledgerAnchor,
  missing,
  outstandingSince,
  plantOddities,
  sumOf,
} from "../../src/app/ledger";
import { anchorOf } from "../../src/app/markdown";
import { alarm, alarmKinds, runbook, totals } from "../mock/system";

beforeEach(() => i18n.loadAndActivate({ locale: "en", messages: {} }));

const HEADINGS = [...runbook().matchAll(/^#+ (.+)$/gm)].map(([, title]) => anchorOf(title ?? ""));

describe("the balance", () => {
  test("has every count of the ledger in one line only, and adds up", () => {
    const lines = balanceOf(totals(), false);
    expect(missing(totals().announced, lines)).toBe(0);
    const ids = lines.flatMap((line) => [line.id, ...(line.parts ?? []).map((part) => part.id)]);
    expect(new Set(ids).size).toBe(9);
  });

  test.each([
    ["announced", 1],
    ["stored", -3],
    ["outstanding", 5],
    ["in_kafka", 7],
    ["in_outbox", -2],
  ] as const)("says by how much it misses where %s is wrong", (count, by) => {
    const wrong = { ...totals(), [count]: totals()[count] + by };
    expect(missing(wrong.announced, balanceOf(wrong, false))).toBeGreaterThanOrEqual(Math.abs(by));
  });

  test("does not let one fault hide another", () => {
    const { stored, in_kafka } = totals();
    const wrong = { ...totals(), stored: stored + 4, announced: totals().announced + 4, in_kafka };
    expect(missing(wrong.announced, balanceOf(wrong, false))).toBe(4);
  });

  test("of a bench is the sum over its spools", () => {
    const twice = sumOf([totals(), totals()]);
    expect(twice.announced).toBe(2 * totals().announced);
    expect(missing(twice.announced, balanceOf(twice, false))).toBe(0);
    expect(sumOf([]).announced).toBe(0);
  });

  test("knows since when something stays outstanding: the oldest of the spools, none where nothing is", () => {
    const at = (outstanding_since: string | null) =>
      ({ ...totals(), outstanding_since }) as unknown as LedgerSpool;
    expect(outstandingSince([at("2026-11-25T08:00:00Z"), at(null), at("2026-11-25T07:30:00+01:00")])).toBe(
      "2026-11-25T07:30:00+01:00",
    );
    expect(outstandingSince([at(null)])).toBeNull();
    expect(outstandingSince([])).toBeNull();
  });

  test("asks for nobody while events are only on their way", () => {
    const look = (stays: boolean) =>
      balanceOf(totals(), stays).find((line) => line.id === "outstanding")?.look;
    expect([look(false), look(true)]).toEqual([false, true]);
  });

  test("has a section of the runbook for each line", () => {
    const lines = [...balanceOf(totals(), false), ...plantOddities(totals())];
    const ids = lines.flatMap((line) => [line.id, ...(line.parts ?? []).map((part) => part.id)]);
    const anchors = [...ids, "does_not_add_up"].map(ledgerAnchor);
    expect(anchors.filter((anchor) => !HEADINGS.includes(anchor))).toEqual([]);
    expect(HEADINGS).toContain("the-ledger");
  });
});

describe("every kind of alarm", () => {
  test("is read from the server's own table", () => {
    expect(alarmKinds().length).toBeGreaterThanOrEqual(19);
    expect(alarmKinds()).toContain("conflict");
  });

  test.each(alarmKinds())("%s has words and a section of the runbook", (kind) => {
    const word = alarmWord(alarm(1, kind), Date.now());
    expect(word.text).not.toContain("_");
    expect(HEADINGS).toContain(alarmAnchor(kind));
  });

  test("has words of its own", () => {
    const words = alarmKinds().map((kind) => alarmWord(alarm(1, kind), Date.now()).text);
    expect(new Set(words).size).toBe(words.length);
  });

  test("asks for nobody a day after it was last raised, but for the one that is over by itself", () => {
    const later = Date.now() + 90_000_000;
    expect(alarmWord(alarm(1, "conflict"), Date.now()).weight).toBe("alarm");
    expect(alarmWord(alarm(1, "conflict"), later).weight).toBe("quiet");
    expect(alarmWord(alarm(1, "ledger_outstanding"), later).weight).toBe("warning");
  });

  test("that this page does not know is a warning with the server's own word", () => {
    expect(alarmWord(alarm(1, "sun_spots"), Date.now())).toEqual({ text: "sun_spots", weight: "warning" });
    expect(alarmNext("sun_spots")).toBeNull();
    expect(alarmAnchor("sun_spots")).toBe("alarms");
  });
});
