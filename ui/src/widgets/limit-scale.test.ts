import { describe, expect, test } from "vitest";
import { limitScale } from "./limit-scale";

describe("a value against its limits", () => {
  test("lies inside the permitted range exactly where it is inside", () => {
    for (let value = 10; value <= 20; value += 0.25) {
      const scale = limitScale(value, { ge: 12, le: 15 });
      if (scale === null) throw new Error("nothing to draw");
      expect(scale.value >= scale.from && scale.value <= scale.to, String(value)).toBe(
        value >= 12 && value <= 15,
      );
    }
  });

  test.each([
    [13, { ge: 12, le: 15 }, { openBelow: false, openAbove: false }],
    [13, { gt: 12 }, { openBelow: false, openAbove: true }],
    [13, { lt: 15 }, { openBelow: true, openAbove: false }],
    [0, { le: 0 }, { openBelow: true, openAbove: false }],
    [5, { ge: 5, le: 5 }, { openBelow: false, openAbove: false }],
    ["13.0", { ge: 12 }, { openBelow: false, openAbove: true }],
    [1e300, { ge: -1, le: 1 }, { openBelow: false, openAbove: false }],
  ] as const)("%s with %o is drawn, every place between 0 and 1", (value, limits, open) => {
    const scale = limitScale(value, limits);
    expect(scale).toMatchObject(open);
    for (const place of [scale?.from, scale?.to, scale?.value]) {
      expect(place).toBeGreaterThanOrEqual(0);
      expect(place).toBeLessThanOrEqual(1);
    }
  });

  test.each([
    ["4.7.0", { equals: "4.7.0" }],
    ["abc", { ge: 1 }],
    [Number.NaN, { ge: 1 }],
    [Number.POSITIVE_INFINITY, { ge: 1 }],
    [1, {}],
    [1, null],
    [1, { ge: 5, le: 2 }],
    ["", { ge: 1 }],
  ] as const)("%s with %o is not drawn", (value, limits) => {
    expect(limitScale(value, limits)).toBeNull();
  });
});
