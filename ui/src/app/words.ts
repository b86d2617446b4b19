import { i18n } from "@lingui/core";
import type { JobKind, JobState, Outcome, Verdict } from "../api/types";

/** How much a state asks for attention; decides the colour, never the shape or the word. */
export type Weight = "normal" | "busy" | "quiet" | "warning" | "alarm" | "doubt";

export interface Word {
  readonly text: string;
  readonly weight: Weight;
}

/** Words come from the server; one that this page does not know yet is shown as it is. */
function unknown(value: string): Word {
  return { text: value, weight: "warning" };
}

/** The five verdicts stay apart everywhere: a fault of the bench never reads as a fault of the product. */
export function verdictWord(verdict: Verdict): Word {
  switch (verdict) {
    case "passed":
      return { text: i18n._("passed"), weight: "normal" };
    case "failed":
      return { text: i18n._("failed"), weight: "alarm" };
    case "error":
      return { text: i18n._("error"), weight: "warning" };
    case "aborted":
      return { text: i18n._("aborted"), weight: "quiet" };
    case "in_doubt":
      return { text: i18n._("in doubt"), weight: "doubt" };
    default:
      return unknown(verdict);
  }
}

/** What the verdict means, in one sentence. */
export function verdictMeaning(verdict: Verdict): string {
  switch (verdict) {
    case "passed":
      return i18n._("Everything was done and read back.");
    case "failed":
      return i18n._("The product missed a limit or a check.");
    case "error":
      return i18n._("Bench, link or procedure. It says nothing about the product.");
    case "aborted":
      return i18n._("Stopped before anything was written.");
    case "in_doubt":
      return i18n._(
        "The state of the control unit is unknown. The vehicle stays held until it was read back.",
      );
    default:
      return "";
  }
}

export function stateWord(state: JobState): Word {
  switch (state) {
    case "queued":
      return { text: i18n._("queued"), weight: "quiet" };
    case "offered":
      return { text: i18n._("offered"), weight: "quiet" };
    case "withdrawing":
      return { text: i18n._("withdrawing"), weight: "quiet" };
    case "accepted":
      return { text: i18n._("accepted"), weight: "busy" };
    case "running":
      return { text: i18n._("running"), weight: "busy" };
    case "finished":
      return { text: i18n._("finished"), weight: "normal" };
    case "rejected":
      return { text: i18n._("rejected"), weight: "warning" };
    case "canceled":
      return { text: i18n._("canceled"), weight: "quiet" };
    case "timed_out":
      return { text: i18n._("timed out"), weight: "warning" };
    case "superseded":
      return { text: i18n._("superseded"), weight: "quiet" };
    case "taken_over":
      return { text: i18n._("taken over"), weight: "doubt" };
    default:
      return unknown(state);
  }
}

export function outcomeWord(outcome: Outcome): Word {
  switch (outcome) {
    case "passed":
      return { text: i18n._("passed"), weight: "normal" };
    case "failed":
      return { text: i18n._("failed"), weight: "alarm" };
    case "error":
      return { text: i18n._("error"), weight: "warning" };
    case "skipped":
      return { text: i18n._("skipped"), weight: "quiet" };
    default:
      return unknown(outcome);
  }
}

export function kindWord(kind: JobKind): string {
  switch (kind) {
    case "flash":
      return i18n._("Flash");
    case "calibrate":
      return i18n._("Calibrate");
    case "personalise_key":
      return i18n._("Personalise key");
    case "code":
      return i18n._("Code");
    case "test":
      return i18n._("Test");
    case "document":
      return i18n._("Document");
    case "procedure":
      return i18n._("Procedure");
    default:
      return kind;
  }
}

/** Order of the state filter: what is open first. */
export const JOB_STATES: readonly JobState[] = [
  "queued",
  "offered",
  "withdrawing",
  "accepted",
  "running",
  "finished",
  "rejected",
  "canceled",
  "timed_out",
  "superseded",
  "taken_over",
];

/** Names of the commonest negative response codes (ISO 14229-1, table A.1). */
const NRC_NAMES: Readonly<Record<number, string>> = {
  16: "generalReject",
  17: "serviceNotSupported",
  18: "subFunctionNotSupported",
  19: "incorrectMessageLengthOrInvalidFormat",
  33: "busyRepeatRequest",
  34: "conditionsNotCorrect",
  36: "requestSequenceError",
  49: "requestOutOfRange",
  51: "securityAccessDenied",
  53: "invalidKey",
  54: "exceededNumberOfAttempts",
  55: "requiredTimeDelayNotExpired",
  112: "uploadDownloadNotAccepted",
  113: "transferDataSuspended",
  114: "generalProgrammingFailure",
  115: "wrongBlockSequenceCounter",
  120: "requestCorrectlyReceivedResponsePending",
  126: "subFunctionNotSupportedInActiveSession",
  127: "serviceNotSupportedInActiveSession",
};

/** `0x33 securityAccessDenied`. */
export function nrcText(nrc: number): string {
  const name = NRC_NAMES[nrc];
  const code = `0x${nrc.toString(16).toUpperCase().padStart(2, "0")}`;
  return name === undefined ? code : `${code} ${name}`;
}
