import { i18n } from "@lingui/core";
import { useNavigate } from "@tanstack/react-router";
import { act } from "../api/queries";
import type { AllowedAction, Job } from "../api/types";
import { useStale } from "../live/provider";
import { ReasonDialog } from "./reason-dialog";

type Action = "cancel" | "take_over" | "retry";

function actionWords(action: Action): { name: string; meaning: string } {
  if (action === "cancel") {
    return {
      name: i18n._("Cancel job"),
      meaning: i18n._(
        "The job is taken out of the bench's list. What has begun on the vehicle is not interrupted by this.",
      ),
    };
  }
  if (action === "retry") {
    return {
      name: i18n._("Retry"),
      meaning: i18n._("Queues the same work once more as a new job. This one stays as it is."),
    };
  }
  return {
    name: i18n._("Take over"),
    meaning: i18n._(
      "Declares the bench lost for this job and frees the vehicle. The control unit may be half programmed: read it back before anything else is done to it.",
    ),
  };
}

/** The actions that the server offers for a job, each with its reason where it is not allowed. */
export function JobActions({ job }: { job: Job }) {
  const known = job.allowed_actions.filter(
    (entry): entry is AllowedAction & { action: Action } =>
      entry.action === "cancel" || entry.action === "take_over" || entry.action === "retry",
  );
  return (
    <div className="actions">
      {known.map((entry) => (
        <JobAction key={entry.action} job={job} entry={entry} action={entry.action} />
      ))}
    </div>
  );
}

function JobAction({ job, entry, action }: { job: Job; entry: AllowedAction; action: Action }) {
  const stale = useStale();
  const navigate = useNavigate();
  const why = stale
    ? i18n._("Read-only: the connection to the server is lost.")
    : entry.allowed
      ? null
      : entry.reason;
  return (
    <div className="action">
      <ReasonDialog
        {...actionWords(action)}
        subject={
          <p className="dialog-subject mono">
            {job.vin} · {job.ecu}
          </p>
        }
        isDisabled={!entry.allowed || stale}
        act={(reason) => act(job.id, action, reason)}
        done={async (answered) => {
          if (action !== "retry") return;
          await navigate({ to: "/jobs/$id", params: { id: answered.id }, search: {} });
        }}
      />
      {why == null ? null : <span className="action-why">{why}</span>}
    </div>
  );
}
