import { mkdirSync } from "node:fs";
import path from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { emptyWorld } from "../mock/data";
import type { MockServer } from "../mock/server";
import { alarm, totals } from "../mock/system";
import { violations } from "./axe";
import { launch, type Opened, openContext, startMock, type Theme } from "./chromium";

let browser: Browser;
let mock: MockServer;
let url: string;
let opened: Opened;

beforeAll(async () => {
  browser = await launch();
  ({ mock, url } = await startMock());
});
afterAll(async () => {
  await browser?.close();
  await mock?.close();
});
beforeEach(async () => {
  mock.reset();
  opened = await openContext(browser, { theme: "light", locale: "en" });
});
afterEach(async () => {
  await opened.context.close();
  expect(opened.faults).toEqual([]);
});

async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env.SHOTS;
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
}

/** What a line of the balance shows. */
async function line(page: Page, id: string): Promise<number> {
  const cells = page.locator(`tr[data-line="${id}"] td.num`);
  return Number((await cells.first().textContent())?.replaceAll(",", ""));
}

async function sum(page: Page): Promise<number> {
  return Number((await page.locator(".balance-sum td.num").textContent())?.replaceAll(",", ""));
}

describe("the plant's balance", () => {
  test("adds up on the page, and says so", async () => {
    const { page } = opened;
    await page.goto(`${url}/delivery`);
    await page.locator(".balance-check", { hasText: "adds up" }).waitFor();
    const of = (id: string) => line(page, id);
    expect(await sum(page)).toBe(
      (await of("stored")) + (await of("rejected")) + (await of("holes")) + (await of("outstanding")),
    );
    expect(await of("stored")).toBe(
      (await of("in_kafka")) +
        (await of("already_in_kafka")) +
        (await of("unrelayable")) +
        (await of("expired")) +
        (await of("waiting")),
    );
    expect(await of("duplicates")).toBe(118);
    expect(await of("gaps")).toBe(4);
  });

  test("says by how much it does not add up, and leads to what to do", async () => {
    const { page } = opened;
    mock.world.totals = { ...totals(), stored: totals().stored - 3, in_kafka: totals().in_kafka - 3 };
    await page.goto(`${url}/delivery`);
    const check = page.locator(".balance-sum", { hasText: "does not add up: 3 off" });
    await check.waitFor();
    await picture(page, "balance-off");
    expect(await violations(page)).toEqual([]);
    await check.getByRole("link", { name: "What to do" }).click();
    await page.waitForURL(`${url}/runbook#ledger-does_not_add_up`);
  });

  test("follows the stream within three seconds", async () => {
    const { page } = opened;
    await page.goto(`${url}/delivery`);
    await page.locator(".balance-check").waitFor();
    await page.waitForTimeout(2_500);
    mock.world.totals = { ...totals(), announced: 20_540, stored: 20_503, in_kafka: 20_480 };
    mock.send("bench", { ...mock.world.benches[0], last_seen: new Date().toISOString() });
    await page.locator(".balance-sum", { hasText: "20,540" }).waitFor({ timeout: 3_000 });
    expect(await line(page, "in_kafka")).toBe(20_480);
  });

  test("keeps its figures and says that they are old when the server fails, and again when it is gone", async () => {
    const { page } = opened;
    await page.clock.install();
    await page.goto(`${url}/delivery`);
    await page.locator(".balance-check").waitFor();
    mock.mode = "error";
    await page.clock.fastForward(6_000);
    const panel = page.getByRole("region", { name: "Every event of the plant" });
    await panel.getByText("Not current: the last request failed.").waitFor({ timeout: 15_000 });
    expect(await sum(page)).toBe(20_440);
    mock.stream = "bad_gateway";
    mock.dropReaders();
    await page.clock.fastForward(13_000);
    await page.locator("main[data-stale=true]").waitFor();
    await picture(page, "delivery-offline");
    expect(await violations(page)).toEqual([]);
  });

  test("of a new plant says how the first event comes", async () => {
    const { page } = opened;
    mock.reset(emptyWorld());
    await page.goto(`${url}/delivery`);
    await page.getByText("No event was announced yet.").waitFor();
    await page.getByText("Nothing is outstanding.").waitFor();
    await page.getByText("No alarm was raised.").waitFor();
    expect(await page.locator("[data-weight=warning], [data-weight=alarm]").count()).toBe(0);
  });
});

describe("what stays outstanding", () => {
  test("names the bench, since when and what to do, and its bench is one step away by keyboard", async () => {
    const { page } = opened;
    await page.goto(`${url}/delivery`);
    const panel = page.getByRole("region", { name: "What stays outstanding" });
    const row = panel.locator("tr", { hasText: "bench-b" });
    await row.getByText("Bring it back").waitFor();
    expect(await row.textContent()).toMatch(/offline30 ?3[34] min/);
    await row.getByRole("link", { name: "bench-b" }).focus();
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/benches\/bench-b$/);
  });

  test("asks for nobody while events are only on their way", async () => {
    const { page } = opened;
    mock.world.alarms = [];
    await page.goto(`${url}/delivery`);
    await page.getByText("Nothing stays outstanding.").waitFor();
    await page.locator(".screen-sum", { hasText: "34 on their way" }).waitFor();
    await page.getByRole("link", { name: "Show the benches that are offline" }).click();
    await page.waitForURL(/\/benches\?state=offline$/);
  });

  test("appears when the alarm is raised and goes when it is over, without a reload", async () => {
    const { page } = opened;
    await page.clock.install();
    mock.world.alarms = [];
    await page.goto(`${url}/delivery`);
    await page.getByText("Nothing stays outstanding.").waitFor();
    const raised = alarm(9, "ledger_outstanding", { device: "bench-a" });
    mock.world.alarms = [raised];
    mock.send("alarm", raised);
    const panel = page.getByRole("region", { name: "What stays outstanding" });
    await panel.getByText("It is online and does not deliver").waitFor({ timeout: 4_000 });
    mock.world.alarms = [];
    await page.clock.fastForward(10_000);
    await panel.getByText("Nothing stays outstanding.").waitFor();
  });
});

