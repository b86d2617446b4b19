import { i18n } from "@lingui/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useCallback, useMemo } from "react";
import { benchesQuery } from "../api/queries";
import type { Bench } from "../api/types";
import { numberText } from "../app/format";
import { vinFilter } from "../app/search";
import { useLanguage } from "../app/use-language";
import { kindWord } from "../app/words";
import { useProgress } from "../live/progress";
import type { Column } from "../widgets/grid";
import { ListBody, RowCount } from "../widgets/list";
import { JobBadge } from "../widgets/mark";
import { StepProgress } from "../widgets/progress";
import { Age } from "../widgets/time";
import { BenchStateBadge, benchWeight } from "./bench-state";
import { ChoiceFilter, TextFilter } from "./filters";

const route = getRouteApi("/benches");

/** What the bench does now: its first open job with the live step. */
function CurrentJob({ bench }: { bench: Bench }) {
  const job = bench.open_jobs[0];
  const live = useProgress(job?.id);
  if (job === undefined) return <span className="none">{i18n._("idle")}</span>;
  return (
    <span className="now">
      <JobBadge state={job.state} verdict={job.verdict} />
      <Link to="/jobs/$id" params={{ id: job.id }} tabIndex={-1} className="now-job">
        {kindWord(job.kind)} <bdi>{job.ecu}</bdi>
      </Link>
      {live === null ? null : <StepProgress live={live} compact />}
      {bench.open_jobs.length > 1 ? <span className="more">+{bench.open_jobs.length - 1}</span> : null}
    </span>
  );
}

function columns(): Column<Bench>[] {
  return [
    {
      id: "state",
      header: i18n._("State"),
      width: "7.5rem",
      cell: (bench) => <BenchStateBadge bench={bench} />,
    },
    {
      id: "device",
      header: i18n._("Bench"),
      width: "minmax(7rem, 1fr)",
      cell: (bench) => (
        <Link to="/benches/$device" params={{ device: bench.device }} tabIndex={-1} className="strong mono">
          <bdi>{bench.device}</bdi>
        </Link>
      ),
    },
    {
      id: "station",
      header: i18n._("Station"),
      width: "minmax(5rem, 1fr)",
      cell: (bench) => <bdi>{bench.station ?? "–"}</bdi>,
    },
    {
      id: "vin",
      header: i18n._("Vehicle"),
      width: "10.5rem",
      cell: (bench) => <bdi className="mono">{bench.vin ?? "–"}</bdi>,
    },
    {
      id: "now",
      header: i18n._("Now"),
      width: "minmax(28rem, 4fr)",
      cell: (bench) => <CurrentJob bench={bench} />,
    },
    {
      id: "spool",
      header: i18n._("To deliver"),
      width: "6rem",
      end: true,
      cell: (bench) => (
        <span className="num" title={i18n._("events that the bench holds and the server has not stored")}>
          {numberText(bench.spool.outstanding)}
        </span>
      ),
    },
    {
      id: "version",
      header: i18n._("Agent"),
      width: "5rem",
      cell: (bench) => <bdi className="num">{bench.agent_version ?? "–"}</bdi>,
    },
    {
      id: "seen",
      header: i18n._("Heard"),
      width: "6.5rem",
      end: true,
      cell: (bench) => <Age at={bench.last_seen} />,
    },
  ];
}

const rowKey = (bench: Bench): string => bench.device;

export function BenchesScreen() {
  const language = useLanguage();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const query = useInfiniteQuery(benchesQuery(search));
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the headers are texts of the language.
  const shown = useMemo(columns, [language]);
  const setText = useCallback(
    (q: string) =>
      void navigate({
        replace: true,
        search: (old) => ({ ...(old.state && { state: old.state }), ...(q && { q }) }),
      }),
    [navigate],
  );
  const offline = rows.filter((bench) => !bench.online).length;
  return (
    <div className="screen screen-list">
      <header className="screen-head">
        <h1>{i18n._("Benches")}</h1>
        <p className="screen-sum">
          {query.data === undefined ? (
            ""
          ) : (
            <>
              <RowCount rows={rows.length} hasMore={query.hasNextPage} /> {i18n._("shown")}
              {offline > 0 ? (
                <span className="sum-warning"> · {i18n._("{count} offline", { count: offline })}</span>
              ) : null}
            </>
          )}
        </p>
        <div className="filters">
          <ChoiceFilter
            label={i18n._("State")}
            value={search.state ?? ""}
            options={[
              ["", i18n._("all")],
              ["online", i18n._("online")],
              ["offline", i18n._("offline")],
            ]}
            onChange={(state) =>
              void navigate({
                search: (old) => ({
                  ...(old.q && { q: old.q }),
                  ...(state === "online" || state === "offline" ? { state } : {}),
                }),
              })
            }
          />
          <TextFilter label={i18n._("Bench, station or VIN")} value={search.q ?? ""} onChange={setText} />
        </div>
      </header>
      <ListBody
        query={query}
        rows={rows}
        empty={{
          filtered: search.state !== undefined || search.q !== undefined,
          noMatch: i18n._("No bench matches this filter."),
          ways: <OtherWays q={search.q} />,
          nothingYet: i18n._("No bench has reported yet."),
          begin: i18n._(
            "Start a device-agent whose broker.url and plant point to this server. It appears here at its first sync.",
          ),
        }}
        grid={{
          label: i18n._("Benches"),
          columns: shown,
          rowKey,
          minWidth: 74,
          rowWeight: benchWeight,
          onOpen: (bench) => void navigate({ to: "/benches/$device", params: { device: bench.device } }),
        }}
      />
    </div>
  );
}

function OtherWays({ q }: { q: string | undefined }) {
  const vin = vinFilter(q ?? "");
  return (
    <>
      <p>
        <Link to="/benches">{i18n._("Show all benches")}</Link>
      </p>
      {vin === undefined ? null : (
        <p>
          <Link to="/jobs" search={{ vin }}>
            {i18n._("Look for {text} among the jobs", { text: vin })}
          </Link>
        </p>
      )}
    </>
  );
}
