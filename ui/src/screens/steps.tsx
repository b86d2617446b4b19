import { i18n } from "@lingui/core";
import { Fragment } from "react";
import type { Measurement, Step } from "../api/types";
import { durationText } from "../app/format";
import { nrcText } from "../app/words";
import { LimitBar, limitsText, valueText } from "../widgets/limit-bar";
import { OutcomeBadge } from "../widgets/mark";
import { ScrollX } from "../widgets/panel";

/** Steps in order with what was measured in each. */
export function Steps({ steps }: { steps: readonly Step[] }) {
  return (
    <ScrollX label={i18n._("Steps")}>
      <table className="steps">
        <colgroup>
          <col className="col-number" />
          <col className="col-step" />
          <col className="col-outcome" />
          <col className="col-value" />
          <col className="col-limits" />
          <col className="col-bar" />
          <col className="col-took" />
        </colgroup>
        <thead>
          <tr>
            <th scope="col" className="end">
              #
            </th>
            <th scope="col">{i18n._("Step")}</th>
            <th scope="col">{i18n._("Outcome")}</th>
            <th scope="col" className="end">
              {i18n._("Value")}
            </th>
            <th scope="col">{i18n._("Limits")}</th>
            <th scope="col">{i18n._("Against limits")}</th>
            <th scope="col" className="end">
              {i18n._("Took")}
            </th>
          </tr>
        </thead>
        <tbody>
          {steps.map((step) => (
            <Fragment key={step.index}>
              <StepRow step={step} />
              {step.measurements.map((measurement) => (
                <MeasurementRow key={measurement.name} measurement={measurement} />
              ))}
            </Fragment>
          ))}
        </tbody>
      </table>
    </ScrollX>
  );
}

function StepRow({ step }: { step: Step }) {
  return (
    <tr
      className="step"
      data-weight={step.outcome === "failed" ? "alarm" : step.outcome === "error" ? "warning" : undefined}
    >
      <td className="num end quiet">{step.index + 1}</td>
      <th scope="row">
        <bdi>{step.name}</bdi> <bdi className="step-id mono">{step.step}</bdi>
        {step.detail == null && step.nrc == null && step.retries === 0 ? null : (
          <div className="step-detail">
            {step.detail == null ? null : <bdi>{step.detail}</bdi>}
            {step.nrc == null ? null : <code>{nrcText(step.nrc)}</code>}
            {step.retries === 0 ? null : <span>{i18n._("{count} retries", { count: step.retries })}</span>}
          </div>
        )}
      </th>
      <td>
        <OutcomeBadge outcome={step.outcome} />
      </td>
      <td />
      <td />
      <td />
      <td className="num end">{durationText(step.duration_ms)}</td>
    </tr>
  );
}

function MeasurementRow({ measurement }: { measurement: Measurement }) {
  const out = measurement.outcome !== "passed";
  return (
    <tr className="measurement" data-weight={out ? "alarm" : undefined}>
      <td />
      <th scope="row" title={i18n._("bytes of the control unit: {raw}", { raw: measurement.raw })}>
        <bdi>{measurement.name}</bdi>
      </th>
      <td>
        {out ? (
          <OutcomeBadge outcome={measurement.outcome} />
        ) : measurement.marginal === true ? (
          <span className="quiet">{i18n._("close to the limit")}</span>
        ) : null}
      </td>
      <td className="num end">
        <bdi>{valueText(measurement.value)}</bdi>
        {measurement.unit == null ? null : <bdi className="unit">{measurement.unit}</bdi>}
      </td>
      <td className="num quiet">
        <bdi>{limitsText(measurement.limits)}</bdi>
      </td>
      <td>
        <LimitBar measurement={measurement} />
      </td>
      <td />
    </tr>
  );
}
