import { i18n } from "@lingui/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { benchQuery, jobsQuery, ledgerQuery } from "../api/queries";
import type { Bench, BenchLedger, Job, JobSummary, LedgerSpool } from "../api/types";
import { numberText } from "../app/format";
import { useLanguage } from "../app/use-language";
import { kindWord } from "../app/words";
import { useProgress } from "../live/progress";
import { JobBadge } from "../widgets/mark";
import { Facts, Fetched, Panel, ScrollX } from "../widgets/panel";
import { StepProgress } from "../widgets/progress";
import { Empty, Failure, Skeleton } from "../widgets/states";
import { Count, TableHead } from "../widgets/table";
import { Age, Time } from "../widgets/time";
import { BenchStateBadge, refusal } from "./bench-state";
import { JobDuration } from "./jobs";

const route = getRouteApi("/benches/$device");

/** Jobs of the bench that are listed here; the rest is one link away. */
const SHOWN_JOBS = 20;

export function BenchScreen() {
  useLanguage();
  const { device } = route.useParams();
  const bench = useQuery(benchQuery(device));
  const ledger = useQuery(ledgerQuery(device));
  const jobs = useInfiniteQuery(jobsQuery({ device }));
  const rows = jobs.data?.pages.flatMap((page) => page.items);
  return (
    <div className="screen">
      <header className="screen-head">
        <p className="crumb">
          <Link to="/benches">{i18n._("Benches")}</Link>
        </p>
        <h1 className="mono">
          <bdi>{device}</bdi>
        </h1>
        <p className="screen-sum">{bench.data === undefined ? "" : <BenchHead bench={bench.data} />}</p>
      </header>
      {bench.data === undefined && bench.isError ? (
        <div className="panel">
          <Failure error={bench.error} retry={() => void bench.refetch()} />
        </div>
      ) : (
        <div className="columns">
          <div className="column">
            <Panel title={i18n._("Now")}>
              <Fetched query={bench} rows={3}>
                {(data) => <Now bench={data} />}
              </Fetched>
            </Panel>
            <Panel
              title={i18n._("Delivery")}
              aside={i18n._("announced = stored + rejected + holes + outstanding")}
            >
              <Fetched query={bench} rows={1}>
                {(data) => (
                  <div className="figures">
                    <Figure value={data.spool.held_events} name={i18n._("events held at its last sync")} />
                    <Figure
                      value={data.spool.outstanding}
                      name={i18n._("not yet stored here")}
                      warning={!data.online && data.spool.outstanding > 0}
                    />
                  </div>
                )}
              </Fetched>
              <Fetched query={ledger} rows={3}>
                {(data) => <Ledger ledger={data} />}
              </Fetched>
            </Panel>
            <Panel
              title={i18n._("What became of stored events")}
              aside={i18n._("stored = in Kafka + already there + unrelayable + expired + waiting")}
            >
              <Fetched query={ledger} rows={3}>
                {(data) => <Relayed ledger={data} />}
              </Fetched>
            </Panel>
            <Panel
              title={i18n._("Jobs of this bench")}
              aside={
                <Link to="/jobs" search={{ device }}>
                  {i18n._("All its jobs")}
                </Link>
              }
            >
              {rows !== undefined ? (
                <BenchJobs jobs={rows.slice(0, SHOWN_JOBS)} />
              ) : jobs.isError ? (
                <Failure error={jobs.error} retry={() => void jobs.refetch()} />
              ) : (
                <Skeleton rows={5} />
              )}
            </Panel>
          </div>
          <div className="column">
            <Panel title={i18n._("Bench")}>
              <Fetched query={bench} rows={8}>
                {(data) => <Equipment bench={data} />}
              </Fetched>
            </Panel>
          </div>
        </div>
      )}
    </div>
  );
}

