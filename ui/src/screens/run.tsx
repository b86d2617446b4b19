import { i18n } from "@lingui/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { runQuery } from "../api/queries";
import type { Job, Live, Run } from "../api/types";
import { bytesText, traceIdOf } from "../app/format";
import { useLanguage } from "../app/use-language";
import { kindWord, verdictMeaning } from "../app/words";
import { useProgress } from "../live/progress";
import { JobActions } from "../widgets/action";
import { Badge, JobBadge } from "../widgets/mark";
import { Facts, Fetched, Panel } from "../widgets/panel";
import { StepProgress } from "../widgets/progress";
import { Empty } from "../widgets/states";
import { Time } from "../widgets/time";
import { JobDuration } from "./jobs";
import { Steps } from "./steps";

const route = getRouteApi("/jobs/$id");

export function RunScreen() {
  useLanguage();
  const { id } = route.useParams();
  const { attempt } = route.useSearch();
  const query = useQuery(runQuery(id, attempt));
  const streamed = useProgress(id);
  const run = query.data;
  return (
    <div className="screen">
      <header className="screen-head">
        <p className="crumb">
          <Link to="/jobs">{i18n._("Jobs")}</Link>
        </p>
        <h1>
          {run === undefined ? (
            <code>{id}</code>
          ) : (
            <>
              {kindWord(run.job.kind)} <bdi>{run.job.ecu}</bdi>{" "}
              <bdi className="mono h1-vin">{run.job.vin}</bdi>
            </>
          )}
        </h1>
        {run === undefined ? null : <Attempts run={run} />}
      </header>
      <Fetched query={query} rows={14}>
        {(data) => <RunBody run={data} live={streamed ?? data.live ?? null} />}
      </Fetched>
    </div>
  );
}

/** Attempts are numbered from 1; a job that was never offered has none. */
function Attempts({ run }: { run: Run }) {
  const count = run.job.attempt;
  if (count < 2) return null;
  return (
    <nav className="attempts" aria-label={i18n._("Attempts")}>
      {Array.from({ length: Math.min(count, 20) }, (_, index) => count - index).map((number) => (
        <Link
          key={number}
          to="/jobs/$id"
          params={{ id: run.job.id }}
          search={{ attempt: number }}
          aria-current={number === run.attempt ? "page" : undefined}
        >
          {i18n._("Attempt {number}", { number })}
        </Link>
      ))}
    </nav>
  );
}

function RunBody({ run, live }: { run: Run; live: Live | null }) {
  const { job } = run;
  const running = job.finished_at == null && live !== null && live.attempt === run.attempt;
  return (
    <div className="columns">
      <div className="column">
        <VerdictLine job={job} live={running ? live : null} />
        <Panel
          title={i18n._("Steps")}
          aside={
            job.steps_total == null ? undefined : (
              <span className="num">
                {i18n._("{done} of {total}", { done: run.steps.length, total: job.steps_total })}
              </span>
            )
          }
        >
          {run.steps.length === 0 ? (
            <Empty title={i18n._("No step has ended yet.")}>
              {job.parked != null ? (
                <bdi>{job.parked}</bdi>
              ) : (
                i18n._("Each step appears here as soon as the bench has reported it.")
              )}
            </Empty>
          ) : (
            <Steps steps={run.steps} />
          )}
        </Panel>
      </div>
      <div className="column">
        <Panel title={i18n._("Actions")}>
          <JobActions job={job} />
        </Panel>
        <Panel title={i18n._("Job")}>
          <JobFacts job={job} />
        </Panel>
        <Panel title={i18n._("Software read back")}>
          <Software job={job} />
        </Panel>
        <Panel title={i18n._("Signed record")}>
          <RecordState run={run} />
        </Panel>
      </div>
    </div>
  );
}

function VerdictLine({ job, live }: { job: Job; live: Live | null }) {
  return (
    <div className="verdict-line" data-weight={job.verdict ?? job.state}>
      <JobBadge state={job.state} verdict={job.verdict} />
      <span className="verdict-text">
        {job.verdict != null ? verdictMeaning(job.verdict) : (job.parked ?? "")}
        {job.reason_code == null || job.verdict === "passed" ? null : (
          <>
            {" "}
            <code>{job.reason_code}</code>
          </>
        )}
        {job.detail == null ? null : (
          <>
            {" "}
            <bdi>{job.detail}</bdi>
          </>
        )}
      </span>
      {live === null ? null : (
        <div className="live-line">
          <StepProgress live={live} />
        </div>
      )}
      {job.fenced_events > 0 ? (
        <span className="verdict-fenced">
          {i18n._("{count} events of a fenced attempt are stored; they do not move the job.", {
            count: job.fenced_events,
          })}
        </span>
      ) : null}
    </div>
  );
}

