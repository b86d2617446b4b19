import { i18n } from "@lingui/core";
import type { Bench } from "../api/types";
import { Badge } from "../widgets/mark";

/** Why the bench takes no jobs, or null. */
export function refusal(bench: Bench): string | null {
  const refusing: unknown = bench.refusing_jobs;
  if (typeof refusing === "string" && refusing !== "") return refusing;
  return refusing === true ? i18n._("refuses new jobs") : null;
}

/** Weight of the bench's row: only what is abnormal has one. */
export function benchWeight(bench: Bench): string | undefined {
  if (bench.open_jobs.some((job) => job.verdict === "in_doubt")) return "doubt";
  return !bench.online || refusal(bench) !== null ? "warning" : undefined;
}

export function BenchStateBadge({ bench }: { bench: Bench }) {
  if (!bench.online) return <Badge word={{ text: i18n._("offline"), weight: "warning" }} shape="triangle" />;
  const refuses = refusal(bench);
  if (refuses !== null) {
    return <Badge word={{ text: i18n._("refusing"), weight: "warning" }} shape="slash" title={refuses} />;
  }
  return <Badge word={{ text: i18n._("online"), weight: "normal" }} shape="dot" />;
}
