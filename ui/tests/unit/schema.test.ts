import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import openapiTS, { astToString, COMMENT_HEADER } from "openapi-typescript";
import { expect, test } from "vitest";

const UI = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

test("the API's types are those of docs/openapi.json (otherwise: npm run generate:api)", async () => {
  const document = pathToFileURL(path.join(UI, "../docs/openapi.json"));
  const generated = COMMENT_HEADER + astToString(await openapiTS(document));
  expect(readFileSync(path.join(UI, "src/api/schema.d.ts"), "utf8")).toBe(generated);
}, 30_000);
