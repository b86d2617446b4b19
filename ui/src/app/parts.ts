import { i18n } from "@lingui/core";
import type { Check } from "../api/types";
import type { Weight, Word } from "./words";

/** Name of a part of the server. */
export function partName(name: string): string {
  switch (name) {
    case "store":
      return i18n._("Database");
    case "broker":
      return i18n._("Broker");
    case "slots":
      return i18n._("Slots");
    case "kafka":
      return i18n._("Relay into Kafka");
    case "offers":
      return i18n._("Offers of jobs");
    case "files":
      return i18n._("Files");
    default:
      return name;
  }
}

function stateText(state: string): string {
  switch (state) {
    case "ok":
      return i18n._("ok");
    case "off":
      return i18n._("off");
    case "standby":
      return i18n._("stands by");
    case "starting":
      return i18n._("starting");
    case "unreachable":
      return i18n._("not reachable");
    case "refused":
      return i18n._("refuses");
    case "read_only":
      return i18n._("read-only");
    case "full":
      return i18n._("disk full");
    case "schema_too_new":
      return i18n._("schema too new");
    case "schema_too_old":
      return i18n._("schema too old");
    case "other_plant":
      return i18n._("another plant's");
    case "damaged":
      return i18n._("damaged");
    case "failing":
      return i18n._("failing");
    case "limits_too_small":
      return i18n._("limits too small");
    case "handing_over":
      return i18n._("handing over");
    case "not_owned":
      return i18n._("without owner");
    case "not_connected":
      return i18n._("not connected");
    case "hanging":
      return i18n._("hanging");
    case "topic_missing":
      return i18n._("topic missing");
    case "partitions_differ":
      return i18n._("partitions differ");
    case "cursor_lost":
      return i18n._("cursor lost");
    case "lost_data":
      return i18n._("data lost");
    case "held":
      return i18n._("held");
    case "missing":
      return i18n._("missing");
    default:
      return state;
  }
}

/** States that end by themselves within seconds. */
const PASSING: ReadonlySet<string> = new Set(["starting", "handing_over"]);

/** How much a part asks for attention. Whether it is ok and required is the server's to say. */
export function partWeight(check: Check): Weight {
  if (check.ok) return check.state === "ok" ? "normal" : check.state === "held" ? "warning" : "quiet";
  if (PASSING.has(check.state)) return "warning";
  return check.required || check.state === "cursor_lost" || check.state === "lost_data" ? "alarm" : "warning";
}

export function partWord(check: Check): Word {
  return { text: stateText(check.state), weight: partWeight(check) };
}

function storeNext(state: string): string | null {
  switch (state) {
    case "starting":
      return i18n._("The database is not ready yet. Benches keep their events meanwhile.");
    case "unreachable":
      return i18n._(
        "The database does not answer. Start it or repair the way to it; benches keep their events.",
      );
    case "refused":
      return i18n._("The database refuses user or password. Correct them and start the server again.");
    case "read_only":
      return i18n._("The database takes no writes. Promote it, or name the primary to the server.");
    case "full":
      return i18n._("The disk of the database is full. Make room; delete nothing of the database by hand.");
    case "schema_too_new":
      return i18n._("The database was changed by a newer version of the server. Use that version.");
    case "schema_too_old":
      return i18n._("The database is of an older version. Take a backup, then run the migration.");
    case "other_plant":
      return i18n._("The database belongs to another plant. Correct its address or the plant's name.");
    case "damaged":
      return i18n._("The files of the database are damaged. Stop the server and restore a backup.");
    case "failing":
      return i18n._("The database fails. The server's log names the first fault; benches keep their events.");
    default:
      return null;
  }
}

function kafkaNext(state: string): string | null {
  switch (state) {
    case "off":
      return i18n._("No Kafka is configured. Results stay here.");
    case "standby":
      return i18n._("Another server runs the relay. This one takes over when that one is gone.");
    case "starting":
      return i18n._("The relay starts. It takes a few seconds.");
    case "unreachable":
      return i18n._("Kafka does not answer. Events wait here and nothing is lost.");
    case "hanging":
      return i18n._("Kafka takes connections and does not answer. Events wait here and nothing is lost.");
    case "refused":
      return i18n._("Kafka refuses the server. Correct its credentials or rights; events wait here.");
    case "topic_missing":
      return i18n._("A topic is missing in Kafka. Create it as documented; events wait here.");
    case "partitions_differ":
      return i18n._(
        "A topic has another number of partitions. Nothing is relayed, or its order would be lost.",
      );
    case "cursor_lost":
      return i18n._(
        "The database was restored or is another one. The relay stands still until a person has reconciled it.",
      );
    case "lost_data":
      return i18n._("Kafka holds less than it was given. The relay stands still until a person has looked.");
    case "failing":
      return i18n._("The relay fails and begins anew. Events wait here and nothing is lost.");
    default:
      return null;
  }
}

function otherNext(name: string, state: string): string | null {
  switch (`${name}-${state}`) {
    case "broker-unreachable":
      return i18n._("The broker does not answer. Start it; benches connect again by themselves.");
    case "broker-refused":
      return i18n._("The broker refuses this server, or another server of the plant uses another broker.");
    case "broker-limits_too_small":
      return i18n._("The broker's limits are too small: messages would be lost. Set them as documented.");
    case "slots-handing_over":
      return i18n._("Slots move from one server to another. It ends by itself within 10 seconds.");
    case "slots-not_owned":
      return i18n._("Slots have no owner: benches in them are not heard. Look at the servers.");
    case "slots-not_connected":
      return i18n._("Slots are owned and not connected: benches in them are not heard. Look at the broker.");
    case "offers-held":
      return i18n._("No job is offered since a restore. Bring the benches back, or release them.");
    case "files-missing":
      return i18n._("Benches can't fetch software images. Look at the folder of the files.");
    default:
      return null;
  }
}

/** What a state means and what to do; the server's own words for one that this page does not know. */
export function partNext(check: Check): string | null {
  const { name, state } = check;
  const known =
    name === "store" ? storeNext(state) : name === "kafka" ? kafkaNext(state) : otherNext(name, state);
  return known ?? (state === "ok" ? null : (check.help ?? null));
}

/** Anchor of the state's section in the runbook. */
export function partAnchor(check: Check): string {
  return `${check.name}-${check.state}`;
}

const RANK: Readonly<Record<Weight, number>> = {
  alarm: 0,
  doubt: 1,
  warning: 2,
  busy: 3,
  quiet: 4,
  normal: 5,
};

/** What every screen has to say: parts that are not ok, the worst first. A start that is not required is silent. */
export function faultsOf(checks: readonly Check[]): Check[] {
  return checks
    .filter((check) => !check.ok && (check.required || check.state !== "starting"))
    .toSorted((a, b) => RANK[partWeight(a)] - RANK[partWeight(b)]);
}
