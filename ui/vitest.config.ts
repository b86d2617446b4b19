import { lingui } from "@lingui/vite-plugin";
import { defineConfig } from "vitest/config";
import { CountReporter } from "./build/count-reporter";

export default defineConfig({
  plugins: [lingui()],
  test: {
    include: ["src/**/*.test.ts", "src/**/*.test.tsx"],
    environment: "node",
    reporters: ["default", new CountReporter()],
  },
});
