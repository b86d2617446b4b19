import { i18n } from "@lingui/core";
import { type Phase, STALE_AFTER_MS } from "../live/connection";
import { useConnection, useNow } from "../live/provider";
import { Mark, type Shape } from "../widgets/mark";
import { ageText, clockText } from "./format";
import { serverNow } from "./server-time";

const SHAPE: Readonly<Record<Phase, Shape>> = {
  connecting: "ring",
  live: "dot",
  stale: "clock",
  offline: "triangle",
};

function phaseText(phase: Phase): string {
  switch (phase) {
    case "connecting":
      return i18n._("connecting");
    case "live":
      return i18n._("live");
    case "stale":
      return i18n._("stale");
    case "offline":
      return i18n._("offline");
  }
}

/** Whether what is shown is live, and how old it is. Its width never changes. */
export function ConnectionStatus() {
  const { phase, lastTrafficAt } = useConnection();
  const now = useNow(Date.now);
  const age = lastTrafficAt === null ? null : Math.max(0, now - lastTrafficAt);
  return (
    <div className="connection" data-phase={phase}>
      <span role="status" className="connection-phase">
        <Mark shape={SHAPE[phase]} />
        {phaseText(phase)}
      </span>
      <span className="connection-age">{ageOfData(phase, age)}</span>
    </div>
  );
}

function ageOfData(phase: Phase, age: number | null): string {
  if (age === null) return i18n._("no data yet");
  // Between two heartbeats a growing number would only be noise.
  if (phase === "live") return i18n._("data current");
  return i18n._("data {age} old", { age: ageText(Math.max(age, STALE_AFTER_MS)) });
}

/** Plant time with its zone, by the server's clock. */
export function Clock() {
  const now = useNow(serverNow);
  return (
    <time
      className="clock"
      dateTime={new Date(now).toISOString()}
      title={new Date(now).toISOString().replace("T", " ").replace(/\..*/, " UTC")}
    >
      {clockText(now)}
    </time>
  );
}
