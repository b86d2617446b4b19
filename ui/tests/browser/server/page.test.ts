import { mkdirSync } from "node:fs";
import path from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type {
  BenchLedger,
  BenchPage,
  JobPage,
  LedgerTotals,
  Readiness,
  Replicas,
} from "../../../src/api/types";
import { violations } from "../axe";
import { launch, type Opened, openContext } from "../chromium";

/** The page of a running server (PAGE_URL), with whatever benches and jobs it has. It changes nothing there. */
const url = (process.env.PAGE_URL ?? "").replace(/\/$/, "");
let browser: Browser;
let opened: Opened;

beforeAll(async () => {
  browser = await launch();
  opened = await openContext(browser, { theme: "light", locale: "en" });
});
afterAll(() => browser?.close());

async function read<T>(address: string): Promise<T> {
  const response = await fetch(url + address);
  expect(response.status, address).toBe(200);
  return (await response.json()) as T;
}

async function check(address: string, texts: readonly string[], name: string): Promise<void> {
  const { page, faults } = opened;
  await page.goto(url + address);
  for (const text of texts) await page.locator("main").getByText(text).first().waitFor();
  await page.locator(".connection[data-phase=live]").waitFor();
  const folder = process.env.SHOTS;
  if (folder !== undefined) {
    mkdirSync(folder, { recursive: true });
    await page.screenshot({ path: path.join(folder, `${name}.png`) });
  }
  expect(await page.getByRole("alert").count()).toBe(0);
  expect(await violations(page)).toEqual([]);
  expect(faults.splice(0)).toEqual([]);
}

test("the benches are those of the API, and the stream is live", async () => {
  const { items } = await read<BenchPage>("/api/v1/benches");
  const named = items.slice(0, 3).map((bench) => bench.device);
  await check("/benches", items.length === 0 ? ["No bench has reported yet."] : named, "server-benches");
});

test("each of the first benches opens", async () => {
  const { items } = await read<BenchPage>("/api/v1/benches");
  for (const bench of items.slice(0, 3)) {
    await check(
      `/benches/${bench.device}`,
      [bench.device, ...(bench.agent_version == null ? [] : [bench.agent_version])],
      `server-${bench.device}`,
    );
  }
});

test("the jobs are those of the API", async () => {
  const { items } = await read<JobPage>("/api/v1/jobs");
  const named = items.slice(0, 3).map((job) => job.vin);
  await check("/jobs", items.length === 0 ? ["No job was ever queued."] : named, "server-jobs");
});

test("each of the first jobs opens with its verdict", async () => {
  const { items } = await read<JobPage>("/api/v1/jobs");
  for (const job of items.slice(0, 3)) {
    const word = (job.verdict ?? job.state).replaceAll("_", " ");
    await check(`/jobs/${job.id}`, [job.vin, word, job.id], `server-job-${job.kind}`);
  }
});

const shown = (count: number): string => new Intl.NumberFormat("en-GB").format(count);

test("the plant's balance is the ledger of the API, and adds up", async () => {
  const ledger = await read<LedgerTotals>("/api/v1/ledger");
  if (ledger.announced === 0) return check("/delivery", ["No event was announced yet."], "server-delivery");
  await check("/delivery", ["adds up", shown(ledger.announced)], "server-delivery");
  const { page } = opened;
  for (const [line, count] of [
    ["stored", ledger.stored],
    ["waiting", ledger.in_outbox],
    ["rejected", ledger.rejected],
    ["duplicates", ledger.duplicates],
    ["gaps", ledger.gaps],
  ] as const) {
    expect(await page.locator(`tr[data-line="${line}"] td.num`).first().textContent(), line).toBe(
      shown(count),
    );
  }
});

test("a bench's balance is that of its spools, and adds up", async () => {
  const { items } = await read<BenchPage>("/api/v1/benches");
  for (const bench of items.slice(0, 3)) {
    const { spools } = await read<BenchLedger>(`/api/v1/benches/${bench.device}/ledger`);
    const announced = spools.reduce((sum, spool) => sum + spool.announced, 0);
    await check(`/benches/${bench.device}`, ["adds up", shown(announced)], `server-ledger-${bench.device}`);
    expect(await opened.page.locator("tbody th code").count()).toBe(spools.length);
  }
});

test("the system's parts and servers are those of the API", async () => {
  const { checks } = await read<Readiness>("/readyz");
  const { items } = await read<Replicas>("/api/v1/replicas");
  const owners = items.map((replica) => replica.owner);
  await check("/system", [...checks.map((part) => part.detail), ...owners], "server-system");
  expect(await opened.page.locator(".part").count()).toBe(checks.length);
});

test("a link into the page is answered with the page, an unknown part of the API with a problem", async () => {
  const link = await fetch(`${url}/benches/some-bench`);
  expect([link.status, link.headers.get("content-type")]).toEqual([
    200,
    expect.stringContaining("text/html"),
  ]);
  expect(link.headers.get("content-security-policy")).toContain("default-src 'none'");
  expect(link.headers.get("content-security-policy")).not.toContain("unsafe");
  const missing = await fetch(`${url}/api/v1/no-such-thing`);
  expect([missing.status, missing.headers.get("content-type")]).toEqual([404, "application/problem+json"]);
});
