import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { emptyWorld, HOSTILE, JOB, LIVE, largeWorld } from "../mock/data";
import { type MockServer, RETRIED } from "../mock/server";
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
beforeEach(async () => {
  mock.reset();
  opened = await openContext(browser, { theme: "light", locale: "en" });
});
afterEach(async () => {
  await opened.context.close();
  expect(opened.faults).toEqual([]);
});

describe("the live stream", () => {
  test("a change of a bench and the bytes of a step are on the page within a second", async () => {
    const { page } = opened;
    await page.goto(`${url}/benches`);
    const row = page.locator("[role=row]", { hasText: "bench-a" });
    await row.locator("text=62 %").waitFor();
    const sent = Date.now();
    mock.send("live", { ...LIVE, bytes_done: 90_112 });
    await row.locator("text=91 %").waitFor({ timeout: 1_000 });
    mock.send("bench", { ...mock.world.benches[3], online: false });
    await page
      .locator("[role=row]", { hasText: "bench-d" })
      .locator("text=offline")
      .waitFor({ timeout: 1_000 });
    expect(Date.now() - sent).toBeLessThan(2_000);
  });

  test("a bench that nobody knew appears without a reload", async () => {
    const { page } = opened;
    await page.goto(`${url}/benches`);
    await page.locator("text=bench-a").waitFor();
    const fresh = { ...mock.world.benches[4], device: "bench-new" } as (typeof mock.world.benches)[number];
    mock.world.benches.push(fresh);
    mock.send("bench", fresh);
    await page.locator("text=bench-new").waitFor({ timeout: 5_000 });
  });

  test("12 s of silence are stale, the data stays, and traffic makes it live again", async () => {
    const { page } = opened;
    await page.goto(`${url}/benches`);
    await page.locator("text=bench-a").waitFor();
    const silentFrom = Date.now();
    mock.stream = "silent";
    await page.locator(".connection[data-phase=stale]").waitFor({ timeout: 20_000 });
    const after = Date.now() - silentFrom;
    expect(after).toBeGreaterThan(11_000 - 5_000);
    expect(after).toBeLessThan(14_500);
    expect(await page.locator(".connection-age").textContent()).toMatch(/data 1\d s old/);
    expect(await page.locator("main[data-stale=true] [role=row]", { hasText: "bench-a" }).count()).toBe(1);
    mock.stream = "normal";
    mock.dropReaders();
    await page.locator(".connection[data-phase=live]").waitFor({ timeout: 5_000 });
    expect(await page.locator("main[data-stale=true]").count()).toBe(0);
  });

  test("a proxy's 502 in between does not end it, and it resumes from its cursor", async () => {
    const { page } = opened;
    await page.goto(`${url}/benches`);
    await page.locator("text=bench-a").waitFor();
    mock.send("heartbeat", {});
    mock.stream = "bad_gateway";
    mock.dropReaders();
    await expect
      .poll(() => mock.asked.filter((asked) => asked.includes("/stream")).length, { timeout: 10_000 })
      .toBeGreaterThan(2);
    mock.stream = "normal";
    await expect.poll(() => mock.readers, { timeout: 12_000 }).toBe(1);
    expect(mock.asked.filter((asked) => asked.includes("/stream")).at(-1)).toMatch(/since=e1-\d+$/);
    mock.send("live", { ...LIVE, bytes_done: 90_112 });
    await page.locator("text=91 %").waitFor({ timeout: 2_000 });
  });

  test("a reset fetches what is shown again", async () => {
    const { page } = opened;
    await page.goto(`${url}/benches`);
    await page.locator("text=bench-a").waitFor();
    const first = mock.world.benches[0];
    if (first !== undefined) first.station = "moved";
    mock.send("reset", {});
    await page.locator("text=moved").waitFor({ timeout: 3_000 });
  });

  test("without a server the page says so and offers no action", async () => {
    const { page } = opened;
    mock.stream = "bad_gateway";
    await page.goto(`${url}/jobs/${JOB.running}`);
    await page.locator(".connection[data-phase=offline]").waitFor({ timeout: 5_000 });
    expect(await page.getByRole("button", { name: "Take over" }).isDisabled()).toBe(true);
  });
});

