import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const SRC = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../src");

/** Every text that the source asks for. */
function asked(): Set<string> {
  const found = new Set<string>();
  for (const name of readdirSync(SRC, { recursive: true, encoding: "utf8" })) {
    if (!/\.tsx?$/.test(name) || name.includes(".test.")) continue;
    const source = readFileSync(path.join(SRC, name), "utf8");
    for (const match of source.matchAll(/i18n\._\(\s*("(?:[^"\\]|\\.)*")/g))
      found.add(JSON.parse(match[1] ?? '""') as string);
  }
  return found;
}

function catalog(locale: string): Map<string, string> {
  const source = readFileSync(path.join(SRC, "locales", locale, "messages.po"), "utf8");
  const entries = source.matchAll(/msgid ((?:"(?:[^"\\]|\\.)*"\s*)+)msgstr ((?:"(?:[^"\\]|\\.)*"\s*)+)/g);
  const joined = (text: string): string =>
    [...text.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map((part) => JSON.parse(`"${part[1]}"`)).join("");
  const read = [...entries].map((entry) => [joined(entry[1] ?? ""), joined(entry[2] ?? "")] as const);
  return new Map(read.filter(([id]) => id !== ""));
}

const slots = (text: string): string[] => [...text.matchAll(/\{\w+\}/g)].map(String).sort();

describe.each(["en", "de"])("the texts in %s", (locale) => {
  const texts = catalog(locale);

  test("are those of the source, none missing and none left over", () => {
    expect([...texts.keys()].sort()).toEqual([...asked()].sort());
  });

  test("are all there, with the same values in them", () => {
    for (const [id, text] of texts) {
      expect(text, id).not.toBe("");
      expect(slots(text), id).toEqual(slots(id));
    }
  });
});

test("the five verdicts have five different words in German as in English", () => {
  const german = catalog("de");
  const words = ["passed", "failed", "error", "aborted", "in doubt"];
  expect(new Set(words.map((word) => german.get(word))).size).toBe(words.length);
});
