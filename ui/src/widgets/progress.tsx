import { i18n } from "@lingui/core";
import type { Live } from "../api/types";
import { bytesText } from "../app/format";

/** The running step: its place, its bytes, a bar. One line high whatever it shows. */
export function StepProgress({ live, compact = false }: { live: Live; compact?: boolean }) {
  const bytes = live.bytes_total > 0;
  const done = bytes ? live.bytes_done : live.step_index;
  const total = bytes ? live.bytes_total : Math.max(1, live.steps_total);
  const percent = Math.floor((Math.min(done, total) / total) * 100);
  const place = i18n._("step {index} of {total}", { index: live.step_index + 1, total: live.steps_total });
  return (
    <span className="step-progress" data-compact={compact}>
      <span className="step-name" title={`${live.step} · ${place}`}>
        <bdi className="mono">{live.step}</bdi>
        <span className="step-place">
          {live.step_index + 1}/{live.steps_total}
        </span>
      </span>
      <progress value={done} max={total} aria-label={i18n._("Progress of {step}", { step: live.step })} />
      <span className="step-bytes">
        {compact
          ? `${percent} %`
          : bytes
            ? `${bytesText(live.bytes_done)} / ${bytesText(live.bytes_total)} · ${percent} %`
            : place}
      </span>
    </span>
  );
}
