import { i18n } from "@lingui/core";
import { messages as english } from "../locales/en/messages.po";
import type { Locale } from "./preferences";

/** Switches the page's language. German is a chunk of its own. */
export async function activateLocale(locale: Locale): Promise<void> {
  const messages = locale === "de" ? (await import("../locales/de/messages.po")).messages : english;
  i18n.loadAndActivate({ locale, messages });
  document.documentElement.lang = locale;
}
