import { gzipSync } from "node:zlib";
import type { Plugin } from "vite";

/** Limit of the JavaScript that the first paint needs, in bytes after gzip. */
const INITIAL_JS_LIMIT = 250 * 1024;

/** Prints the gzip size of what the first page loads, and fails the build above the limit. */
export function gzipSizes(): Plugin {
  return {
    name: "gzip-sizes",
    apply: "build",
    generateBundle(_options, bundle) {
      const initial = new Set<string>();
      const visit = (name: string): void => {
        const chunk = bundle[name];
        if (initial.has(name) || chunk?.type !== "chunk") return;
        initial.add(name);
        chunk.imports.forEach(visit);
      };
      let later = 0;
      for (const [name, chunk] of Object.entries(bundle)) {
        if (chunk.type === "chunk" && chunk.isEntry) visit(name);
      }
      let first = 0;
      for (const [name, chunk] of Object.entries(bundle)) {
        if (chunk.type !== "chunk") continue;
        const size = gzipSync(chunk.code).length;
        if (initial.has(name)) first += size;
        else later += size;
      }
      const kb = (bytes: number): string => `${(bytes / 1024).toFixed(1)} kB`;
      console.log(
        `\ninitial JavaScript: ${kb(first)} gzip (limit ${kb(INITIAL_JS_LIMIT)}), later: ${kb(later)}`,
      );
      if (first > INITIAL_JS_LIMIT) this.error("the initial JavaScript is above its limit");
    },
  };
}
