import { useQuery } from "@tanstack/react-query";
import { statusQuery } from "../api/queries";
import { ageText, timeOf, timeText } from "../app/format";
import { serverNow } from "../app/server-time";
import { useNow } from "../live/provider";

/** Renders again when the plant's zone becomes known: a time may be there before it. */
function usePlantZone(): void {
  useQuery({ ...statusQuery, select: (status) => status.time_zone, enabled: false });
}

/** A time of the API in plant time; UTC on hover. */
export function Time({ at }: { at: string | null | undefined }) {
  usePlantZone();
  const time = timeOf(at);
  if (time === null || at == null) return <span className="none">–</span>;
  return (
    <time dateTime={at} title={new Date(time).toISOString().replace("T", " ").replace("Z", " UTC")}>
      {timeText(time, serverNow())}
    </time>
  );
}

/** How long ago something was, counting. */
export function Age({ at }: { at: string | null | undefined }) {
  const now = useNow(serverNow);
  const time = timeOf(at);
  if (time === null || at == null) return <span className="none">–</span>;
  return (
    <time dateTime={at} title={new Date(time).toISOString().replace("T", " ").replace("Z", " UTC")}>
      {ageText(now - time)}
    </time>
  );
}