function JobFacts({ job }: { job: Job }) {
  const trace = traceIdOf(job.traceparent);
  const benchLink =
    job.device == null ? null : (
      <Link key="bench" to="/benches/$device" params={{ device: job.device }} className="mono">
        <bdi>{job.device}</bdi>
      </Link>
    );
  return (
    <Facts
      items={[
        [i18n._("Bench"), benchLink],
        [
          i18n._("Procedure"),
          <span key="procedure" title={job.procedure.sha256}>
            <bdi>{job.procedure.id}</bdi> <bdi className="quiet">{job.procedure.version}</bdi>
          </span>,
        ],
        ...job.artifacts.map(
          (file) =>
            [
              i18n._("File {input}", { input: file.input }),
              <span key={file.input} title={file.sha256}>
                <bdi>{file.name}</bdi> <bdi className="quiet">{file.version}</bdi> · {bytesText(file.size)}
              </span>,
            ] as const,
        ),
        ...Object.entries(job.parameters).map(
          ([name, value]) => [name, <bdi key={name}>{value}</bdi>] as const,
        ),
        [i18n._("Created"), <Time key="created" at={job.created_at} />],
        [i18n._("Accepted"), <Time key="accepted" at={job.accepted_at} />],
        [i18n._("Started"), <Time key="started" at={job.started_at} />],
        [i18n._("Finished"), <Time key="finished" at={job.finished_at} />],
        [i18n._("Took"), <JobDuration key="took" job={job} />],
        [i18n._("Deadline"), <Time key="deadline" at={job.deadline} />],
        [i18n._("Requested by"), <bdi key="by">{job.requested_by}</bdi>],
        [
          i18n._("Repeats"),
          job.retry_of == null ? null : (
            <span key="retry">
              <Link to="/jobs/$id" params={{ id: job.retry_of }} className="mono">
                {job.retry_of}
              </Link>{" "}
              <bdi>{job.retry_reason ?? ""}</bdi>
            </span>
          ),
        ],
        [
          i18n._("Fence"),
          <span key="fence" className="num">
            {job.fence}
          </span>,
        ],
        [i18n._("Job id"), <code key="id">{job.id}</code>],
        [
          i18n._("Trace"),
          trace === null ? null : (
            <code key="trace" title={job.traceparent ?? ""}>
              {trace}
            </code>
          ),
        ],
      ]}
    />
  );
}

function Software({ job }: { job: Job }) {
  const versions = Object.entries(job.software);
  if (versions.length === 0) {
    return <p className="none-text">{i18n._("Nothing was read back.")}</p>;
  }
  return (
    <Facts
      items={versions.map(([ecu, version]) => [
        ecu,
        <bdi key={ecu} className="mono strong">
          {version}
        </bdi>,
      ])}
    />
  );
}

function RecordState({ run }: { run: Run }) {
  const { record } = run;
  if (record == null)
    return <p className="none-text">{i18n._("The bench signs it at the end of the attempt.")}</p>;
  return (
    <div className="record">
      {record.verified ? (
        <Badge word={{ text: i18n._("signature verified"), weight: "normal" }} shape="check" />
      ) : (
        <Badge word={{ text: i18n._("not verified"), weight: "alarm" }} shape="cross" />
      )}
      <p className="none-text">
        {record.verified
          ? i18n._("The record was signed with the key that this bench registered.")
          : i18n._(
              "The signature does not belong to the key that this bench registered. Do not rely on this record.",
            )}
      </p>
      <Facts
        items={[
          [i18n._("Key"), record.public_key == null ? null : <code key="key">{record.public_key}</code>],
        ]}
      />
      <details>
        <summary>{i18n._("Record (JWS)")}</summary>
        <code className="jws">{record.jws}</code>
      </details>
    </div>
  );
}
