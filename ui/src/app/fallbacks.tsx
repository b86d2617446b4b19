import { i18n } from "@lingui/core";
import type { ErrorComponentProps } from "@tanstack/react-router";
import { Link } from "@tanstack/react-router";
import { Empty, Failure } from "../widgets/states";

export function NotFound() {
  return (
    <div className="screen">
      <Empty title={i18n._("There is no page under this address.")}>
        <Link to="/benches">{i18n._("To the benches")}</Link>
      </Empty>
    </div>
  );
}

/** A fault of the page itself, or a part of it that could not be loaded (the server has a newer page, say). */
export function PageFault({ error }: ErrorComponentProps) {
  return (
    <div className="screen">
      <Failure error={error} retry={() => window.location.reload()} />
    </div>
  );
}
