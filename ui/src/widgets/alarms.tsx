import { i18n } from "@lingui/core";
import type { UseInfiniteQueryResult } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Button } from "react-aria-components";
import type { Alarm } from "../api/types";
import { alarmAnchor, alarmNext, alarmWord } from "../app/alarms";
import { numberText } from "../app/format";
import { serverNow } from "../app/server-time";
import { Badge, WEIGHT_SHAPE } from "./mark";
import { Empty, Failure, Skeleton } from "./states";
import { Time } from "./time";

/** Alarms, last raised first, each with what it means, where, and what to do. */
export function Alarms<D>({
  query,
  alarms,
  none,
}: {
  query: UseInfiniteQueryResult<D>;
  alarms: readonly Alarm[];
  none: string;
}) {
  if (query.data === undefined) {
    if (query.isError) return <Failure error={query.error} retry={() => void query.refetch()} />;
    return <Skeleton rows={3} />;
  }
  if (alarms.length === 0) {
    return (
      <Empty title={none}>
        {i18n._("What a person should know about the delivery appears here, with what to do.")}
      </Empty>
    );
  }
  return (
    <>
      {query.isRefetchError ? (
        <p className="callout" data-weight="warning">
          {i18n._("Not current: the last request failed.")}
        </p>
      ) : null}
      <AlarmList alarms={alarms} />
      {query.hasNextPage ? (
        <div className="panel-more">
          <Button
            className="button"
            isDisabled={query.isFetchingNextPage}
            onPress={() => void query.fetchNextPage()}
          >
            {i18n._("Show older ones")}
          </Button>
        </div>
      ) : null}
    </>
  );
}

export function AlarmList({ alarms }: { alarms: readonly Alarm[] }) {
  return (
    <ul className="alarm-list">
      {alarms.map((alarm) => (
        <AlarmItem key={alarm.id} alarm={alarm} />
      ))}
    </ul>
  );
}

function AlarmItem({ alarm }: { alarm: Alarm }) {
  const word = alarmWord(alarm, serverNow());
  const next = alarmNext(alarm.code);
  return (
    <li className="alarm">
      <Badge word={word} shape={WEIGHT_SHAPE[word.weight]} title={alarm.code} />
      <div className="alarm-text">
        {next === null ? null : <p>{next}</p>}
        <p className="quiet">
          {alarm.device == null ? null : (
            <>
              <Link to="/benches/$device" params={{ device: alarm.device }} className="mono">
                <bdi>{alarm.device}</bdi>
              </Link>
              {": "}
            </>
          )}
          <bdi>{alarm.detail}</bdi>
        </p>
      </div>
      <div className="alarm-when">
        <Time at={alarm.last_at} />
        {alarm.count > 1 ? (
          <div className="quiet">
            {i18n._("{count} times since", { count: numberText(alarm.count) })} <Time at={alarm.raised_at} />
          </div>
        ) : null}
      </div>
      <Link to="/runbook" hash={alarmAnchor(alarm.code)}>
        {i18n._("What to do")}
      </Link>
    </li>
  );
}
