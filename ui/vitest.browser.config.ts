import { defineConfig } from "vitest/config";
import { CountReporter } from "./build/count-reporter.ts";

/** The page in a real Chromium. One worker: the tests share one browser and two cores. */
export default defineConfig({
  test: {
    // With PAGE_URL the page of a running server is tested, otherwise the built one in front of the mock server.
    include:
      process.env.PAGE_URL === undefined ? ["tests/browser/*.test.ts"] : ["tests/browser/server/*.test.ts"],
    environment: "node",
    fileParallelism: false,
    maxWorkers: 1,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ["default", new CountReporter()],
  },
});
