import { i18n } from "@lingui/core";
import { useId, useState } from "react";
import { releaseBench } from "../api/queries";
import { useStale } from "../live/provider";
import { ReasonDialog } from "./reason-dialog";

/** Releases a bench that will not come back, so that offers no longer wait for it. */
export function ReleaseBench({ devices }: { devices: readonly string[] }) {
  const stale = useStale();
  const id = useId();
  const [chosen, setChosen] = useState<string | null>(null);
  // The chosen one may have synced meanwhile.
  const device = chosen !== null && devices.includes(chosen) ? chosen : devices[0];
  if (device === undefined) return null;
  return (
    <ReasonDialog
      name={i18n._("Release a bench")}
      meaning={i18n._(
        "Offers no longer wait for this bench. Look first whether a vehicle still hangs on it: it may be half programmed.",
      )}
      subject={
        devices.length === 1 ? (
          <p className="dialog-subject mono">
            <bdi>{device}</bdi>
          </p>
        ) : (
          <div className="field">
            <label htmlFor={id}>{i18n._("Bench")}</label>
            <select id={id} value={device} onChange={(event) => setChosen(event.target.value)}>
              {devices.map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </div>
        )
      }
      isDisabled={stale}
      act={(reason) => releaseBench(device, reason)}
    />
  );
}