test("the newest dead letters say why, and a stranger's name is text", async () => {
  const { page } = opened;
  await page.goto(`${url}/delivery`);
  const panel = page.getByRole("region", { name: "Newest dead letters" });
  await panel.getByText("the payload is no CloudEvent").waitFor();
  await panel.getByRole("link", { name: "bench-c" }).waitFor();
  await panel.getByText("<svg onload").waitFor();
  expect(await panel.getByRole("link").count()).toBe(2);
  expect(await page.title()).not.toContain("owned");
  await picture(page, "dead-letters");
  expect(await violations(page)).toEqual([]);
});

describe("the alarms", () => {
  test.each(["flooded", "too_many_devices", "clock_off", "ledger_outstanding"])(
    "%s says what it means and leads to its section of the runbook",
    async (code) => {
      const { page } = opened;
      mock.world.alarms = [alarm(1, code)];
      await page.goto(`${url}/delivery`);
      const item = page.locator(".alarm");
      await item.waitFor();
      expect(await item.locator(".badge-word").textContent()).not.toContain("_");
      await item.getByRole("link", { name: "What to do" }).click();
      await page.waitForURL(/\/runbook#/);
      const anchor = new URL(page.url()).hash.slice(1);
      expect(anchor).not.toBe("alarms");
      await page.locator(`[id="${anchor}"]`).waitFor();
    },
  );

  test("of a bench stand on its page while they are of today, and those of others don't", async () => {
    const { page } = opened;
    const old = { last_at: new Date(Date.now() - 90_000_000).toISOString(), device: "bench-d" };
    mock.world.alarms.push(alarm(5, "conflict", old));
    await page.goto(`${url}/benches/bench-d`);
    const panel = page.getByRole("region", { name: "Alarms of this bench" });
    await panel.getByText("bench's clock is off").waitFor();
    expect(await panel.locator(".alarm").count()).toBe(1);
    await page.goto(`${url}/benches/bench-e`);
    await page.locator(".balance-check").waitFor();
    expect(await page.getByRole("region", { name: "Alarms of this bench" }).count()).toBe(0);
  });

  test("of a long list are fetched page by page", async () => {
    const { page } = opened;
    mock.world.alarms = Array.from({ length: 130 }, (_, n) => alarm(n + 1, "rejected"));
    await page.goto(`${url}/delivery`);
    await page.getByRole("button", { name: "Show older ones" }).click();
    await expect.poll(() => page.locator(".alarm").count()).toBe(130);
    expect(await page.getByRole("button", { name: "Show older ones" }).count()).toBe(0);
  });
});

describe("a bench's balance", () => {
  test("is that of its spools together, and of one after a press on it; the address holds which", async () => {
    const { page } = opened;
    await page.goto(`${url}/benches/bench-a`);
    await page.locator(".balance-check", { hasText: "adds up" }).waitFor();
    expect(await sum(page)).toBe(214 + 96);
    const newest = page.locator("tbody tr", { has: page.locator("code") }).first();
    await newest.getByRole("link").focus();
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/benches\/bench-a\?spool=[0-9a-f-]{36}$/);
    await expect.poll(() => sum(page)).toBe(96);
    await page.getByText("Every one up to 92 is settled.").waitFor();
    await picture(page, "bench-spool");
    expect(await violations(page)).toEqual([]);
    await page.reload();
    await page.locator(".balance-check").waitFor();
    expect(await sum(page)).toBe(96);
    await page.getByRole("link", { name: "All spools" }).click();
    await expect.poll(() => sum(page)).toBe(310);
  });

  test("of a spool that is not there says so", async () => {
    const { page } = opened;
    await page.goto(`${url}/benches/bench-a?spool=0197b1c0-0000-7000-8000-00000000dead`);
    await page.getByText("This bench has no such spool.").waitFor();
    await page.getByRole("link", { name: "Show all its spools" }).click();
    await expect.poll(() => sum(page)).toBe(310);
  });
});

describe.each(["light", "dark"] as const satisfies Theme[])("in a narrow window, %s", (theme) => {
  test.each(["/delivery", "/benches/bench-b"])("%s needs no scrolling sideways", async (address) => {
    await opened.context.close();
    opened = await openContext(browser, { theme, locale: "de", width: 420, height: 860 });
    const { page } = opened;
    await page.goto(url + address);
    await page.locator(".balance-check").waitFor();
    await picture(page, `narrow-${address.split("/")[1]}-${theme}`);
    const over = await page
      .locator("main, .rail, .top")
      .evaluateAll((all) => all.map((one) => one.scrollWidth - one.clientWidth));
    expect(over).toEqual([0, 0, 0]);
    expect(await violations(page)).toEqual([]);
  });
});