function BenchHead({ bench }: { bench: Bench }) {
  return (
    <>
      <BenchStateBadge bench={bench} /> <span className="quiet">{i18n._("for")}</span>{" "}
      <Age at={bench.presence_since} />
      <span className="quiet"> · {i18n._("last heard")} </span>
      <Age at={bench.last_seen} />
      {bench.vin == null ? null : (
        <>
          <span className="quiet"> · {i18n._("vehicle")} </span>
          <Link to="/jobs" search={{ vin: bench.vin }} className="mono">
            <bdi>{bench.vin}</bdi>
          </Link>
        </>
      )}
    </>
  );
}

function Now({ bench }: { bench: Bench }) {
  const refuses = refusal(bench);
  return (
    <>
      {refuses === null ? null : (
        <p className="callout" data-weight="warning">
          {i18n._("Takes no new job:")} <bdi>{refuses}</bdi>
        </p>
      )}
      {bench.open_jobs.length === 0 ? (
        <Empty title={i18n._("No open job.")}>
          {bench.online
            ? i18n._("The bench waits for the next one.")
            : i18n._("The bench is offline. A queued job reaches it when it is back.")}
        </Empty>
      ) : (
        <ul className="open-jobs">
          {bench.open_jobs.map((job) => (
            <OpenJob key={job.id} job={job} />
          ))}
        </ul>
      )}
    </>
  );
}

function OpenJob({ job }: { job: JobSummary }) {
  const live = useProgress(job.id);
  return (
    <li className="open-job">
      <div className="open-job-head">
        <JobBadge state={job.state} verdict={job.verdict} />
        <Link to="/jobs/$id" params={{ id: job.id }} className="strong">
          {kindWord(job.kind)} <bdi>{job.ecu}</bdi>
        </Link>
        <bdi className="mono">{job.vin}</bdi>
      </div>
      <div className="open-job-live">
        {live !== null ? (
          <StepProgress live={live} />
        ) : (
          <span className="quiet">
            {job.steps_total == null
              ? i18n._("no step begun")
              : i18n._("{done} of {total} steps done", { done: job.steps_done, total: job.steps_total })}
          </span>
        )}
      </div>
    </li>
  );
}

function Equipment({ bench }: { bench: Bench }) {
  return (
    <Facts
      items={[
        [i18n._("Station"), bench.station == null ? null : <bdi key="station">{bench.station}</bdi>],
        [i18n._("Agent"), bench.agent_version == null ? null : <bdi key="agent">{bench.agent_version}</bdi>],
        [
          i18n._("Control units"),
          <bdi key="ecus">{bench.ecus.length === 0 ? i18n._("any") : bench.ecus.join(", ")}</bdi>,
        ],
        [i18n._("Transports"), <bdi key="transports">{bench.transports.join(", ") || "–"}</bdi>],
        [
          i18n._("Job list"),
          <span key="list" className="num">
            {i18n._("version {version}", { version: bench.desired_version })}
          </span>,
        ],
        [
          i18n._("Slot"),
          <span key="slot" className="num">
            {bench.slot}
          </span>,
        ],
        [i18n._("Run"), bench.run_id == null ? null : <code key="run">{bench.run_id}</code>],
        [i18n._("Public key"), bench.public_key == null ? null : <code key="key">{bench.public_key}</code>],
      ]}
    />
  );
}

export function Figure({ value, name, warning = false }: { value: number; name: string; warning?: boolean }) {
  return (
    <div className="figure" data-weight={warning ? "warning" : undefined}>
      <span className="figure-value num">{numberText(value)}</span>
      <span className="figure-name">{name}</span>
    </div>
  );
}

