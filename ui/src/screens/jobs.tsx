import { i18n } from "@lingui/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useCallback, useMemo } from "react";
import { jobsQuery } from "../api/queries";
import type { Job } from "../api/types";
import { durationText, timeOf } from "../app/format";
import { deviceId, type JobSearch, vinFilter } from "../app/search";
import { serverNow } from "../app/server-time";
import { useLanguage } from "../app/use-language";
import { JOB_STATES, kindWord, stateWord } from "../app/words";
import { useProgress } from "../live/progress";
import { useNow } from "../live/provider";
import type { Column } from "../widgets/grid";
import { ListBody, RowCount } from "../widgets/list";
import { JobBadge } from "../widgets/mark";
import { StepProgress } from "../widgets/progress";
import { Time } from "../widgets/time";
import { ChoiceFilter, TextFilter } from "./filters";

const route = getRouteApi("/jobs");

/** From the first step to the end, or until now. */
export function JobDuration({ job }: { job: Job }) {
  const now = useNow(serverNow);
  const from = timeOf(job.started_at ?? job.accepted_at);
  if (from === null) return <span className="none">–</span>;
  const to = timeOf(job.finished_at);
  if (to === null && job.state !== "running" && job.state !== "accepted")
    return <span className="none">–</span>;
  const span = (to ?? now) - from;
  return <span className="num">{durationText(to === null ? Math.floor(span / 1_000) * 1_000 : span)}</span>;
}

function JobProgress({ job }: { job: Job }) {
  const live = useProgress(job.id);
  if (live !== null && job.finished_at == null) return <StepProgress live={live} compact />;
  if (job.parked != null) return <bdi className="quiet">{job.parked}</bdi>;
  if (job.reason_code != null && job.verdict !== "passed")
    return <bdi className="quiet">{job.reason_code}</bdi>;
  if (job.steps_total == null || job.steps_total === 0) return <span className="none">–</span>;
  return (
    <span className="num">
      {job.steps_done}/{job.steps_total}
    </span>
  );
}

export function jobColumns(withBench: boolean): Column<Job>[] {
  const all: (Column<Job> | null)[] = [
    {
      id: "state",
      header: i18n._("State"),
      width: "10.5rem",
      cell: (job) => <JobBadge state={job.state} verdict={job.verdict} />,
    },
    {
      id: "kind",
      header: i18n._("Job"),
      width: "minmax(8rem, 1fr)",
      cell: (job) => (
        <Link to="/jobs/$id" params={{ id: job.id }} tabIndex={-1} className="strong">
          {kindWord(job.kind)} <bdi>{job.ecu}</bdi>
        </Link>
      ),
    },
    {
      id: "vin",
      header: i18n._("Vehicle"),
      width: "10.5rem",
      cell: (job) => <bdi className="mono">{job.vin}</bdi>,
    },
    {
      id: "procedure",
      header: i18n._("Procedure"),
      width: "minmax(9.5rem, 1.4fr)",
      cell: (job) => (
        <span title={`${job.procedure.id} ${job.procedure.version}`}>
          <bdi>{job.procedure.id}</bdi> <bdi className="quiet">{job.procedure.version}</bdi>
        </span>
      ),
    },
    withBench
      ? {
          id: "device",
          header: i18n._("Bench"),
          width: "minmax(6rem, 1fr)",
          cell: (job) =>
            job.device == null ? (
              <span className="none">–</span>
            ) : (
              <Link to="/benches/$device" params={{ device: job.device }} tabIndex={-1} className="mono">
                <bdi>{job.device}</bdi>
              </Link>
            ),
        }
      : null,
    {
      id: "progress",
      header: i18n._("Progress"),
      width: "minmax(12rem, 2fr)",
      cell: (job) => <JobProgress job={job} />,
    },
    {
      id: "attempt",
      header: i18n._("Attempt"),
      width: "4.5rem",
      end: true,
      cell: (job) => <span className="num">{job.attempt}</span>,
    },
    {
      id: "created",
      header: i18n._("Created"),
      width: "8.5rem",
      end: true,
      cell: (job) => <Time at={job.created_at} />,
    },
    {
      id: "took",
      header: i18n._("Took"),
      width: "5.5rem",
      end: true,
      cell: (job) => <JobDuration job={job} />,
    },
  ];
  return all.filter((column) => column !== null);
}

/** Weight of a job's row: only what is abnormal has one. */
export function jobWeight(job: Job): string | undefined {
  if (job.verdict === "in_doubt") return "doubt";
  if (job.verdict === "failed") return "alarm";
  return job.verdict === "error" || job.parked != null ? "warning" : undefined;
}

export const jobKey = (job: Job): string => job.id;

export function JobsScreen() {
  const language = useLanguage();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const query = useInfiniteQuery(jobsQuery(search));
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the headers are texts of the language.
  const shown = useMemo(() => jobColumns(true), [language]);
  const change = useCallback(
    (key: keyof JobSearch, value: string) =>
      void navigate({
        replace: key !== "state",
        search: (old) => {
          const { [key]: _, ...rest } = old;
          return value === "" ? rest : { ...rest, [key]: value };
        },
      }),
    [navigate],
  );
  const setVin = useCallback((value: string) => change("vin", value), [change]);
  const setDevice = useCallback((value: string) => change("device", value), [change]);
  return (
    <div className="screen screen-list">
      <header className="screen-head">
        <h1>{i18n._("Jobs")}</h1>
        <p className="screen-sum">
          {query.data === undefined ? (
            ""
          ) : (
            <>
              <RowCount rows={rows.length} hasMore={query.hasNextPage} /> {i18n._("shown")}
            </>
          )}
        </p>
        <div className="filters">
          <ChoiceFilter
            label={i18n._("State")}
            value={search.state ?? ""}
            options={[
              ["", i18n._("all")] as const,
              ...JOB_STATES.map((state) => [state, stateWord(state).text] as const),
            ]}
            onChange={(state) => change("state", state)}
          />
          <TextFilter
            label={i18n._("VIN")}
            value={search.vin ?? ""}
            onChange={setVin}
            read={vinFilter}
            hint={i18n._("3 to 17 characters of a VIN")}
          />
          <TextFilter
            label={i18n._("Bench")}
            value={search.device ?? ""}
            onChange={setDevice}
            read={deviceId}
            hint={i18n._("the bench's id")}
          />
        </div>
      </header>
      <ListBody
        query={query}
        rows={rows}
        empty={{
          filtered: Object.keys(search).length > 0,
          noMatch: i18n._("No job matches this filter."),
          ways: <OtherWays vin={search.vin} />,
          nothingYet: i18n._("No job was ever queued."),
          begin: i18n._(
            "Queue one with POST /api/v1/jobs: kind, vin, ecu and procedure. It appears here at once.",
          ),
        }}
        grid={{
          label: i18n._("Jobs"),
          columns: shown,
          rowKey: jobKey,
          minWidth: 75,
          rowWeight: jobWeight,
          onOpen: (job) => void navigate({ to: "/jobs/$id", params: { id: job.id }, search: {} }),
        }}
      />
    </div>
  );
}

function OtherWays({ vin }: { vin: string | undefined }) {
  return (
    <>
      <p>
        <Link to="/jobs">{i18n._("Show all jobs")}</Link>
      </p>
      {vin === undefined ? null : (
        <p>
          <Link to="/benches" search={{ q: vin }}>
            {i18n._("Look for {text} among the benches", { text: vin })}
          </Link>
        </p>
      )}
    </>
  );
}
