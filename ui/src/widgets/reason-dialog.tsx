import { i18n } from "@lingui/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
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
import { Failure } from "./states";

interface ReasonDialogProps<T> {
  /** What is done, on the button and in the dialog. */
  readonly name: string;
  readonly meaning: string;
  /** What it is done to. */
  readonly subject: ReactNode;
  readonly isDisabled: boolean;
  readonly act: (reason: string) => Promise<T>;
  readonly done?: (answered: T) => Promise<void>;
}

/** A button that asks for a reason, which is recorded, before it does something. */
export function ReasonDialog<T>(props: ReasonDialogProps<T>) {
  return (
    <DialogTrigger>
      <Button className="button" isDisabled={props.isDisabled}>
        {props.name}
      </Button>
      <ModalOverlay className="overlay" isDismissable>
        <Modal className="modal">
          <Dialog className="dialog">{({ close }) => <ReasonForm {...props} close={close} />}</Dialog>
        </Modal>
      </ModalOverlay>
    </DialogTrigger>
  );
}

function ReasonForm<T>(props: ReasonDialogProps<T> & { readonly close: () => void }) {
  const { name, meaning, subject, act, done, close } = props;
  const [reason, setReason] = useState("");
  const client = useQueryClient();
  const mutation = useMutation({
    mutationFn: () => act(reason.trim()),
    onSuccess: async (answered) => {
      await client.invalidateQueries();
      close();
      await done?.(answered);
    },
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (reason.trim() !== "" && !mutation.isPending) mutation.mutate();
      }}
    >
      <Heading slot="title">{name}</Heading>
      {subject}
      <p>{meaning}</p>
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
          {name}
        </Button>
      </div>
    </form>
  );
}
