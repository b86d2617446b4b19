import { i18n } from "@lingui/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import {
  alarmsQuery,
  benchQuery,
  deadLettersQuery,
  ledgerQuery,
  plantLedgerQuery,
  readinessQuery,
  relayQuery,
} from "../api/queries";
import type { Alarm, DeadLetter, LedgerTotals, Relay } from "../api/types";
import { OUTSTANDING } from "../app/alarms";
import { bytesText, numberText } from "../app/format";
import { balanceOf, ledgerAnchor, outstandingSince, plantOddities } from "../app/ledger";
import { useLanguage } from "../app/use-language";
import { Alarms } from "../widgets/alarms";
import { Balance, Tally } from "../widgets/balance";
import { Fetched, Panel, ScrollX } from "../widgets/panel";
import { Empty } from "../widgets/states";
import { TableHead } from "../widgets/table";
import { Age, Time } from "../widgets/time";
import { BenchStateBadge } from "./bench-state";

/** Benches with such events that are listed; the alarms below have them all. */
const SHOWN = 25;

/** Where every event is that the benches of the plant ever announced. */
export function DeliveryScreen() {
  useLanguage();
  const ledger = useQuery(plantLedgerQuery);
  const relay = useQuery(relayQuery);
  const alarms = useInfiniteQuery(alarmsQuery);
  const raised = alarms.data?.pages.flatMap((page) => page.items) ?? [];
  const standing = raised.filter((alarm) => alarm.code === OUTSTANDING);
  return (
    <div className="screen">
      <header className="screen-head">
        <h1>{i18n._("Delivery")}</h1>
        <p className="screen-sum">
          {ledger.data === undefined ? (
            ""
          ) : (
            <Sum outstanding={ledger.data.outstanding} staying={standing.length} />
          )}
        </p>
      </header>
      <Panel
        title={i18n._("Every event of the plant")}
        aside={
          <Link to="/runbook" hash="the-ledger">
            {i18n._("Runbook")}
          </Link>
        }
      >
        <Fetched query={ledger} rows={11}>
          {(data) => <PlantBalance ledger={data} relay={relay.data} stays={standing.length > 0} />}
        </Fetched>
      </Panel>
      {ledger.data === undefined && ledger.isError ? null : (
        <>
          <Panel title={i18n._("What stays outstanding")}>
            <Fetched query={ledger} rows={2} silent>
              {(data) => <Outstanding outstanding={data.outstanding} standing={standing} />}
            </Fetched>
          </Panel>
          <Panel title={i18n._("Seen on the way")}>
            <Fetched query={ledger} rows={5} silent>
              {(data) => <Tally title={i18n._("Seen on the way")} lines={plantOddities(data)} />}
            </Fetched>
          </Panel>
          {(ledger.data?.dead_letters ?? 0) > 0 ? <DeadLetters /> : null}
        </>
      )}
      <Panel title={i18n._("Alarms")} aside={i18n._("last raised first")}>
        <Alarms query={alarms} alarms={raised} none={i18n._("No alarm was raised.")} />
      </Panel>
    </div>
  );
}

/** The newest messages that could not be taken, each with the reason. */
function DeadLetters() {
  const letters = useQuery(deadLettersQuery);
  return (
    <Panel
      title={i18n._("Newest dead letters")}
      aside={
        <Link to="/runbook" hash="dead-letters">
          {i18n._("Runbook")}
        </Link>
      }
    >
      <Fetched query={letters} rows={3}>
        {(data) => (
          <ScrollX label={i18n._("Newest dead letters")}>
            <table>
              <TableHead
                columns={[
                  { text: i18n._("Bench") },
                  { text: i18n._("Why") },
                  { text: i18n._("Place") },
                  { text: i18n._("Size"), end: true },
                  { text: i18n._("Received"), end: true },
                ]}
              />
              <tbody>
                {data.items.map((letter) => (
                  <LetterRow key={letter.id} letter={letter} />
                ))}
              </tbody>
            </table>
          </ScrollX>
        )}
      </Fetched>
    </Panel>
  );
}

function LetterRow({ letter }: { letter: DeadLetter }) {
  // What a stranger wrote into a topic is no bench of ours, and no link.
  const known = letter.code !== "misplaced";
  return (
    <tr>
      <th scope="row">
        {known ? (
          <Link to="/benches/$device" params={{ device: letter.device }} className="strong mono">
            <bdi>{letter.device}</bdi>
          </Link>
        ) : (
          <bdi className="mono">{letter.device}</bdi>
        )}
      </th>
      <td className="wrap">
        <bdi>{letter.reason}</bdi> <code className="quiet">{letter.code}</code>
      </td>
      <td className="num">
        {letter.spool_id == null || letter.seq == null ? (
          <span className="none">–</span>
        ) : (
          <>
            <code title={letter.spool_id}>…{letter.spool_id.slice(-12)}</code> {numberText(letter.seq)}
          </>
        )}
      </td>
      <td className="num end">{bytesText(letter.size)}</td>
      <td className="end">
        <Time at={letter.received_at} />
      </td>
    </tr>
  );
}

