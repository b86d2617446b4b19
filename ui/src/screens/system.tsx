import { i18n } from "@lingui/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { readinessQuery, relayQuery, replicasQuery, statusQuery } from "../api/queries";
import type { Check, Relay, Replica, Replicas } from "../api/types";
import { numberText } from "../app/format";
import { partAnchor, partName, partNext, partWord } from "../app/parts";
import { useLanguage } from "../app/use-language";
import { Badge, Mark, WEIGHT_SHAPE } from "../widgets/mark";
import { Facts, Fetched, Panel, ScrollX } from "../widgets/panel";
import { ReleaseBench } from "../widgets/release";
import { Empty } from "../widgets/states";
import { TableHead } from "../widgets/table";
import { Age, Time } from "../widgets/time";

/** All slots of a plant, as hexadecimal digits. */
const SLOTS = [..."0123456789abcdef"];

/** What runs, how it is, and what to do about what is not well. */
export function SystemScreen() {
  useLanguage();
  const readiness = useQuery(readinessQuery);
  const replicas = useQuery(replicasQuery);
  const relay = useQuery(relayQuery);
  const status = useQuery(statusQuery);
  const waiting = status.data?.waiting_for_benches ?? [];
  const faults = readiness.data?.checks.filter((check) => !check.ok).length ?? 0;
  return (
    <div className="screen">
      <header className="screen-head">
        <h1>{i18n._("System")}</h1>
        <p className="screen-sum">
          {readiness.data === undefined ? (
            ""
          ) : faults === 0 ? (
            i18n._("everything works")
          ) : (
            <span className="sum-warning">{i18n._("not ok: {count}", { count: faults })}</span>
          )}
        </p>
      </header>
      <Panel title={i18n._("Parts of this server")} aside={<Link to="/runbook">{i18n._("Runbook")}</Link>}>
        <Fetched query={readiness} rows={5}>
          {(data) => <Parts checks={data.checks} />}
        </Fetched>
      </Panel>
      <Panel title={i18n._("Servers of the plant")}>
        <Fetched query={replicas} rows={2}>
          {(data) => <Servers replicas={data} />}
        </Fetched>
      </Panel>
      <div className="columns">
        <div className="column">
          <Panel title={i18n._("Relay")} aside={<Link to="/delivery">{i18n._("Delivery")}</Link>}>
            <Fetched query={relay} rows={4}>
              {(data) => <RelayFacts relay={data} />}
            </Fetched>
          </Panel>
        </div>
        <div className="column">
          {waiting.length === 0 ? null : (
            <Panel title={i18n._("Offers are held")}>
              <Held waiting={waiting} />
            </Panel>
          )}
          <Panel title={i18n._("Server")}>
            <Fetched query={status} rows={3}>
              {(data) => (
                <Facts
                  items={[
                    [i18n._("Version"), <bdi key="version">{data.version}</bdi>],
                    [i18n._("Database's life"), <code key="generation">{data.store_generation}</code>],
                    [i18n._("Time zone"), <bdi key="zone">{data.time_zone}</bdi>],
                  ]}
                />
              )}
            </Fetched>
          </Panel>
        </div>
      </div>
    </div>
  );
}

function Parts({ checks }: { checks: readonly Check[] }) {
  return (
    <ul className="parts">
      {checks.map((check) => {
        const word = partWord(check);
        const next = partNext(check);
        return (
          <li key={check.name} className="part" data-weight={check.ok ? undefined : word.weight}>
            <span className="part-name">{partName(check.name)}</span>
            <Badge word={word} shape={WEIGHT_SHAPE[word.weight]} />
            <div className="part-text">
              {next === null ? null : <p>{next}</p>}
              <p className="quiet">
                <bdi>{check.detail}</bdi>
              </p>
            </div>
            {check.state === "ok" ? null : (
              <Link to="/runbook" hash={partAnchor(check)}>
                {check.ok ? i18n._("Meaning") : i18n._("What to do")}
              </Link>
            )}
          </li>
        );
      })}
    </ul>
  );
}

