import { useLingui } from "@lingui/react";

/** Renders the caller again when the language changes; texts themselves come from `i18n._`. */
export function useLanguage(): string {
  return useLingui().i18n.locale;
}
