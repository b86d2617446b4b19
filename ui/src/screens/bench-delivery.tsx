import { i18n } from "@lingui/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { alarmsQuery, ledgerQuery } from "../api/queries";
import type { BenchLedger, LedgerSpool } from "../api/types";
import { OUTSTANDING } from "../app/alarms";
import { numberText } from "../app/format";
import { balanceOf, oddities, outstandingSince, sumOf } from "../app/ledger";
import { Balance, Tally } from "../widgets/balance";
import { Fetched, Panel, ScrollX } from "../widgets/panel";
import { Empty } from "../widgets/states";
import { Count, TableHead } from "../widgets/table";
import { Age } from "../widgets/time";

const route = getRouteApi("/benches/$device");

/** Where every event of the bench is: of all its spools, or of the one in the address. */
export function BenchDelivery({ device }: { device: string }) {
  const ledger = useQuery(ledgerQuery(device));
  const alarms = useInfiniteQuery(alarmsQuery);
  const { spool } = route.useSearch();
  const stays = (alarms.data?.pages ?? []).some((page) =>
    page.items.some((alarm) => alarm.code === OUTSTANDING && alarm.device === device),
  );
  const chosen = ledger.data?.spools.find((one) => one.spool_id === spool);
  return (
    <>
      <Panel
        title={
          chosen === undefined ? i18n._("Every event of this bench") : i18n._("Every event of one spool")
        }
        aside={
          spool === undefined ? (
            <Link to="/delivery">{i18n._("The whole plant")}</Link>
          ) : (
            <Link to="/benches/$device" params={{ device }}>
              {i18n._("All spools")}
            </Link>
          )
        }
      >
        <Fetched query={ledger} rows={11}>
          {(data) => <Events ledger={data} chosen={chosen} wanted={spool} device={device} stays={stays} />}
        </Fetched>
      </Panel>
      <Panel title={i18n._("Spools")} aside={i18n._("newest first")}>
        <Fetched query={ledger} rows={3} silent>
          {(data) => <Spools ledger={data} device={device} chosen={chosen} />}
        </Fetched>
      </Panel>
    </>
  );
}

function Events({
  ledger,
  chosen,
  wanted,
  device,
  stays,
}: {
  ledger: BenchLedger;
  chosen: LedgerSpool | undefined;
  wanted: string | undefined;
  device: string;
  stays: boolean;
}) {
  if (ledger.spools.length === 0) {
    return (
      <Empty title={i18n._("No spool was announced yet.")}>
        {i18n._("The bench begins one with its first event.")}
      </Empty>
    );
  }
  if (wanted !== undefined && chosen === undefined) {
    return (
      <Empty title={i18n._("This bench has no such spool.")}>
        <Link to="/benches/$device" params={{ device }}>
          {i18n._("Show all its spools")}
        </Link>
      </Empty>
    );
  }
  const counts = chosen ?? sumOf(ledger.spools);
  const since = outstandingSince(chosen === undefined ? ledger.spools : [chosen]);
  return (
    <>
      <Balance
        title={i18n._("Every event of this bench")}
        lines={balanceOf(counts, stays)}
        brief
        notes={{
          outstanding:
            since === null ? null : (
              <>
                {i18n._("For")} <Age at={since} />.
              </>
            ),
        }}
        sum={{
          name: i18n._("Announced"),
          value: counts.announced,
          meaning:
            chosen === undefined
              ? i18n._("As the bench counts them.")
              : i18n._("Every one up to {seq} is settled.", { seq: numberText(chosen.through) }),
        }}
      />
      <Tally title={i18n._("Seen on the way")} lines={oddities(counts)} brief />
    </>
  );
}

function Spools({
  ledger,
  device,
  chosen,
}: {
  ledger: BenchLedger;
  device: string;
  chosen: LedgerSpool | undefined;
}) {
  if (ledger.spools.length === 0) {
    return (
      <Empty title={i18n._("No spool was announced yet.")}>
        {i18n._("The bench begins one with each start, and with a fault of its disk.")}
      </Empty>
    );
  }
  return (
    <ScrollX label={i18n._("Ledger of the spools")}>
      <table>
        <TableHead
          columns={[
            { text: i18n._("Spool") },
            { text: i18n._("Announced"), end: true },
            { text: i18n._("Stored"), end: true },
            { text: i18n._("In Kafka"), end: true },
            { text: i18n._("Rejected"), end: true },
            { text: i18n._("Holes"), end: true },
            { text: i18n._("Outstanding"), end: true },
            { text: i18n._("Duplicates"), end: true },
            { text: i18n._("Gaps"), end: true },
            { text: i18n._("Conflicts"), end: true },
          ]}
        />
        <tbody>
          {ledger.spools.map((spool) => (
            <tr key={spool.spool_id} data-chosen={spool === chosen ? true : undefined}>
              <th scope="row">
                <Link
                  to="/benches/$device"
                  params={{ device }}
                  search={{ spool: spool.spool_id }}
                  title={spool.spool_id}
                  resetScroll={false}
                >
                  <code>…{spool.spool_id.slice(-12)}</code>
                </Link>
              </th>
              <Count value={spool.announced} />
              <Count value={spool.stored} />
              <Count value={spool.in_kafka + spool.already_in_kafka} />
              <Count value={spool.rejected} alarm />
              <Count value={spool.holes} alarm />
              <Count value={spool.outstanding} />
              <Count value={spool.duplicates} />
              <Count value={spool.gaps} />
              <Count value={spool.conflicts} alarm />
            </tr>
          ))}
        </tbody>
      </table>
    </ScrollX>
  );
}
