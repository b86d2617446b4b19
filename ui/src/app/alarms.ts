import { i18n } from "@lingui/core";
import type { Alarm } from "../api/types";
import type { Weight, Word } from "./words";

/** How much each alarm asks for attention. One that is not here is taken for a warning. */
const WEIGHTS: Readonly<Record<string, Weight>> = {
  conflict: "alarm",
  bench_restored: "alarm",
  undeclared_restore: "alarm",
  forgotten: "alarm",
  ahead_of_bench: "alarm",
  fenced_report: "alarm",
  relay_cursor_lost: "alarm",
  kafka_lost_data: "alarm",
  declared_restore: "quiet",
  offers_held: "quiet",
  kafka_down: "quiet",
};

function alarmText(code: string): string {
  switch (code) {
    case "conflict":
      return i18n._("other content at one place");
    case "bench_restored":
      return i18n._("bench's disk is older");
    case "undeclared_restore":
      return i18n._("restore nobody declared");
    case "declared_restore":
      return i18n._("restore declared");
    case "forgotten":
      return i18n._("events gone on both sides");
    case "ahead_of_bench":
      return i18n._("copied or resumed disk");
    case "unattributed":
      return i18n._("message without its place");
    case "rejected":
      return i18n._("event refused");
    case "unprojected":
      return i18n._("event not understood");
    case "fenced_report":
      return i18n._("report of a job taken over");
    case "reported_job":
      return i18n._("job not known here");
    case "misplaced":
      return i18n._("message of no bench");
    case "offers_held":
      return i18n._("offers held");
    case "relay_cursor_lost":
      return i18n._("relay: cursor lost");
    case "kafka_lost_data":
      return i18n._("Kafka: data lost");
    case "unrelayable":
      return i18n._("Kafka never takes it");
    case "relay_stopped":
      return i18n._("relay stands still");
    case "kafka_down":
      return i18n._("Kafka away");
    case "other_broker":
      return i18n._("another broker");
    case "ledger_outstanding":
      return i18n._("stays outstanding");
    case "flooded":
      return i18n._("bench sends too much");
    case "too_many_devices":
      return i18n._("too many new benches");
    case "clock_off":
      return i18n._("bench's clock is off");
    default:
      return code;
  }
}

/** The alarm that is over by itself: while it is listed it stands. */
export const OUTSTANDING = "ledger_outstanding";
/** An alarm that was last raised longer ago asks for nobody any more. */
const RECENT_MS = 86_400_000;

/** Whether a person should still look. */
export function isCurrent(alarm: Alarm, now: number): boolean {
  return alarm.code === OUTSTANDING || now - Date.parse(alarm.last_at) < RECENT_MS;
}

export function alarmWord(alarm: Alarm, now: number): Word {
  const weight = isCurrent(alarm, now) ? (WEIGHTS[alarm.code] ?? "warning") : "quiet";
  return { text: alarmText(alarm.code), weight };
}

/** What to do, in one sentence; null where the server's detail and the runbook say it. */
export function alarmNext(code: string): string | null {
  switch (code) {
    case "conflict":
      return i18n._("Find the second agent with this name, or the copied disk. The first content stands.");
    case "bench_restored":
      return i18n._("Its open jobs are in doubt: read the control units out.");
    case "undeclared_restore":
      return i18n._("Find out who restored which backup. Offers wait until the benches have synced.");
    case "forgotten":
      return i18n._("They count as holes. If they matter, look for them in another backup.");
    case "ahead_of_bench":
      return i18n._("The bench has begun a new spool by itself. Find out who copied or resumed its disk.");
    case "unattributed":
      return i18n._("Something between bench and broker removes the user properties. Look there.");
    case "rejected":
      return i18n._("Bytes and reason lie in the dead letters. Look at the version of this bench's agent.");
    case "unprojected":
      return i18n._("Usually an agent newer than this server. Nothing is lost.");
    case "fenced_report":
      return i18n._("Two benches may have worked on one vehicle: look at it.");
    case "reported_job":
      return i18n._("Expected after a restore; otherwise look at this bench.");
    case "misplaced":
      return i18n._("Look for a client that is no agent. Nothing of it was taken.");
    case "unrelayable":
      return i18n._("The events stay stored here; their bytes lie in the dead letters.");
    case "ledger_outstanding":
      return i18n._(
        "Bring the bench back, or look why it does not send: its spool may wait for its predecessor.",
      );
    case "flooded":
      return i18n._(
        "What is above the limit comes again, nothing is lost. Look why this bench sends so much.",
      );
    case "too_many_devices":
      return i18n._("Known benches go on. Look who invents names, or raise the limit if they are yours.");
    case "clock_off":
      return i18n._("Its events are stored as they are. Set the clock of this bench.");
    default:
      return null;
  }
}

/** Alarms whose runbook section is that of a state, or their own. */
const SECTIONS: Readonly<Record<string, string>> = {
  offers_held: "offers-are-held-after-a-restore",
  declared_restore: "offers-are-held-after-a-restore",
  undeclared_restore: "restore-a-backup",
  relay_cursor_lost: "kafka-cursor_lost",
  kafka_lost_data: "kafka-lost_data",
  relay_stopped: "kafka-topic_missing",
  kafka_down: "kafka-unreachable",
  other_broker: "broker-refused",
  unrelayable: "events-that-kafka-will-never-take",
  rejected: "ledger-rejected",
  forgotten: "ledger-holes",
  conflict: "ledger-conflicts",
  ledger_outstanding: "ledger-outstanding",
  unprojected: "ledger-unprojected",
  flooded: "alarm-flooded",
  too_many_devices: "alarm-too_many_devices",
  clock_off: "alarm-clock_off",
};

/** Anchor of the alarm's section in the runbook. */
export function alarmAnchor(code: string): string {
  return SECTIONS[code] ?? "alarms";
}