describe("by keyboard alone", () => {
  test("from the list into a bench and back, the focus where it was", async () => {
    const { page } = opened;
    await page.goto(`${url}/benches`);
    await page.locator("text=bench-a").waitFor();
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.className)).toBe("skip");
    for (let presses = 0; presses < 12; presses += 1) {
      await page.keyboard.press("Tab");
      if ((await page.evaluate(() => document.activeElement?.getAttribute("role"))) === "row") break;
    }
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    expect(await page.evaluate(() => document.activeElement?.getAttribute("aria-rowindex"))).toBe("4");
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/benches\/bench-c$/);
    await page.locator("h1 >> text=bench-c").waitFor();
  });

  test("/ finds a vehicle from anywhere, and can be switched off", async () => {
    const { page } = opened;
    await page.goto(`${url}/benches/bench-a`);
    await page.locator("h1").waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("wvwzzz1kzaw000777");
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/jobs\?vin=WVWZZZ1KZAW000777$/);
    await page.locator("[role=row]", { hasText: "Calibrate CAM" }).waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("000777");
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/jobs\?vin=000777$/);
    await page.locator("[role=row]", { hasText: "Calibrate CAM" }).waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("bench-d");
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/benches\?q=bench-d$/);
    await page.locator("[role=row]", { hasText: "bench-d" }).waitFor();
    await page.getByRole("button", { name: "Display" }).click();
    await page.getByText("Single-key shortcuts").click();
    await page.keyboard.press("Escape");
    await page.locator("h1").click();
    await page.keyboard.press("/");
    expect(await page.evaluate(() => document.activeElement?.tagName)).not.toBe("INPUT");
  });

  test("a vehicle without a job is one step from the benches", async () => {
    const { page } = opened;
    await page.goto(`${url}/jobs?vin=000850`);
    await page.getByRole("link", { name: "Look for 000850 among the benches" }).click();
    await page.waitForURL(/\/benches\?q=000850$/);
    await page.locator("[role=row]", { hasText: "WVWZZZ1KZAW000850" }).waitFor();
    await page.goto(`${url}/benches?q=000999`);
    await page.getByRole("link", { name: "Look for 000999 among the jobs" }).click();
    await page.waitForURL(/\/jobs\?vin=000999$/);
  });

  test("a take-over wants a reason and sends it", async () => {
    const { page } = opened;
    await page.goto(`${url}/jobs/${JOB.running}`);
    await page.getByRole("button", { name: "Cancel job" }).waitFor();
    expect(await page.getByRole("button", { name: "Cancel job" }).isDisabled()).toBe(true);
    expect(await page.locator(".action-why").first().textContent()).toContain("the download has begun");
    await page.getByRole("button", { name: "Take over" }).focus();
    await page.keyboard.press("Enter");
    const dialog = page.getByRole("dialog");
    await dialog.waitFor();
    expect(await dialog.getByRole("button", { name: "Take over" }).isDisabled()).toBe(true);
    await page.keyboard.type("bench burnt down");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await dialog.waitFor({ state: "hidden" });
    expect(mock.posted).toEqual([
      { path: `/api/v1/jobs/${JOB.running}/take-over`, body: { reason: "bench burnt down" } },
    ]);
    await page.locator(".verdict-line >> text=taken over").waitFor();
  });
});

