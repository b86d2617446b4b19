import { i18n } from "@lingui/core";
import {
  Button,
  Dialog,
  DialogTrigger,
  Label,
  Popover,
  Radio,
  RadioGroup,
  Switch,
} from "react-aria-components";
import { type Locale, setPreferences, type Theme, usePreferences } from "./preferences";

/** Theme, language and single keys of this browser. */
export function DisplaySettings() {
  const { theme, locale, shortcuts } = usePreferences();
  return (
    <DialogTrigger>
      <Button className="button rail-button">{i18n._("Display")}</Button>
      <Popover className="popover" placement="top start">
        <Dialog className="settings" aria-label={i18n._("Display")}>
          <RadioGroup value={theme} onChange={(value) => setPreferences({ theme: value as Theme })}>
            <Label>{i18n._("Theme")}</Label>
            <div className="choices">
              <Radio value="system">{i18n._("System")}</Radio>
              <Radio value="light">{i18n._("Light")}</Radio>
              <Radio value="dark">{i18n._("Dark")}</Radio>
            </div>
          </RadioGroup>
          <RadioGroup value={locale} onChange={(value) => setPreferences({ locale: value as Locale })}>
            <Label>{i18n._("Language")}</Label>
            <div className="choices">
              <Radio value="en">English</Radio>
              <Radio value="de">Deutsch</Radio>
            </div>
          </RadioGroup>
          <Switch isSelected={shortcuts} onChange={(on) => setPreferences({ shortcuts: on })}>
            <span className="switch" aria-hidden="true" />
            {i18n._("Single-key shortcuts (/ finds a VIN)")}
          </Switch>
        </Dialog>
      </Popover>
    </DialogTrigger>
  );
}
