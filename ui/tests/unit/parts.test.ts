import { i18n } from "@lingui/core";
import { beforeEach, describe, expect, test } from "vitest";
import { anchorOf } from "../../src/app/markdown";
import { faultsOf, partAnchor, partName, partNext, partWeight, partWord } from "../../src/app/parts";
import { check, checks, namedStates, runbook } from "../mock/system";

beforeEach(() => i18n.loadAndActivate({ locale: "en", messages: {} }));

const STATES = [...namedStates()].flatMap(([name, states]) => states.map((state) => [name, state] as const));

describe("the server's named states", () => {
  test("are read from its own table", () => {
    expect(STATES.length).toBeGreaterThan(30);
    expect(STATES).toContainEqual(["kafka", "cursor_lost"]);
  });

  test.each(STATES)("%s: %s has a word, and says what to do where it is not ok", (name, state) => {
    const found = check(name, state);
    expect(partName(name)).not.toBe(name);
    expect(partWord(found).text).not.toContain("_");
    if (state === "ok") expect(partNext(found)).toBeNull();
    else expect(partNext(found)).not.toBe(found.help);
    expect(partNext({ ...found, help: null })).toBe(partNext(found));
  });

  test("each have a section of the runbook, and no two the same words", () => {
    const headings = [...runbook().matchAll(/^#+ (.+)$/gm)].map(([, title]) => anchorOf(title ?? ""));
    const anchors = STATES.filter(([, state]) => state !== "ok").map(([name, state]) =>
      partAnchor(check(name, state)),
    );
    expect(anchors.filter((anchor) => !headings.includes(anchor))).toEqual([]);
    const words = new Map(STATES.map(([name, state]) => [state, partWord(check(name, state)).text]));
    expect(new Set(words.values()).size).toBe(words.size);
  });

  test("that this page does not know are shown with the server's own words", () => {
    const found = check("store", "on_fire", { help: "call the fire brigade" });
    expect(partWord(found)).toEqual({ text: "on_fire", weight: "alarm" });
    expect(partNext(found)).toBe("call the fire brigade");
    expect(partName("turbine")).toBe("turbine");
  });
});

describe("what every screen has to say", () => {
  test("is nothing while all is well, also with the relay off or standing by", () => {
    expect(faultsOf(checks())).toEqual([]);
    expect(faultsOf(checks({ kafka: "off" }))).toEqual([]);
    expect(faultsOf(checks({ kafka: "standby", offers: "held" }))).toEqual([]);
  });

  test("is the worst first", () => {
    const faults = faultsOf(checks({ store: "full", slots: "handing_over", kafka: "hanging" }));
    expect(faults.map((fault) => [fault.name, partWeight(fault)])).toEqual([
      ["store", "alarm"],
      ["slots", "warning"],
      ["kafka", "warning"],
    ]);
  });

  test("is not the start of a relay, but that of the database", () => {
    expect(faultsOf(checks({ kafka: "starting" }))).toEqual([]);
    expect(faultsOf(checks({ store: "starting" })).map((fault) => fault.name)).toEqual(["store"]);
  });

  test("is an alarm where the relay waits for a person about data", () => {
    for (const state of ["cursor_lost", "lost_data"]) expect(partWeight(check("kafka", state))).toBe("alarm");
    for (const state of ["unreachable", "hanging", "refused"])
      expect(partWeight(check("kafka", state))).toBe("warning");
  });
});
