import { i18n } from "@lingui/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { readinessQuery, statusQuery } from "../api/queries";
import { Mark } from "../widgets/mark";
import { ReleaseBench } from "../widgets/release";
import { faultsOf, partAnchor, partName, partNext, partWeight, partWord } from "./parts";

/** Faults that are named one by one; the System view has them all. */
const SHOWN = 2;
/** Benches that are named in the banner. */
const NAMED = 5;
/** How often the benches that are waited for are asked for while there are any. */
const HELD_EVERY_MS = 5_000;

/** Above every screen: what is not ok, and whether offers are held. Empty while all is well. */
export function Notices() {
  const { data } = useQuery(readinessQuery);
  const faults = faultsOf(data?.checks ?? []);
  const held = data?.checks.some((check) => check.name === "offers" && check.state === "held") ?? false;
  const hidden = faults.length - SHOWN;
  return (
    <section className="notices" aria-label={i18n._("Faults of the system")}>
      {faults.slice(0, SHOWN).map((check) => (
        <div key={check.name} className="banner" role="alert" data-weight={partWeight(check)}>
          <Mark shape={partWeight(check) === "alarm" ? "cross" : "triangle"} />
          <p>
            <strong>
              {partName(check.name)}: {partWord(check).text}
            </strong>{" "}
            {partNext(check)}
          </p>
          <Link to="/runbook" hash={partAnchor(check)}>
            {i18n._("What to do")}
          </Link>
        </div>
      ))}
      {hidden > 0 ? (
        <div className="banner" data-weight="warning">
          <Mark shape="triangle" />
          <p>{i18n._("Further parts that are not ok: {count}", { count: hidden })}</p>
          <Link to="/system">{i18n._("To the system")}</Link>
        </div>
      ) : null}
      <OffersHeld held={held} />
    </section>
  );
}

function OffersHeld({ held }: { held: boolean }) {
  const { data } = useQuery({ ...statusQuery, refetchInterval: held ? HELD_EVERY_MS : false });
  const waiting = data?.waiting_for_benches ?? [];
  if (!held || waiting.length === 0) return null;
  const more = waiting.length - NAMED;
  return (
    <div className="banner" role="status" data-weight="warning">
      <Mark shape="clock" />
      <p>
        <strong>{i18n._("Offers are held since a restore.")}</strong>{" "}
        {i18n._("No job is offered until these benches have synced or are released:")}{" "}
        {waiting.slice(0, NAMED).map((device, index) => (
          <span key={device}>
            {index > 0 ? ", " : ""}
            <Link to="/benches/$device" params={{ device }} className="mono">
              <bdi>{device}</bdi>
            </Link>
          </span>
        ))}
        {more > 0 ? ` ${i18n._("and {count} more", { count: more })}` : ""}
      </p>
      <ReleaseBench devices={waiting} />
    </div>
  );
}
