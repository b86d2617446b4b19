import { mkdirSync } from "node:fs";
import path from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { MockServer } from "../mock/server";
import { checks, namedStates, replica } from "../mock/system";
import { violations } from "./axe";
import { launch, type Opened, openContext, startMock } from "./chromium";

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

async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env.SHOTS;
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: path.join(folder, `${name}.png`) });
}

/** Every part in its n-th state, so that a few pages show all named states. */
function story(n: number): Record<string, string> {
  return Object.fromEntries(
    [...namedStates()].map(([name, states]) => [name, states[n % states.length] ?? ""]),
  );
}

const STORIES = Math.max(...[...namedStates().values()].map((states) => states.length));

for (const theme of ["light", "dark"] as const) {
  for (const locale of ["en", "de"] as const) {
    describe(`every named state, ${theme}, ${locale}`, () => {
      beforeAll(async () => {
        opened = await openContext(browser, { theme, locale });
      });
      afterAll(() => opened.context.close());

      test.each(Array.from({ length: STORIES }, (_, n) => n))("story %d", async (n) => {
        const { page } = opened;
        mock.reset();
        mock.world.checks = checks(story(n));
        await page.goto(`${url}/system`);
        await page.locator(".part").first().waitFor();
        await page.locator(".slots").first().waitFor();
        await picture(page, `states-${n}-${theme}-${locale}`);
        const words = await page.locator(".part .badge-word").allTextContents();
        expect(words).toHaveLength(mock.world.checks.length);
        expect(words.filter((word) => word.includes("_"))).toEqual([]);
        const wrong = mock.world.checks.filter((check) => !check.ok);
        expect(await page.locator(".part[data-weight]").count()).toBe(wrong.length);
        expect(await violations(page)).toEqual([]);
        expect(opened.faults.splice(0)).toEqual([]);
      });
    });
  }
}

describe("the banner", () => {
  beforeEach(async () => {
    mock.reset();
    opened = await openContext(browser, { theme: "light", locale: "en" });
  });
  afterEach(async () => {
    await opened.context.close();
    expect(opened.faults).toEqual([]);
  });

  test("is not there while all is well", async () => {
    const { page } = opened;
    await page.goto(`${url}/benches`);
    await page.locator("text=bench-a").waitFor();
    expect(await page.locator(".banner").count()).toBe(0);
  });

  test.each(["/benches", "/benches/bench-a", "/jobs", "/delivery", "/system", "/runbook"])(
    "is on %s within 5 s of the server's knowing, and goes when it is over",
    async (address) => {
      const { page } = opened;
      await page.goto(url + address);
      await page.locator("main .screen").waitFor();
      mock.world.checks = checks({ store: "unreachable" });
      await page.locator(".banner", { hasText: "Database: not reachable" }).waitFor({ timeout: 5_000 });
      mock.world.checks = checks();
      await page.locator(".banner").waitFor({ state: "detached", timeout: 5_000 });
    },
  );

  test.each(
    [...(namedStates().get("kafka") ?? [])].filter((s) => !["ok", "off", "standby", "starting"].includes(s)),
  )("tells of a relay that does not run: %s", async (state) => {
    const { page } = opened;
    mock.world.checks = checks({ kafka: state });
    await page.goto(`${url}/jobs`);
    const banner = page.locator(".banner", { hasText: "Relay into Kafka" });
    await banner.waitFor();
    await banner.getByRole("link", { name: "What to do" }).click();
    await page.waitForURL(`${url}/runbook#kafka-${state}`);
    const heading = page.locator(`[id="kafka-${state}"]`);
    await heading.waitFor();
    await expect.poll(async () => (await heading.boundingBox())?.y ?? -1).toBeLessThan(400);
  });

  test("is there while the database can't be read and the API fails", async () => {
    const { page } = opened;
    mock.mode = "error";
    mock.world.checks = checks({ store: "full", slots: "not_owned", broker: "refused", kafka: "hanging" });
    await page.goto(`${url}/system`);
    await page.locator(".banner", { hasText: "Database: disk full" }).waitFor();
    await page.locator(".banner", { hasText: "Further parts that are not ok: 2" }).waitFor();
    await page.locator(".part", { hasText: "Make room" }).waitFor();
    await page.locator(".panel [role=alert]").first().waitFor();
    await picture(page, "database-away");
    expect(await violations(page)).toEqual([]);
  });

  test("names the benches that offers wait for, and releases one with a reason", async () => {
    const { page } = opened;
    mock.world.checks = checks({ offers: "held" });
    mock.world.status.waiting_for_benches = ["bench-b", "bench-c"];
    await page.goto(`${url}/benches`);
    const banner = page.locator(".banner", { hasText: "Offers are held since a restore." });
    await banner.waitFor();
    await banner.getByRole("link", { name: "bench-c" }).waitFor();
    await picture(page, "offers-held");
    expect(await violations(page)).toEqual([]);
    await banner.getByRole("button", { name: "Release a bench" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Bench").selectOption("bench-c");
    await dialog.getByLabel("Reason (recorded)").fill("scrapped in May");
    await picture(page, "release");
    expect(await violations(page)).toEqual([]);
    await dialog.getByRole("button", { name: "Release a bench" }).click();
    await dialog.waitFor({ state: "hidden" });
    expect(mock.posted).toEqual([
      { path: "/api/v1/benches/bench-c/release", body: { reason: "scrapped in May" } },
    ]);
    await expect.poll(() => banner.getByRole("link").allTextContents()).toEqual(["bench-b"]);
    await banner.getByRole("button", { name: "Release a bench" }).click();
    await dialog.getByLabel("Reason (recorded)").fill("on a shelf");
    await dialog.getByRole("button", { name: "Release a bench" }).click();
    await banner.waitFor({ state: "detached" });
  });
});

describe("the servers of the plant", () => {
  beforeEach(async () => {
    mock.reset();
    opened = await openContext(browser, { theme: "light", locale: "en" });
  });
  afterEach(async () => {
    await opened.context.close();
    expect(opened.faults).toEqual([]);
  });

  test("are shown with their slots, and a hand-over is seen without a reload", async () => {
    const { page } = opened;
    await page.goto(`${url}/system`);
    const first = page.locator("tr", { hasText: "server-1-0197b1c0" });
    await first.getByRole("img", { name: "Slots: 0 1 2 3 4 5 6 7" }).waitFor();
    await first.locator("text=relays").waitFor();
    mock.world.replicas.items = [
      replica("server-1-0197b1c0", "0123456789", { this: true, relay: true, slots_ready: 8 }),
    ];
    mock.world.replicas.free_slots = [..."abcdef"];
    await page.locator(".callout", { hasText: "a b c d e f" }).waitFor({ timeout: 7_000 });
    await first.locator("text=2 not connected").waitFor();
    await picture(page, "hand-over");
    expect(await violations(page)).toEqual([]);
  });

  test("say so when they are no longer current", async () => {
    const { page } = opened;
    await page.goto(`${url}/system`);
    await page.getByRole("img", { name: "Slots: 0 1 2 3 4 5 6 7" }).waitFor();
    mock.mode = "error";
    const servers = page.getByRole("region", { name: "Servers of the plant" });
    await servers.getByText("Not current: the last request failed.").waitFor({ timeout: 15_000 });
    expect(await page.getByRole("img", { name: "Slots: 0 1 2 3 4 5 6 7" }).count()).toBe(1);
    expect(await violations(page)).toEqual([]);
    mock.mode = "normal";
    await servers.getByText("Not current").waitFor({ state: "detached", timeout: 10_000 });
  });
});
