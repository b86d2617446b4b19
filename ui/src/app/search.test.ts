import { describe, expect, test } from "vitest";
import { benchSearch, jobSearch, looksLikeVin, parseSearch, runSearch, stringifySearch } from "./search";

describe("filters in the address", () => {
  test.each([
    [benchSearch, "?state=offline&q=EOL+3"],
    [benchSearch, "?q=true"],
    [benchSearch, "?q=123"],
    [benchSearch, ""],
    [jobSearch, "?state=taken_over&vin=WVWZZZ1KZAW000123&device=bench-a"],
    [jobSearch, "?vin=WVWZZZ1KZAW000123"],
    [jobSearch, "?vin=000123"],
    [runSearch, "?attempt=2"],
  ] as const)("%o keeps %s as it is", (read, address) => {
    expect(stringifySearch({ ...read(parseSearch(address)) })).toBe(address);
  });

  test("what is no filter is dropped, not an error", () => {
    expect(benchSearch({ state: "on fire", q: "   " })).toEqual({});
    expect(jobSearch({ state: "__proto__", vin: 7, device: null })).toEqual({});
    for (const attempt of ["0", "-1", "1.5", "x", "1e99", "", undefined])
      expect(runSearch({ attempt })).toEqual({});
  });

  test("a VIN is whole or a part in capitals, a bench an id, and anything else no filter", () => {
    expect(jobSearch({ vin: " wvwzzz1kzaw000123 " }).vin).toBe("WVWZZZ1KZAW000123");
    expect(jobSearch({ vin: "a00" }).vin).toBe("A00");
    for (const vin of [
      "12",
      "00O",
      "a_0",
      "WVWZZZ1KZAW0001234",
      "WVWZZZ1KZAW00012I",
      "x".repeat(10_000),
      "<svg>",
    ])
      expect(jobSearch({ vin })).toEqual({});
    expect(jobSearch({ device: "bench-a" }).device).toBe("bench-a");
    for (const device of ["a b", "../x", "ä", "x".repeat(65)]) expect(jobSearch({ device })).toEqual({});
  });
});

describe("the search of the frame", () => {
  test("takes a whole VIN or its last characters for a VIN", () => {
    for (const [typed, vin] of [
      [" wvwzzz1kzaw000123 ", "WVWZZZ1KZAW000123"],
      ["000123", "000123"],
      ["kzaw000123", "KZAW000123"],
    ] as const)
      expect(looksLikeVin(typed)).toBe(vin);
  });

  test("and anything else for a bench or a station", () => {
    for (const typed of ["bench-a", "EOL 3", "00123", "ABCDEF", "bench_12", "OIQ123", "", "x".repeat(99)])
      expect(looksLikeVin(typed)).toBeUndefined();
  });
});
