import { i18n } from "@lingui/core";
import type { LedgerSpool, LedgerTotals } from "../api/types";

/** What a spool, a bench and the plant count alike. */
export type Counts = Omit<LedgerSpool, "spool_id" | "through" | "outstanding_since">;

const COUNTS = [
  "announced",
  "stored",
  "rejected",
  "holes",
  "outstanding",
  "duplicates",
  "gaps",
  "conflicts",
  "in_kafka",
  "already_in_kafka",
  "unrelayable",
  "expired",
  "in_outbox",
] as const satisfies readonly (keyof Counts & keyof LedgerTotals)[];

/** The counts of several spools together. */
export function sumOf(spools: readonly Counts[]): Counts {
  const total = (name: (typeof COUNTS)[number]): number =>
    spools.reduce((sum, spool) => sum + spool[name], 0);
  return Object.fromEntries(COUNTS.map((name) => [name, total(name)])) as unknown as Counts;
}

/** Since when something of these spools stays outstanding; none where nothing is. */
export function outstandingSince(spools: readonly LedgerSpool[]): string | null {
  const times = spools.flatMap((spool) => spool.outstanding_since ?? []);
  return times.toSorted((a, b) => Date.parse(a) - Date.parse(b))[0] ?? null;
}

/** One line of the balance: a count of its own, and what it is made of. */
export interface BalanceLine {
  readonly id: string;
  readonly name: string;
  readonly value: number;
  readonly meaning: string;
  /** A person should look where it is not 0. */
  readonly look?: boolean;
  readonly parts?: readonly BalanceLine[];
}

/** announced = stored + rejected + holes + outstanding. `stays`: what is outstanding does not come by itself. */
export function balanceOf(counts: Counts, stays: boolean): BalanceLine[] {
  return [
    {
      id: "stored",
      name: i18n._("Stored"),
      value: counts.stored,
      meaning: i18n._("In the database of this plant, each once."),
      parts: storedParts(counts),
    },
    {
      id: "rejected",
      name: i18n._("Rejected"),
      value: counts.rejected,
      meaning: i18n._("Could not be read and were refused for good. Their bytes lie in the dead letters."),
      look: true,
    },
    {
      id: "holes",
      name: i18n._("Holes"),
      value: counts.holes,
      meaning: i18n._("The bench can't read them any more and has said so."),
      look: true,
    },
    {
      id: "outstanding",
      name: i18n._("Outstanding"),
      value: counts.outstanding,
      meaning: i18n._("Known of and not here yet. A bench that is online delivers them by itself."),
      look: stays,
    },
  ];
}

/** stored = in Kafka + already there + unrelayable + expired + waiting. */
function storedParts(counts: Counts): BalanceLine[] {
  return [
    {
      id: "in_kafka",
      name: i18n._("In Kafka"),
      value: counts.in_kafka,
      meaning: i18n._("Committed to Kafka."),
    },
    {
      id: "already_in_kafka",
      name: i18n._("Already there"),
      value: counts.already_in_kafka,
      meaning: i18n._("Kafka had them from before a restore; they were not sent again."),
    },
    {
      id: "unrelayable",
      name: i18n._("Unrelayable"),
      value: counts.unrelayable,
      meaning: i18n._("Kafka will never take them. They stay stored here."),
      look: true,
    },
    {
      id: "expired",
      name: i18n._("Expired"),
      value: counts.expired,
      meaning: i18n._("Retention removed them before any relay took them."),
    },
    {
      id: "waiting",
      name: i18n._("Waiting"),
      value: counts.in_outbox,
      meaning: i18n._("Wait for the relay into Kafka."),
    },
  ];
}

/** By how much the lines miss their sum; 0 where the figures add up. */
export function missing(total: number, lines: readonly BalanceLine[]): number {
  const own = total - lines.reduce((sum, line) => sum + line.value, 0);
  const inner = lines.map((line) => (line.parts === undefined ? 0 : missing(line.value, line.parts)));
  return inner.reduce((sum, gap) => sum + Math.abs(gap), Math.abs(own));
}

/** Anchor of the line's section in the runbook. */
export function ledgerAnchor(id: string): string {
  return `ledger-${id}`;
}

/** What came on the way and was not counted a second time, or could not be counted at all. */
export function oddities(counts: Counts): BalanceLine[] {
  return [
    {
      id: "duplicates",
      name: i18n._("Duplicates removed"),
      value: counts.duplicates,
      meaning: i18n._("Came again and were settled before. Each counts once."),
    },
    {
      id: "gaps",
      name: i18n._("Gaps seen"),
      value: counts.gaps,
      meaning: i18n._(
        "Came before their predecessors and were left out. The bench sends them again in order.",
      ),
    },
    {
      id: "conflicts",
      name: i18n._("Conflicts"),
      value: counts.conflicts,
      meaning: i18n._("Other content than is stored at the same place. The first one stands."),
      look: true,
    },
  ];
}

/** Those of the whole plant. */
export function plantOddities(totals: LedgerTotals): BalanceLine[] {
  return [
    ...oddities(totals),
    {
      id: "dead_letters",
      name: i18n._("Dead letters"),
      value: totals.dead_letters,
      meaning: i18n._("Messages that could not be taken, kept with their bytes and the reason."),
      look: true,
    },
    {
      id: "unprojected",
      name: i18n._("Not understood"),
      value: totals.unprojected,
      meaning: i18n._("Stored and of a kind that this version does not know. Nothing is lost."),
      look: true,
    },
  ];
}
