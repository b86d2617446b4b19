import type { JobState, Outcome, Verdict } from "../api/types";
import { outcomeWord, stateWord, verdictMeaning, verdictWord, type Weight, type Word } from "../app/words";

/** Shapes that stay apart without colour. */
export type Shape =
  | "check"
  | "cross"
  | "triangle"
  | "slash"
  | "diamond"
  | "dot"
  | "ring"
  | "play"
  | "clock"
  | "dash"
  | "arrow"
  | "hand-over";

function Drawing({ shape }: { shape: Shape }) {
  const line = { fill: "none", stroke: "currentColor", strokeWidth: 1.8 } as const;
  switch (shape) {
    case "check":
      return <path d="M3 8.5l3.2 3.2L13 4.6" {...line} strokeWidth={2.1} />;
    case "cross":
      return (
        <>
          <rect x="1.5" y="1.5" width="13" height="13" fill="currentColor" />
          <path d="M5 5l6 6M11 5l-6 6" stroke="var(--mark-inner)" strokeWidth="2" />
        </>
      );
    case "triangle":
      return (
        <>
          <path d="M8 1.2L15.4 14.6H.6z" fill="currentColor" />
          <path d="M8 5.6v4.4M8 11.4v1.8" stroke="var(--mark-inner)" strokeWidth="1.8" />
        </>
      );
    case "slash":
      return (
        <>
          <circle cx="8" cy="8" r="6" {...line} />
          <path d="M3.8 12.2l8.4-8.4" {...line} />
        </>
      );
    case "diamond":
      return (
        <>
          <path d="M8 1.2L14.8 8 8 14.8 1.2 8z" {...line} />
          <path d="M8 1.2v13.6L1.2 8z" fill="currentColor" />
        </>
      );
    case "dot":
      return <circle cx="8" cy="8" r="4" fill="currentColor" />;
    case "ring":
      return <circle cx="8" cy="8" r="4.6" {...line} />;
    case "play":
      return <path d="M4 2.4l9 5.6-9 5.6z" fill="currentColor" />;
    case "clock":
      return (
        <>
          <circle cx="8" cy="8" r="6" {...line} />
          <path d="M8 4.4V8l2.6 2" {...line} />
        </>
      );
    case "dash":
      return <path d="M3 8h10" {...line} />;
    case "hand-over":
      return (
        <>
          <rect x="1.5" y="1.5" width="13" height="13" {...line} />
          <path d="M4 8h7M8.2 5L11.2 8l-3 3" {...line} />
        </>
      );
    case "arrow":
      return <path d="M2 8h10M8.4 4.2L12.4 8l-4 3.8" {...line} />;
  }
}

/** A shape alone; always beside its word, so hidden from a screen reader. */
export function Mark({ shape }: { shape: Shape }) {
  return (
    <svg className="mark" viewBox="0 0 16 16" aria-hidden="true">
      <Drawing shape={shape} />
    </svg>
  );
}

/** Shape, word and colour of a state. */
export function Badge({ word, shape, title }: { word: Word; shape: Shape; title?: string }) {
  return (
    <span className="badge" data-weight={word.weight} title={title}>
      <Mark shape={shape} />
      <span className="badge-word">{word.text}</span>
    </span>
  );
}

/** The shape of what has no state of its own, by how much it asks for attention. */
export const WEIGHT_SHAPE: Readonly<Record<Weight, Shape>> = {
  normal: "dot",
  busy: "play",
  quiet: "ring",
  warning: "triangle",
  alarm: "cross",
  doubt: "diamond",
};

const VERDICT_SHAPE: Readonly<Record<Verdict, Shape>> = {
  passed: "check",
  failed: "cross",
  error: "triangle",
  aborted: "slash",
  in_doubt: "diamond",
};

export function VerdictBadge({ verdict }: { verdict: Verdict }) {
  return (
    <Badge
      word={verdictWord(verdict)}
      shape={VERDICT_SHAPE[verdict] ?? "dash"}
      title={verdictMeaning(verdict)}
    />
  );
}

const STATE_SHAPE: Readonly<Record<JobState, Shape>> = {
  queued: "ring",
  offered: "arrow",
  withdrawing: "dash",
  accepted: "dot",
  running: "play",
  finished: "check",
  rejected: "triangle",
  canceled: "slash",
  timed_out: "clock",
  superseded: "dash",
  taken_over: "hand-over",
};

/** Where a job stands: its verdict once it has one, otherwise its state. */
export function JobBadge({ state, verdict }: { state: JobState; verdict?: Verdict | null | undefined }) {
  if (verdict != null) return <VerdictBadge verdict={verdict} />;
  return <Badge word={stateWord(state)} shape={STATE_SHAPE[state] ?? "dash"} />;
}

const OUTCOME_SHAPE: Readonly<Record<Outcome, Shape>> = {
  passed: "check",
  failed: "cross",
  error: "triangle",
  skipped: "dash",
};

export function OutcomeBadge({ outcome }: { outcome: Outcome }) {
  return <Badge word={outcomeWord(outcome)} shape={OUTCOME_SHAPE[outcome] ?? "dash"} />;
}
