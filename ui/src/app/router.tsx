import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
} from "@tanstack/react-router";
import { BenchesScreen } from "../screens/benches";
import { NotFound, PageFault } from "./fallbacks";
import { Frame } from "./frame";
import { benchSearch, jobSearch, parseSearch, runSearch, spoolSearch, stringifySearch } from "./search";

const rootRoute = createRootRouteWithContext<{ client: QueryClient }>()({
  component: Frame,
  notFoundComponent: NotFound,
});

const indexRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: "/benches" });
  },
});

export const benchesRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/benches",
  validateSearch: benchSearch,
  component: BenchesScreen,
});

export const benchRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/benches/$device",
  validateSearch: spoolSearch,
  component: lazyRouteComponent(() => import("../screens/bench"), "BenchScreen"),
});

export const jobsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/jobs",
  validateSearch: jobSearch,
  component: lazyRouteComponent(() => import("../screens/jobs"), "JobsScreen"),
});

export const runRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/jobs/$id",
  validateSearch: runSearch,
  component: lazyRouteComponent(() => import("../screens/run"), "RunScreen"),
});

export const deliveryRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/delivery",
  component: lazyRouteComponent(() => import("../screens/delivery"), "DeliveryScreen"),
});

export const systemRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/system",
  component: lazyRouteComponent(() => import("../screens/system"), "SystemScreen"),
});

export const runbookRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/runbook",
  component: lazyRouteComponent(() => import("../screens/runbook"), "RunbookScreen"),
});

export function makeRouter(client: QueryClient) {
  return createRouter({
    routeTree: rootRoute.addChildren([
      indexRoute,
      benchesRoute,
      benchRoute,
      jobsRoute,
      runRoute,
      deliveryRoute,
      systemRoute,
      runbookRoute,
    ]),
    context: { client },
    parseSearch,
    stringifySearch,
    defaultErrorComponent: PageFault,
    defaultPreload: "intent",
    scrollRestoration: false,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