function Sum({ outstanding, staying }: { outstanding: number; staying: number }) {
  if (staying > 0)
    return (
      <span className="sum-warning">
        {i18n._("{events} outstanding · benches that don't deliver: {count}", {
          events: numberText(outstanding),
          count: numberText(staying),
        })}
      </span>
    );
  if (outstanding === 0) return i18n._("every event that was announced is settled");
  return i18n._("{events} on their way", { events: numberText(outstanding) });
}

function PlantBalance({
  ledger,
  relay,
  stays,
}: {
  ledger: LedgerTotals;
  relay: Relay | undefined;
  stays: boolean;
}) {
  const { data: readiness } = useQuery(readinessQuery);
  const withoutKafka = readiness?.checks.some((check) => check.name === "kafka" && check.state === "off");
  const oldest = relay?.oldest_waiting ?? null;
  if (ledger.announced === 0) {
    return (
      <Empty title={i18n._("No event was announced yet.")}>
        {i18n._("A bench announces its first with its first job. Give it one: POST /api/v1/jobs.")}
      </Empty>
    );
  }
  return (
    <Balance
      title={i18n._("Every event of the plant")}
      lines={balanceOf(ledger, stays)}
      sum={{
        name: i18n._("Announced"),
        value: ledger.announced,
        meaning: i18n._("As the benches count them."),
      }}
      notes={{
        waiting: withoutKafka ? (
          i18n._("No Kafka is configured. Results stay here.")
        ) : oldest === null ? null : (
          <>
            {i18n._("The oldest has waited for")} <Age at={oldest} />.
          </>
        ),
      }}
    />
  );
}

function Outstanding({ outstanding, standing }: { outstanding: number; standing: readonly Alarm[] }) {
  if (standing.length > 0) return <Standing standing={standing} />;
  if (outstanding === 0) {
    return (
      <Empty title={i18n._("Nothing is outstanding.")}>
        {i18n._("Every event that a bench told of is stored, refused or stated as a hole.")}
      </Empty>
    );
  }
  return (
    <Empty title={i18n._("Nothing stays outstanding.")}>
      <p>
        {i18n._(
          "What is on its way arrives by itself: within a minute from a bench that is online, else when it is back.",
        )}
      </p>
      <p>
        <Link to="/benches" search={{ state: "offline" }}>
          {i18n._("Show the benches that are offline")}
        </Link>
      </p>
    </Empty>
  );
}

function Standing({ standing }: { standing: readonly Alarm[] }) {
  const more = standing.length - SHOWN;
  return (
    <>
      <ScrollX label={i18n._("What stays outstanding")}>
        <table>
          <TableHead
            columns={[
              { text: i18n._("Bench") },
              { text: i18n._("State") },
              { text: i18n._("Outstanding"), end: true },
              { text: i18n._("Since"), end: true },
              { text: i18n._("Next") },
            ]}
          />
          <tbody>
            {standing.slice(0, SHOWN).map((alarm) => (
              <StandingRow key={alarm.id} alarm={alarm} />
            ))}
          </tbody>
        </table>
      </ScrollX>
      {more > 0 ? (
        <p className="none-text">{i18n._("and {count} more", { count: numberText(more) })}</p>
      ) : null}
    </>
  );
}

/** A bench whose events stay outstanding; its state and count are live. */
function StandingRow({ alarm }: { alarm: Alarm }) {
  const device = alarm.device ?? "";
  const enabled = device !== "";
  const { data: bench } = useQuery({ ...benchQuery(device), enabled });
  const { data: ledger } = useQuery({ ...ledgerQuery(device), enabled });
  // The alarm was raised when somebody's patience had ended; the ledger knows since when it stays.
  const since = outstandingSince(ledger?.spools ?? []) ?? alarm.raised_at;
  return (
    <tr>
      <th scope="row">
        <Link to="/benches/$device" params={{ device }} className="strong mono">
          <bdi>{device}</bdi>
        </Link>
      </th>
      <td>{bench === undefined ? <span className="none">–</span> : <BenchStateBadge bench={bench} />}</td>
      <td className="num end">
        {bench === undefined ? <span className="none">–</span> : numberText(bench.spool.outstanding)}
      </td>
      <td className="end">
        <Age at={since} />
      </td>
      <td className="wrap">
        {bench?.online === false
          ? i18n._("Bring it back: it delivers by itself.")
          : i18n._("It is online and does not deliver: its log says why.")}{" "}
        <Link to="/runbook" hash={ledgerAnchor("outstanding")}>
          {i18n._("What to do")}
        </Link>
      </td>
    </tr>
  );
}