function Ledger({ ledger }: { ledger: BenchLedger }) {
  if (ledger.spools.length === 0) {
    return (
      <Empty title={i18n._("No spool was announced yet.")}>
        {i18n._("The bench begins one with its first event.")}
      </Empty>
    );
  }
  const spools = ledger.spools.toReversed();
  return (
    <ScrollX label={i18n._("Ledger of the spools")}>
      <table>
        <TableHead
          columns={[
            { text: i18n._("Spool") },
            { text: i18n._("Announced"), end: true },
            { text: i18n._("Stored"), end: true },
            { text: i18n._("Rejected"), end: true },
            { text: i18n._("Holes"), end: true },
            { text: i18n._("Outstanding"), end: true },
            { text: i18n._("Duplicates"), end: true },
            { text: i18n._("Conflicts"), end: true },
          ]}
        />
        <tbody>
          {spools.map((spool) => (
            <tr key={spool.spool_id}>
              <SpoolName spool={spool} />
              <Count value={spool.announced} />
              <Count value={spool.stored} />
              <Count value={spool.rejected} alarm />
              <Count value={spool.holes} alarm />
              <Count value={spool.outstanding} />
              <Count value={spool.duplicates} />
              <Count value={spool.conflicts} alarm />
            </tr>
          ))}
        </tbody>
      </table>
    </ScrollX>
  );
}

function SpoolName({ spool }: { spool: LedgerSpool }) {
  return (
    <th scope="row">
      <code title={spool.spool_id}>…{spool.spool_id.slice(-12)}</code>
    </th>
  );
}

/** What became of the stored events of each spool. */
function Relayed({ ledger }: { ledger: BenchLedger }) {
  if (ledger.spools.length === 0) {
    return (
      <Empty title={i18n._("Nothing is stored yet.")}>
        {i18n._("Stored events go into Kafka where one is configured.")}
      </Empty>
    );
  }
  return (
    <ScrollX label={i18n._("What became of stored events")}>
      <table>
        <TableHead
          columns={[
            { text: i18n._("Spool") },
            { text: i18n._("Stored"), end: true },
            { text: i18n._("In Kafka"), end: true },
            { text: i18n._("Already there"), end: true },
            { text: i18n._("Unrelayable"), end: true },
            { text: i18n._("Expired"), end: true },
            { text: i18n._("Waiting"), end: true },
          ]}
        />
        <tbody>
          {ledger.spools.toReversed().map((spool) => (
            <tr key={spool.spool_id}>
              <SpoolName spool={spool} />
              <Count value={spool.stored} />
              <Count value={spool.in_kafka} />
              <Count value={spool.already_in_kafka} />
              <Count value={spool.unrelayable} alarm />
              <Count value={spool.expired} />
              <Count value={spool.in_outbox} />
            </tr>
          ))}
        </tbody>
      </table>
    </ScrollX>
  );
}

function BenchJobs({ jobs }: { jobs: readonly Job[] }) {
  if (jobs.length === 0) {
    return (
      <Empty title={i18n._("This bench had no job yet.")}>
        {i18n._("A job without a named bench goes to the one where its vehicle stands.")}
      </Empty>
    );
  }
  return (
    <ScrollX label={i18n._("Jobs of this bench")}>
      <table>
        <TableHead
          columns={[
            { text: i18n._("State") },
            { text: i18n._("Job") },
            { text: i18n._("Vehicle") },
            { text: i18n._("Procedure") },
            { text: i18n._("Created"), end: true },
            { text: i18n._("Took"), end: true },
          ]}
        />
        <tbody>
          {jobs.map((job) => (
            <tr key={job.id}>
              <td>
                <JobBadge state={job.state} verdict={job.verdict} />
              </td>
              <th scope="row">
                <Link to="/jobs/$id" params={{ id: job.id }} className="strong">
                  {kindWord(job.kind)} <bdi>{job.ecu}</bdi>
                </Link>
              </th>
              <td className="mono">
                <bdi>{job.vin}</bdi>
              </td>
              <td>
                <bdi>{job.procedure.id}</bdi> <bdi className="quiet">{job.procedure.version}</bdi>
              </td>
              <td className="end">
                <Time at={job.created_at} />
              </td>
              <td className="end">
                <JobDuration job={job} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </ScrollX>
  );
}
