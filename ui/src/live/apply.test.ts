import { QueryClient } from "@tanstack/react-query";
import { describe, expect, test } from "vitest";
import type { Bench, BenchPage } from "../api/types";
import { apply, fold, patchPages } from "./apply";

const bench = (device: string, vin: string | null = null): Bench =>
  ({ device, vin, open_jobs: [] }) as unknown as Bench;
const pages = (...items: Bench[]) => ({
  pages: [{ items, stream_cursor: "e1-0" } as BenchPage],
  pageParams: [undefined],
});
const event = (name: string, data: unknown) => ({ event: name, data: JSON.stringify(data), id: null });

describe("a frame of events", () => {
  test("holds the newest state per thing only", () => {
    const changes = fold([
      event("bench", bench("a", "old")),
      event("bench", bench("a", "new")),
      event("job", { id: "j" }),
    ]);
    expect([...changes.benches.values()].map((item) => item.vin)).toEqual(["new"]);
    expect(changes.jobs.size).toBe(1);
  });

  test("leaves out what can't be read, and keeps the rest", () => {
    const broken = ["{", "null", "7", '"text"', "[]", '{"device":7}'].map((data) => ({
      event: "bench",
      data,
      id: null,
    }));
    const changes = fold([...broken, event("bench", bench("a")), event("unheard_of", { device: "b" })]);
    expect([...changes.benches.keys()]).toEqual(["a"]);
  });
});

describe("a change applied to the cache", () => {
  test("replaces its row in every list that shows it and touches nothing else", () => {
    const before = pages(bench("a"), bench("b"));
    const after = patchPages(before, (item) => item.device, new Map([["b", bench("b", "VIN")]]));
    expect(after?.pages[0]?.items[0]).toBe(before.pages[0]?.items[0]);
    expect(after?.pages[0]?.items[1]?.vin).toBe("VIN");
    expect(patchPages(before, (item) => item.device, new Map([["z", bench("z")]]))).toBe(before);
  });

  test("asks for the list again where it is about a bench that the list does not hold", () => {
    const client = new QueryClient();
    client.setQueryData(["benches", {}], pages(bench("a")));
    expect(apply(client, fold([event("bench", bench("a", "VIN"))])).benches).toBe(false);
    expect(apply(client, fold([event("bench", bench("new"))])).benches).toBe(true);
    client.clear();
  });

  test("asks for a filtered list again only where a member comes or goes", () => {
    const client = new QueryClient();
    const at = (device: string, online: boolean): Bench => ({ ...bench(device), online }) as Bench;
    client.setQueryData(["benches", { state: "offline" }], pages(at("a", false)));
    expect(apply(client, fold([event("bench", at("a", false))])).benches).toBe(false);
    expect(apply(client, fold([event("bench", at("b", true))])).benches).toBe(false);
    expect(apply(client, fold([event("bench", at("b", false))])).benches).toBe(true);
    expect(apply(client, fold([event("bench", at("a", true))])).benches).toBe(true);
    client.clear();
  });

  test("a job of another bench does not fetch a bench's jobs again", () => {
    const client = new QueryClient();
    client.setQueryData(["jobs", { device: "a" }], { pages: [{ items: [] }], pageParams: [undefined] });
    expect(apply(client, fold([event("job", { id: "j", device: "b" })])).jobs).toBe(false);
    expect(apply(client, fold([event("job", { id: "j", device: "a" })])).jobs).toBe(true);
    client.clear();
  });

  test("of a bench outdates the plant's ledger, an alarm the alarms, a job neither", () => {
    const client = new QueryClient();
    const outdated = (name: string, data: unknown) => {
      const { ledger, alarms } = apply(client, fold([event(name, data)]));
      return { ledger, alarms };
    };
    expect(outdated("bench", bench("a"))).toEqual({ ledger: true, alarms: false });
    expect(outdated("alarm", { id: 1, code: "conflict" })).toEqual({ ledger: false, alarms: true });
    expect(outdated("job", { id: "j" })).toEqual({ ledger: false, alarms: false });
    client.clear();
  });
});