function Servers({ replicas }: { replicas: Replicas }) {
  if (replicas.items.length === 0) {
    return (
      <Empty title={i18n._("No server has announced itself.")}>
        {i18n._("A server does so every two seconds while it reaches the database.")}
      </Empty>
    );
  }
  return (
    <>
      {replicas.free_slots.length === 0 ? null : (
        <p className="callout" data-weight="warning">
          {i18n._("Slots without owner:")} <span className="mono">{replicas.free_slots.join(" ")}</span>
        </p>
      )}
      <ScrollX label={i18n._("Servers of the plant")}>
        <table>
          <TableHead
            columns={[
              { text: i18n._("Server") },
              { text: i18n._("Slots") },
              { text: i18n._("Relay") },
              { text: i18n._("Broker") },
              { text: i18n._("Heard"), end: true },
            ]}
          />
          <tbody>
            {replicas.items.map((replica) => (
              <Server key={replica.owner} replica={replica} />
            ))}
          </tbody>
        </table>
      </ScrollX>
    </>
  );
}

function Server({ replica }: { replica: Replica }) {
  return (
    <tr>
      <th scope="row" className="wrap">
        <bdi className="strong">{replica.owner}</bdi>
        {replica.this ? <span className="quiet"> · {i18n._("this one")}</span> : null}
        <div className="quiet">
          <bdi>{replica.http}</bdi> · <bdi className="num">{replica.version}</bdi>
        </div>
      </th>
      <td>
        <SlotMap replica={replica} />
      </td>
      <td>
        {replica.relay ? (
          <Badge word={{ text: i18n._("relays"), weight: "normal" }} shape="play" />
        ) : (
          <span className="none">–</span>
        )}
      </td>
      <td className="wrap">
        <bdi>{replica.broker}</bdi>
      </td>
      <td className="end">
        <Age at={replica.seen_at} />
        <div className="quiet">
          {i18n._("started")} <Time at={replica.started_at} />
        </div>
      </td>
    </tr>
  );
}

/** The 16 slots in a row, those of the server with their digit. */
function SlotMap({ replica }: { replica: Replica }) {
  const owned = new Set(replica.slots);
  const unconnected = replica.slots.length - replica.slots_ready;
  const label = i18n._("Slots: {slots}", { slots: replica.slots.join(" ") || "–" });
  return (
    <div className="slot-line">
      <span className="slots" role="img" aria-label={label}>
        {SLOTS.map((slot) => (
          <span key={slot} className="slot" data-owned={owned.has(slot)}>
            {owned.has(slot) ? slot : "·"}
          </span>
        ))}
      </span>
      {unconnected > 0 ? (
        <span className="sum-warning">
          <Mark shape="triangle" /> {i18n._("{count} not connected", { count: unconnected })}
        </span>
      ) : null}
    </div>
  );
}

function RelayFacts({ relay }: { relay: Relay }) {
  return (
    <Facts
      items={[
        [
          i18n._("Waiting"),
          <span key="waiting" className="num">
            {numberText(relay.waiting)}
          </span>,
        ],
        [
          i18n._("Oldest waits for"),
          relay.oldest_waiting == null ? null : <Age key="oldest" at={relay.oldest_waiting} />,
        ],
        [i18n._("Relays"), relay.owner == null ? null : <bdi key="owner">{relay.owner}</bdi>],
        [
          i18n._("Relayed up to"),
          <span key="place" className="num">
            {i18n._("{place} of {newest}", {
              place: numberText(relay.relayed_seq),
              newest: numberText(relay.newest_seq),
            })}
          </span>,
        ],
      ]}
    />
  );
}

function Held({ waiting }: { waiting: readonly string[] }) {
  return (
    <div className="held">
      <p>{i18n._("No job is offered until these benches have synced or are released:")}</p>
      <ul>
        {waiting.map((device) => (
          <li key={device}>
            <Link to="/benches/$device" params={{ device }} className="mono">
              <bdi>{device}</bdi>
            </Link>
          </li>
        ))}
      </ul>
      <ReleaseBench devices={waiting} />
    </div>
  );
}
