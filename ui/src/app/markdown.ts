/** A piece of a line. */
export type Inline =
  | { readonly kind: "text" | "code" | "strong"; readonly text: string }
  | { readonly kind: "link"; readonly text: string; readonly to: string };

export type Block =
  | { readonly kind: "heading"; readonly level: number; readonly text: string; readonly anchor: string }
  | { readonly kind: "paragraph"; readonly text: string }
  | { readonly kind: "code"; readonly text: string }
  | { readonly kind: "list"; readonly ordered: boolean; readonly items: readonly string[] }
  | {
      readonly kind: "table";
      readonly head: readonly string[];
      readonly rows: readonly (readonly string[])[];
    };

/** The anchor of a heading, as GitHub makes it. */
export function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
}

const ITEM = /^(?:-|\d+\.) +/;

function cells(row: string): string[] {
  return row
    .replace(/^\|/, "")
    .replace(/\|\s*$/, "")
    .split("|")
    .map((cell) => cell.trim());
}

/** Whether a line ends the paragraph or item before it. */
function begins(line: string): boolean {
  return line.trim() === "" || line.startsWith("#") || line.startsWith("```") || line.startsWith("|");
}

/** Reads the Markdown that our own documents use: headings, paragraphs, lists of one level, tables, code. */
export function parseMarkdown(text: string): Block[] {
  const lines = text.split("\n");
  const blocks: Block[] = [];
  let at = 0;
  const line = (): string => lines[at] ?? "";
  const takeWhile = (wanted: () => boolean): string[] => {
    const taken: string[] = [];
    while (at < lines.length && wanted()) {
      taken.push(line());
      at += 1;
    }
    return taken;
  };
  while (at < lines.length) {
    const heading = /^(#{1,6}) (.+)$/.exec(line());
    if (line().trim() === "") at += 1;
    else if (heading !== null) {
      const title = heading[2] ?? "";
      blocks.push({
        kind: "heading",
        level: heading[1]?.length ?? 1,
        text: title,
        anchor: anchorOf(title.replaceAll("`", "")),
      });
      at += 1;
    } else if (line().startsWith("```")) {
      at += 1;
      blocks.push({ kind: "code", text: takeWhile(() => !line().startsWith("```")).join("\n") });
      at += 1;
    } else if (line().startsWith("|")) {
      const [head = [], , ...rows] = takeWhile(() => line().startsWith("|")).map(cells);
      blocks.push({ kind: "table", head, rows });
    } else if (ITEM.test(line())) {
      const ordered = /^\d/.test(line());
      const items: string[] = [];
      while (ITEM.test(line())) {
        const first = line().replace(ITEM, "");
        at += 1;
        const rest = takeWhile(() => !begins(line()) && !ITEM.test(line()));
        items.push([first, ...rest.map((more) => more.trim())].join(" "));
      }
      blocks.push({ kind: "list", ordered, items });
    } else {
      const first = line();
      at += 1;
      const rest = takeWhile(() => !begins(line()) && !ITEM.test(line()));
      blocks.push({ kind: "paragraph", text: [first, ...rest].join(" ") });
    }
  }
  return blocks;
}

const PIECE = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)\s]+)\)/g;

/** The pieces of a line. */
export function parseInline(text: string): Inline[] {
  const pieces: Inline[] = [];
  let at = 0;
  const plain = (to: number): void => {
    if (to > at) pieces.push({ kind: "text", text: text.slice(at, to) });
  };
  for (const found of text.matchAll(PIECE)) {
    plain(found.index);
    const [whole, code, strong, name, to] = found;
    if (code !== undefined) pieces.push({ kind: "code", text: code });
    else if (strong !== undefined) pieces.push({ kind: "strong", text: strong });
    else pieces.push({ kind: "link", text: name ?? "", to: to ?? "" });
    at = found.index + whole.length;
  }
  plain(text.length);
  return pieces;
}
