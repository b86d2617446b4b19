import { mkdirSync } from "node:fs";
import path from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { emptyWorld, JOB, normalWorld } from "../mock/data";
import type { MockServer } from "../mock/server";
import { violations } from "./axe";
import { type Locale, launch, type Opened, openContext, startMock, type Theme } from "./chromium";

let browser: Browser;
let mock: MockServer;
let url: string;

beforeAll(async () => {
  browser = await launch();
  ({ mock, url } = await startMock());
});
afterAll(async () => {
  await browser?.close();
  await mock?.close();
});

type State = "normal" | "empty" | "error" | "stale";

/** Address of each screen, and what is there once it has settled. */
const SCREENS: Readonly<
  Record<string, Readonly<Partial<Record<State, readonly [address: string, settled: string]>>>>
> = {
  benches: {
    normal: ["/benches", "[role=row] >> text=bench-a"],
    empty: ["/benches", ".notice"],
    error: ["/benches", "[role=alert]"],
    stale: ["/benches", "[role=row] >> text=bench-a"],
  },
  bench: {
    normal: ["/benches/bench-a", ".open-job progress"],
    empty: ["/benches/bench-a", ".notice >> nth=2"],
    error: ["/benches/bench-a", "[role=alert]"],
    stale: ["/benches/bench-a", ".open-job progress"],
  },
  jobs: {
    normal: ["/jobs", "[role=row][aria-rowindex='2']"],
    empty: ["/jobs", ".notice"],
    error: ["/jobs", "[role=alert]"],
    stale: ["/jobs", "[role=row][aria-rowindex='2']"],
  },
  run: {
    normal: [`/jobs/${JOB.failed}`, ".limit-bar >> nth=0"],
    empty: [`/jobs/${JOB.queued}`, ".notice"],
    error: [`/jobs/${JOB.failed}`, "[role=alert]"],
    stale: [`/jobs/${JOB.running}`, ".live-line progress"],
  },
  delivery: {
    normal: ["/delivery", "td >> text=/[0-9]+ min/"],
    empty: ["/delivery", ".notice >> nth=2"],
    error: ["/delivery", ".panel [role=alert] >> nth=1"],
    stale: ["/delivery", ".balance-check"],
  },
  system: {
    normal: ["/system", ".slots"],
    empty: ["/system", ".notice"],
    error: ["/system", ".panel [role=alert]"],
    stale: ["/system", ".slots"],
  },
  runbook: {
    // The same text in every state of the server, and a long one.
    normal: ["/runbook#kafka-cursor_lost", ".runbook [data-current]"],
  },
};

async function bringTo(state: State, screen: string, opened: Opened): Promise<Page> {
  mock.reset(state === "empty" ? emptyWorld() : normalWorld());
  mock.mode = state === "error" ? "error" : "normal";
  const { page } = opened;
  const [address, settled] = SCREENS[screen]?.[state] ?? ["/", "main"];
  await page.goto(url + address);
  await page.locator(settled).first().waitFor();
  if (state === "stale") {
    mock.stream = "silent";
    await page.clock.fastForward(13_000);
    await page.locator("main[data-stale=true]").waitFor();
  }
  return page;
}

/** With SHOTS=folder each combination leaves a picture for the eye. */
async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env.SHOTS;
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: path.join(folder, `${name}.png`) });
}

for (const theme of ["light", "dark"] as const satisfies Theme[]) {
  for (const locale of ["en", "de"] as const satisfies Locale[]) {
    describe(`${theme}, ${locale}`, () => {
      let opened: Opened;
      beforeAll(async () => {
        opened = await openContext(browser, { theme, locale });
        await opened.page.clock.install();
      });
      afterAll(() => opened?.context.close());

      for (const [screen, states] of Object.entries(SCREENS)) {
        for (const state of Object.keys(states) as State[]) {
          test(`${screen}, ${state}: no violation of accessibility rules, no fault of the page`, async () => {
            const page = await bringTo(state, screen, opened);
            await picture(page, [screen, state, theme, locale].join("-"));
            expect(await violations(page)).toEqual([]);
            expect(await page.evaluate(() => document.documentElement.lang)).toBe(locale);
            expect(opened.faults.splice(0)).toEqual([]);
          });
        }
      }
    });
  }
}
