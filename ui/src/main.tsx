import { i18n } from "@lingui/core";
import { I18nProvider } from "@lingui/react";
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { ApiProblem } from "./api/problem";
import { activateLocale } from "./app/locale";
import { onPreferences, preferences } from "./app/preferences";
import { makeRouter } from "./app/router";
import { createLive, LiveProvider } from "./live/provider";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/frame.css";
import "./styles/widgets.css";
import "./styles/grid.css";
import "./styles/screens.css";
import "./styles/system.css";
import "./styles/ledger.css";

/** An answer of the server is final; only silence and its own faults are worth another attempt. */
function worthRetry(failures: number, error: Error): boolean {
  if (error instanceof ApiProblem && error.status >= 400 && error.status < 500) return false;
  return failures < 1;
}

function applyTheme(): void {
  const { theme } = preferences();
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

const client = new QueryClient({
  queryCache: new QueryCache(),
  mutationCache: new MutationCache(),
  defaultOptions: {
    // The stream keeps the cache current; fetching again is for what it could not know.
    queries: { staleTime: 30_000, retry: worthRetry, retryDelay: 800, networkMode: "always" },
    mutations: { networkMode: "always" },
  },
});
const router = makeRouter(client);
const live = createLive(client);

onPreferences(() => {
  applyTheme();
  void activateLocale(preferences().locale);
});
applyTheme();

const root = document.getElementById("root");
if (root === null) throw new Error("the page has no root element");
void activateLocale(preferences().locale).then(() => {
  createRoot(root).render(
    <StrictMode>
      <I18nProvider i18n={i18n}>
        <QueryClientProvider client={client}>
          <LiveProvider live={live}>
            <RouterProvider router={router} />
          </LiveProvider>
        </QueryClientProvider>
      </I18nProvider>
    </StrictMode>,
  );
});
