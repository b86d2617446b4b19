import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { MockServer } from "../mock/server";

export const UI = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Debian's Chromium. A missing browser is a failure, never a reason to skip. */
export async function launch(): Promise<Browser> {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  if (!existsSync(executablePath)) {
    throw new Error(
      `there is no Chromium at ${executablePath}: install the package chromium, or set CHROMIUM`,
    );
  }
  const home = mkdtempSync(path.join(tmpdir(), "vds-fleet-chromium-"));
  return chromium.launch({
    executablePath,
    args: FLAGS,
    env: { ...process.env, HOME: home } as Record<string, string>,
  });
}

export async function startMock(): Promise<{ mock: MockServer; url: string }> {
  const dist = path.join(UI, "dist");
  if (!existsSync(path.join(dist, "index.html")))
    throw new Error("the page is not built: run `npm run build` first");
  const mock = new MockServer(dist);
  return { mock, url: await mock.listen() };
}

export type Theme = "light" | "dark";
export type Locale = "en" | "de";

export interface Opened {
  readonly context: BrowserContext;
  readonly page: Page;
  /** Faults that the page reported: uncaught errors, policy violations, messages of React. */
  readonly faults: string[];
}

/** A fresh profile with theme and language set as a person would have set them. */
export async function openContext(
  browser: Browser,
  {
    theme,
    locale,
    width = 1440,
    height = 900,
  }: { theme: Theme; locale: Locale; width?: number; height?: number },
): Promise<Opened> {
  const context = await browser.newContext({
    viewport: { width, height },
    timezoneId: "Europe/Berlin",
    reducedMotion: "reduce",
  });
  await context.addInitScript(
    ([chosenTheme, chosenLocale]) => {
      if (localStorage.getItem("vds-fleet.preferences") !== null) return;
      localStorage.setItem(
        "vds-fleet.preferences",
        JSON.stringify({ theme: chosenTheme, locale: chosenLocale }),
      );
    },
    [theme, locale],
  );
  const page = await context.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(`uncaught: ${error.message}`));
  page.on("console", (message) => {
    // The browser itself reports each answer that is an error; the tests order those.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource"))
      faults.push(message.text());
  });
  return { context, page, faults };
}
