import { i18n } from "@lingui/core";
import type { Limits, Measurement } from "../api/types";
import { numberText } from "../app/format";
import { limitScale, numeric } from "./limit-scale";

/** Width in CSS pixels; widgets.css holds the same. */
const WIDTH = 100;

/** A value as the server gave it: numbers in the page's language, everything else as it is. */
export function valueText(value: unknown): string {
  if (value == null) return "–";
  const number = typeof value === "number" ? numeric(value) : null;
  if (number !== null) return numberText(number);
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** `≥ 9 · ≤ 16`. */
export function limitsText(limits: Limits | null | undefined): string {
  if (limits == null) return "–";
  const parts = [
    ["≥", limits.ge],
    [">", limits.gt],
    ["≤", limits.le],
    ["<", limits.lt],
    ["=", limits.equals],
  ].filter(([, value]) => value != null);
  return parts.map(([sign, value]) => `${sign as string} ${valueText(value)}`).join(" · ") || "–";
}

/** The value against its limits. The words beside it say the same; this is for the eye. */
export function LimitBar({ measurement }: { measurement: Measurement }) {
  const scale = limitScale(measurement.value ?? measurement.raw, measurement.limits);
  if (scale === null) return <span className="none">–</span>;
  const from = scale.from * WIDTH;
  const to = scale.to * WIDTH;
  const at = scale.value * WIDTH;
  const out = measurement.outcome !== "passed";
  return (
    <svg
      className="limit-bar"
      data-out={out}
      viewBox={`0 0 ${WIDTH} 16`}
      role="img"
      aria-label={i18n._("{value} against {limits}", {
        value: valueText(measurement.value ?? measurement.raw),
        limits: limitsText(measurement.limits),
      })}
    >
      <rect className="limit-track" x="0" y="6" width={WIDTH} height="4" />
      <rect className="limit-range" x={from} y="4" width={Math.max(1.5, to - from)} height="8" />
      {scale.openBelow ? null : <path className="limit-edge" d={`M${from} 2v12`} />}
      {scale.openAbove ? null : <path className="limit-edge" d={`M${to} 2v12`} />}
      {out ? (
        <path className="limit-value" d={`M${at} 2.5l5 5.5-5 5.5-5-5.5z`} />
      ) : (
        <circle className="limit-value" cx={at} cy="8" r="3.6" />
      )}
    </svg>
  );
}