describe("a job that has ended", () => {
  test("a retry wants a reason, sends it and leads to the new job", async () => {
    const { page } = opened;
    await page.goto(`${url}/jobs/${JOB.passed}`);
    await page.getByRole("button", { name: "Retry" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.waitFor();
    expect(await dialog.getByRole("button", { name: "Retry" }).isDisabled()).toBe(true);
    await page.keyboard.type("plug was loose");
    await dialog.getByRole("button", { name: "Retry" }).click();
    await page.waitForURL(new RegExp(`/jobs/${RETRIED}$`));
    expect(mock.posted).toEqual([
      { path: `/api/v1/jobs/${JOB.passed}/retry`, body: { reason: "plug was loose" } },
    ]);
    await page.locator("dd", { hasText: "plug was loose" }).waitFor();
    await page.getByRole("link", { name: JOB.passed }).click();
    await page.waitForURL(new RegExp(`/jobs/${JOB.passed}$`));
  });

  test("is found by a part of its VIN", async () => {
    const { page } = opened;
    await page.goto(`${url}/jobs`);
    await page.getByLabel("VIN", { exact: true }).fill("000777");
    await page.waitForURL(/\/jobs\?vin=000777$/);
    await page.locator("[role=row]", { hasText: "Calibrate CAM" }).waitFor();
    await page.getByLabel("VIN", { exact: true }).fill("00");
    await page.locator(".filter-hint", { hasText: "3 to 17 characters" }).waitFor();
  });
});

describe("names from outside", () => {
  for (const address of ["/benches", "/benches/bench-c", "/jobs", `/jobs/${JOB.hostile}`]) {
    test(`are text and nothing else on ${address}`, async () => {
      const { page } = opened;
      await page.goto(url + address);
      const name = address.startsWith("/benches") ? HOSTILE.station : HOSTILE.ecu;
      await page.getByText(name).first().waitFor();
      expect(await page.title()).not.toContain("owned");
      expect(await page.locator("#root img[src=x], #root script, #root svg[onload]").count()).toBe(0);
    });
  }

  test("are text in the address as well", async () => {
    const { page } = opened;
    await page.goto(
      `${url}/jobs?vin=${encodeURIComponent(HOSTILE.ecu)}&state=${encodeURIComponent("<svg>")}`,
    );
    await page.locator(".notice").waitFor();
    expect(await page.title()).not.toContain("owned");
    expect(await page.locator("#root img[src=x]").count()).toBe(0);
  });
});

describe("a link", () => {
  test.each([
    ["/benches?state=offline&q=EOL", "bench-b"],
    ["/jobs?state=queued&vin=WVWZZZ1KZAW000777", "Calibrate CAM"],
    ["/benches/bench-b", "bench-b"],
    [`/jobs/${JOB.doubt}?attempt=2`, "in doubt"],
  ])("%s shows the same again, and filters are what the page asks for", async (address, text) => {
    const { page } = opened;
    await page.goto(url + address);
    await page.locator("main").getByText(text).first().waitFor();
    expect(page.url()).toBe(url + address);
    await page.reload();
    await page.locator("main").getByText(text).first().waitFor();
    expect(page.url()).toBe(url + address);
  });

  test("a filter set by hand is in the address, and back takes it away", async () => {
    const { page } = opened;
    await page.goto(`${url}/benches`);
    await page.locator("text=bench-a").waitFor();
    await page.getByLabel("State").selectOption("offline");
    await page.waitForURL(/\?state=offline$/);
    await expect.poll(() => page.locator("[role=row][data-index]").count()).toBe(1);
    await page.goBack();
    await expect.poll(() => page.locator("[role=row][data-index]").count()).toBe(10);
  });

  test("to nothing says so", async () => {
    const { page } = opened;
    await page.goto(`${url}/nowhere/at/all`);
    await page.getByText("There is no page under this address.").waitFor();
    await page.goto(`${url}/benches/unknown`);
    await page.getByText("There is nothing under this address").waitFor();
  });
});

describe("the widgets' states", () => {
  test("while nothing is there yet a skeleton of the same place is shown", async () => {
    const { page } = opened;
    mock.mode = "slow";
    await page.goto(`${url}/benches`);
    await page.locator(".skeleton").waitFor();
    expect(await page.locator("h1").boundingBox()).toMatchObject({ y: expect.any(Number) });
  });

  test("empty because new says what to do, empty because filtered how to see all", async () => {
    const { page } = opened;
    mock.reset(emptyWorld());
    await page.goto(`${url}/benches`);
    await page.getByText("Start a device-agent").waitFor();
    mock.reset();
    await page.goto(`${url}/benches?q=nothing-like-it`);
    await page.getByRole("link", { name: "Show all benches" }).click();
    await page.locator("text=bench-a").waitFor();
  });

  test("an error names the code and the trace, and trying again works", async () => {
    const { page } = opened;
    mock.mode = "error";
    await page.goto(`${url}/jobs`);
    const alert = page.getByRole("alert");
    await alert.waitFor();
    expect(await alert.textContent()).toMatch(/store_unavailable · [0-9a-f]{32}/);
    mock.mode = "normal";
    await alert.getByRole("button", { name: "Try again" }).click();
    await page.locator("[role=row]", { hasText: "Flash ESP" }).first().waitFor();
  });

  test("the language changes at once and stays after a reload", async () => {
    const { page } = opened;
    await page.goto(`${url}/benches`);
    await page.getByRole("button", { name: "Display" }).click();
    await page.getByText("Deutsch").click();
    await page.getByText("Prüfstände").first().waitFor();
    await page.reload();
    await page.locator("h1 >> text=Prüfstände").waitFor();
  });
});

test("a time that was there before the plant's zone is shown in that zone all the same", async () => {
  const { page } = opened;
  mock.world.status.time_zone = "Pacific/Auckland";
  const finished = mock.world.jobs.find((job) => job.id === JOB.passed);
  if (finished === undefined) throw new Error("the mock has the job");
  finished.created_at = "2026-01-01T20:30:15Z";
  let answer = (): void => {};
  const held = new Promise<void>((done) => {
    answer = done;
  });
  await page.route("**/api/v1/status", async (route) => {
    await held;
    await route.continue();
  });
  await page.goto(`${url}/jobs/${JOB.passed}`);
  const created = page.locator(`time[datetime="${finished.created_at}"]`).first();
  await created.waitFor();
  answer();
  await expect.poll(() => created.textContent()).toContain("09:30:15");
});

describe("10,000 benches", () => {
  test("are at most 1,500 nodes, and the end is reached by keyboard", async () => {
    const { page } = opened;
    mock.reset(largeWorld(10_000));
    await page.goto(`${url}/benches`);
    await page.locator("text=bench-00000").waitFor();
    expect(await page.locator("*").count()).toBeLessThan(1_500);
    await page.locator("[role=row][data-index='0']").focus();
    // Faster than the pages come: no press may lose the focus.
    for (let press = 0; press < 400; press += 1) {
      await page.keyboard.press("End");
      if ((await page.locator("text=bench-09999").count()) > 0) break;
    }
    await page.locator("text=bench-09999").waitFor();
    expect(await page.locator("*").count()).toBeLessThan(1_500);
    expect(await page.locator("[role=grid]").getAttribute("aria-rowcount")).toBe("10001");
    expect(await page.evaluate(() => document.activeElement?.getAttribute("aria-rowindex"))).toBe("10001");
  });
});

test("every target is at least 24 px in both directions", async () => {
  const { page } = opened;
  for (const address of ["/benches", "/benches/bench-a", "/jobs", `/jobs/${JOB.doubt}`, "/delivery"]) {
    await page.goto(url + address);
    await page.locator("main .panel, main .grid").first().waitFor();
    await page.waitForTimeout(300);
    const small = await page.locator("a, button, input, select, summary").evaluateAll((all) =>
      all
        .filter((one) => one.className !== "skip" && one.checkVisibility())
        .map((one) => ({ text: one.textContent, box: one.getBoundingClientRect() }))
        .filter(({ box }) => box.width > 0 && (box.width < 24 || box.height < 24))
        .map(({ text, box }) => `${text} ${box.width} x ${box.height}`),
    );
    expect(small, address).toEqual([]);
  }
});
