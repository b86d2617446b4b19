import { i18n } from "@lingui/core";
import { Link, useRouterState } from "@tanstack/react-router";
import { useEffect, useMemo } from "react";
import runbook from "../../../docs/runbook.md?raw";
import { type Block, parseInline, parseMarkdown } from "../app/markdown";
import { useLanguage } from "../app/use-language";
import { ScrollX } from "../widgets/panel";

/** The runbook of this version of the server: what each state, alert and alarm means and what to do. */
export function RunbookScreen() {
  useLanguage();
  const blocks = useMemo(() => parseMarkdown(runbook), []);
  const hash = useRouterState({ select: (state) => state.location.hash });
  useEffect(() => {
    if (hash !== "") document.getElementById(hash)?.scrollIntoView({ block: "start" });
  }, [hash]);
  return (
    <div className="screen">
      <p className="crumb">
        <Link to="/system">{i18n._("System")}</Link>
      </p>
      {/* Written in English only. */}
      <article className="runbook" lang="en">
        {blocks.map((block, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: the text never changes.
          <Piece key={index} block={block} current={hash} />
        ))}
      </article>
    </div>
  );
}

function Piece({ block, current }: { block: Block; current: string }) {
  switch (block.kind) {
    case "heading": {
      // The page's own heading is of the first level, as is the document's.
      const Heading = `h${Math.min(block.level, 3)}` as "h1" | "h2" | "h3";
      return (
        <Heading id={block.anchor} data-current={block.anchor === current ? true : undefined}>
          <Line text={block.text} />
        </Heading>
      );
    }
    case "paragraph":
      return (
        <p>
          <Line text={block.text} />
        </p>
      );
    case "code":
      return (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard.
        <pre tabIndex={0}>
          <code>{block.text}</code>
        </pre>
      );
    case "list": {
      const List = block.ordered ? "ol" : "ul";
      return (
        <List>
          {block.items.map((item) => (
            <li key={item}>
              <Line text={item} />
            </li>
          ))}
        </List>
      );
    }
    case "table":
      return (
        <ScrollX label={block.head.join(", ").replaceAll("`", "")}>
          <table>
            <thead>
              <tr>
                {block.head.map((cell) => (
                  <th key={cell} scope="col">
                    <Line text={cell} />
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {block.rows.map((row) => (
                <tr key={row.join("|")}>
                  {row.map((cell, column) => (
                    // biome-ignore lint/suspicious/noArrayIndexKey: the text never changes.
                    <td key={column}>
                      <Line text={cell} />
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </ScrollX>
      );
  }
}

function Line({ text }: { text: string }) {
  return parseInline(text).map((piece, index) => {
    const key = `${index}`;
    if (piece.kind === "code") return <code key={key}>{piece.text}</code>;
    if (piece.kind === "strong") return <strong key={key}>{piece.text}</strong>;
    // A link out of the runbook leads to a file of the repository, which the server does not have.
    if (piece.kind === "link" && piece.to.startsWith("#")) {
      return (
        <Link key={key} to="/runbook" hash={piece.to.slice(1)}>
          {piece.text}
        </Link>
      );
    }
    return <span key={key}>{piece.text}</span>;
  });
}
