import { lingui } from "@lingui/vite-plugin";
import { defineConfig } from "vitest/config";
import { CountReporter } from "./build/count-reporter.ts";

export default defineConfig({
  plugins: [lingui()],
  test: {
    include: ["src/**/*.test.ts", "tests/unit/**/*.test.ts"],
    environment: "node",
    reporters: ["default", new CountReporter()],
  },
});
