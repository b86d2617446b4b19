import { i18n } from "@lingui/core";
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { useEffect, useRef } from "react";
import { I18nProvider } from "react-aria-components";
import { statusQuery } from "../api/queries";
import { useStale } from "../live/provider";
import { Mark } from "../widgets/mark";
import { Clock, ConnectionStatus } from "./connection-status";
import { DisplaySettings } from "./display-settings";
import { setPlantZone } from "./format";
import { Notices } from "./notices";
import { useLanguage } from "./use-language";
import { VinSearch } from "./vin-search";

const MAIN = "main";

/** What stays around every screen: navigation, search, the age of the data, the plant's time. */
export function Frame() {
  const language = useLanguage();
  const stale = useStale();
  const { data: status } = useQuery(statusQuery);
  setPlantZone(status?.time_zone);
  useTitleAndFocus(language);
  return (
    <I18nProvider locale={language === "de" ? "de-DE" : "en-GB"}>
      <a className="skip" href={`#${MAIN}`}>
        {i18n._("Skip to content")}
      </a>
      <div className="frame">
        <nav className="rail" aria-label={i18n._("Main")}>
          <Link to="/benches" className="brand" aria-label={i18n._("VDS Fleet, to the benches")}>
            <img src="/icon.svg" alt="" width="24" height="24" />
            <span>VDS Fleet</span>
          </Link>
          <ul>
            <li>
              <Link to="/benches" className="rail-link">
                {i18n._("Benches")}
              </Link>
            </li>
            <li>
              <Link to="/jobs" className="rail-link">
                {i18n._("Jobs")}
              </Link>
            </li>
            <li>
              <Link to="/delivery" className="rail-link">
                {i18n._("Delivery")}
              </Link>
            </li>
            <li>
              <Link to="/system" className="rail-link">
                {i18n._("System")}
              </Link>
            </li>
          </ul>
          <div className="rail-foot">
            <DisplaySettings />
            <span className="rail-version">{status === undefined ? "" : status.version}</span>
          </div>
        </nav>
        <header className="top">
          <span className="plant">
            <span className="plant-label">{i18n._("Plant")}</span>
            <bdi>{status === undefined ? "–" : status.plant}</bdi>
          </span>
          <VinSearch />
          <ConnectionStatus />
          <Clock />
        </header>
        <Notices />
        <main id={MAIN} tabIndex={-1} data-stale={stale}>
          {stale ? (
            <p className="stale-note">
              <Mark shape="clock" /> {i18n._("Old data: what is shown may have changed since.")}
            </p>
          ) : null}
          <Outlet />
        </main>
      </div>
    </I18nProvider>
  );
}

function screenName(screen: string | undefined): string {
  switch (screen) {
    case "jobs":
      return i18n._("Jobs");
    case "delivery":
      return i18n._("Delivery");
    case "system":
      return i18n._("System");
    case "runbook":
      return i18n._("Runbook");
    default:
      return i18n._("Benches");
  }
}

/** Names the page after its screen, and moves the focus to a new screen so that a screen reader says it. */
function useTitleAndFocus(language: string): void {
  const path = useRouterState({ select: (state) => state.location.pathname });
  const shown = useRef(path);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the title also changes with the language.
  useEffect(() => {
    const [, screen, id] = path.split("/");
    const name = screenName(screen);
    document.title =
      id === undefined ? `${name} · VDS Fleet` : `${decodeURIComponent(id)} · ${name} · VDS Fleet`;
    if (shown.current === path) return;
    shown.current = path;
    document.getElementById(MAIN)?.focus({ preventScroll: true });
  }, [path, language]);
}
