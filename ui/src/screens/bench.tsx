import { i18n } from "@lingui/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { alarmsQuery, benchQuery, jobsQuery } from "../api/queries";
import type { Bench, Job, JobSummary } from "../api/types";
import { isCurrent } from "../app/alarms";
import { numberText } from "../app/format";
import { serverNow } from "../app/server-time";
import { useLanguage } from "../app/use-language";
import { kindWord } from "../app/words";
import { useProgress } from "../live/progress";
import { AlarmList } from "../widgets/alarms";
import { JobBadge } from "../widgets/mark";
import { Facts, Fetched, Panel, ScrollX } from "../widgets/panel";
import { StepProgress } from "../widgets/progress";
import { Empty, Failure, Skeleton } from "../widgets/states";
import { TableHead } from "../widgets/table";
import { Age, Time } from "../widgets/time";
import { BenchDelivery } from "./bench-delivery";
import { BenchStateBadge, refusal } from "./bench-state";
import { JobDuration } from "./jobs";

const route = getRouteApi("/benches/$device");

/** Jobs of the bench that are listed here; the rest is one link away. */
const SHOWN_JOBS = 20;

export function BenchScreen() {
  useLanguage();
  const { device } = route.useParams();
  const bench = useQuery(benchQuery(device));
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
            <BenchAlarms device={device} />
            <BenchDelivery device={device} />
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

/** What a person should know about this bench now; nothing while there is nothing. */
function BenchAlarms({ device }: { device: string }) {
  const { data } = useInfiniteQuery(alarmsQuery);
  const now = serverNow();
  const current = (data?.pages ?? [])
    .flatMap((page) => page.items)
    .filter((alarm) => alarm.device === device && isCurrent(alarm, now));
  if (current.length === 0) return null;
  return (
    <Panel title={i18n._("Alarms of this bench")} aside={<Link to="/delivery">{i18n._("All alarms")}</Link>}>
      <AlarmList alarms={current} />
    </Panel>
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
          i18n._("Held at its last sync"),
          <span key="held" className="num">
            {i18n._("{count} events", { count: numberText(bench.spool.held_events) })}
          </span>,
        ],
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
