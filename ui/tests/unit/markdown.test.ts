import { describe, expect, test } from "vitest";
import { anchorOf, parseInline, parseMarkdown } from "../../src/app/markdown";
import { runbook } from "../mock/system";

describe("our Markdown", () => {
  test("is headings, paragraphs, lists, tables and code", () => {
    const text = [
      "# Title",
      "one line",
      "goes on",
      "",
      "- first",
      "  goes on",
      "- second",
      "1. other",
      "| a | b |",
      "|---|---|",
      "| `x` | y |",
      "```",
      "# no heading",
      "```",
    ].join("\n");
    expect(parseMarkdown(text)).toEqual([
      { kind: "heading", level: 1, text: "Title", anchor: "title" },
      { kind: "paragraph", text: "one line goes on" },
      { kind: "list", ordered: false, items: ["first goes on", "second", "other"] },
      { kind: "table", head: ["a", "b"], rows: [["`x`", "y"]] },
      { kind: "code", text: "# no heading" },
    ]);
  });

  test("has code, strong words and links in its lines", () => {
    expect(parseInline("a `b` **c** [d](#e).")).toEqual([
      { kind: "text", text: "a " },
      { kind: "code", text: "b" },
      { kind: "text", text: " " },
      { kind: "strong", text: "c" },
      { kind: "text", text: " " },
      { kind: "link", text: "d", to: "#e" },
      { kind: "text", text: "." },
    ]);
    expect(parseInline("no <b>tag</b> is read")).toEqual([{ kind: "text", text: "no <b>tag</b> is read" }]);
  });

  test("names its headings as GitHub does", () => {
    expect(anchorOf("Kafka: cursor_lost")).toBe("kafka-cursor_lost");
    expect(anchorOf("Is the server well?")).toBe("is-the-server-well");
  });

  test("of an unfinished text is read to its end", () => {
    for (const text of ["```", "|", "#", "- ", "| a", "**", "[a](", "\n\n"]) {
      expect(() =>
        parseMarkdown(text).flatMap((block) => ("text" in block ? parseInline(block.text) : [])),
      ).not.toThrow();
    }
  });
});

describe("the runbook", () => {
  const blocks = parseMarkdown(runbook());

  test("loses no heading, and every link in it has its place", () => {
    const anchors = blocks.flatMap((block) => (block.kind === "heading" ? [block.anchor] : []));
    expect(anchors.length).toBe([...runbook().matchAll(/^#+ /gm)].length);
    expect(new Set(anchors).size).toBe(anchors.length);
    const links = [...runbook().matchAll(/\]\(#([^)]+)\)/g)].map((link) => link[1]);
    expect(links.filter((link) => link !== undefined && !anchors.includes(link))).toEqual([]);
  });

  test("has as many cells in each row of a table as in its head", () => {
    for (const block of blocks)
      if (block.kind === "table")
        for (const row of block.rows) expect(row, row.join(" | ")).toHaveLength(block.head.length);
  });
});
