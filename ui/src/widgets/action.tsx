import { i18n } from "@lingui/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import {
  Button,
  Dialog,
  DialogTrigger,
  Heading,
  Label,
  Modal,
  ModalOverlay,
  TextArea,
  TextField,
} from "react-aria-components";
import { act } from "../api/queries";
import type { AllowedAction, Job } from "../api/types";
import { useStale } from "../live/provider";
import { Failure } from "./states";

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
  const words = actionWords(action);
  const why = stale
    ? i18n._("Read-only: the connection to the server is lost.")
    : entry.allowed
      ? null
      : entry.reason;
  return (
    <div className="action">
      <DialogTrigger>
        <Button className="button" isDisabled={!entry.allowed || stale}>
          {words.name}
        </Button>
        <ModalOverlay className="overlay" isDismissable>
          <Modal className="modal">
            <Dialog className="dialog">
              {({ close }) => <ReasonForm job={job} action={action} words={words} close={close} />}
            </Dialog>
          </Modal>
        </ModalOverlay>
      </DialogTrigger>
      {why == null ? null : <span className="action-why">{why}</span>}
    </div>
  );
}

interface ReasonFormProps {
  readonly job: Job;
  readonly action: Action;
  readonly words: { name: string; meaning: string };
  readonly close: () => void;
}

function ReasonForm({ job, action, words, close }: ReasonFormProps) {
  const [reason, setReason] = useState("");
  const client = useQueryClient();
  const navigate = useNavigate();
  const mutation = useMutation({
    mutationFn: () => act(job.id, action, reason.trim()),
    onSuccess: async (answered) => {
      await client.invalidateQueries();
      close();
      if (action === "retry") await navigate({ to: "/jobs/$id", params: { id: answered.id }, search: {} });
    },
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (reason.trim() !== "" && !mutation.isPending) mutation.mutate();
      }}
    >
      <Heading slot="title">{words.name}</Heading>
      <p className="dialog-subject mono">
        {job.vin} · {job.ecu}
      </p>
      <p>{words.meaning}</p>
      <TextField className="field" value={reason} onChange={setReason} isRequired autoFocus maxLength={500}>
        <Label>{i18n._("Reason (recorded)")}</Label>
        <TextArea rows={3} />
      </TextField>
      {mutation.isError ? <Failure error={mutation.error} /> : null}
      <div className="dialog-buttons">
        <Button className="button" onPress={close}>
          {i18n._("Back")}
        </Button>
        <Button
          className="button"
          data-primary
          type="submit"
          isDisabled={reason.trim() === "" || mutation.isPending}
        >
          {words.name}
        </Button>
      </div>
    </form>
  );
}
