import { lingui } from "@lingui/vite-plugin";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";
import { gzipSizes } from "./build/gzip-sizes.ts";

export default defineConfig({
  plugins: [react(), lingui(), gzipSizes()],
  build: {
    target: "es2023",
    // A data: address would need its own entry in the content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  server: {
    proxy: { "^/(api/|readyz$)": process.env["PAGE_API"] ?? "http://127.0.0.1:8080" },
    // The runbook is a part of the page.
    fs: { allow: [".", "../docs"] },
  },
});
