//! The report as a table for a terminal.

use std::fmt::Write as _;

use crate::report::{CheckReport, Report, Verdict};

/// Narrowest and widest column of measurements.
const NARROWEST: usize = 40;
const WIDEST: usize = 120;
/// Columns of the verdict.
const VERDICT: usize = 11;

/// Breaks a text at spaces into lines of at most `width` characters; a longer word stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The table, then what to do about each check that is not met, then one line that sums it up.
///
/// `width` is the number of columns of the terminal.
pub fn render(report: &Report, width: usize) -> String {
    let id = report
        .checks
        .iter()
        .map(|check| check.id.len())
        .max()
        .unwrap_or(0)
        .max("check".len());
    let measured = width.saturating_sub(id + VERDICT + 4).clamp(NARROWEST, WIDEST);
    let mut out = String::new();
    let mut line = |first: &str, second: &str, third: &str| {
        let text = format!("{first:id$}  {second:VERDICT$}  {third}");
        let _ = writeln!(out, "{}", text.trim_end());
    };
    line("check", "verdict", "measured");
    line(&"-".repeat(id), &"-".repeat(VERDICT), &"-".repeat(measured));
    for check in &report.checks {
        let lines = wrap(&check.measured, measured);
        let verdict = check.verdict.to_string();
        line(check.id, &verdict, lines.first().map_or("", String::as_str));
        for more in lines.iter().skip(1) {
            line("", "", more);
        }
    }
    for check in report
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::NotMet)
    {
        out.push_str(&advice(check, width));
    }
    for left in &report.left_behind {
        let _ = writeln!(out, "\nCould not be taken away: {left}");
    }
    let _ = writeln!(out, "\n{}", wrap(&sum(report), width.max(NARROWEST)).join("\n"));
    out
}

fn advice(check: &CheckReport, width: usize) -> String {
    let mut out = format!("\n{} is not met\n", check.id);
    let mut part = |name: &str, text: &str| {
        for (number, line) in wrap(text, width.saturating_sub(14).max(NARROWEST))
            .iter()
            .enumerate()
        {
            let name = if number == 0 { name } else { "" };
            let _ = writeln!(out, "  {name:10}  {line}");
        }
    };
    part("rely on", check.relies_on);
    part("why", check.why);
    for setting in check.settings {
        part(setting.broker, setting.setting);
    }
    out
}

fn sum(report: &Report) -> String {
    let count = |verdict| report.count(verdict);
    let not_checked = match count(Verdict::NotChecked) {
        0 => String::new(),
        some => format!(", {some} not checked"),
    };
    let all = if report.is_met() {
        "Everything required that was checked is met"
    } else {
        "Not everything required is met"
    };
    format!(
        "{}: {} ok, {} borne, {} not met{not_checked}. {all}.",
        report.broker,
        count(Verdict::Ok),
        count(Verdict::Borne),
        count(Verdict::NotMet),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::Findings;

    fn report() -> Report {
        let mut findings = Findings::default();
        findings.judge("limits.qos", true, "up to QoS 2");
        findings.judge(
            "queue.offline",
            false,
            "10000 published for a session that is away, 1000 arrived, 9000 acknowledged and dropped",
        );
        findings.judge("takeover.will", false, "sent");
        findings.note(
            "restart.orderly",
            Verdict::NotChecked,
            "--restart-command was not given",
        );
        Report {
            broker: "mqtt://127.0.0.1:1883".to_owned(),
            version: "0",
            checks: findings.into_reports(Duration::ZERO),
            left_behind: Vec::new(),
        }
    }

    #[test]
    fn the_table_names_each_check_and_what_helps_where_it_is_not_met() {
        let text = render(&report(), 80);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for part in [
            "limits.qos",
            "not met",
            "borne",
            "not checked",
            "max_queued_messages 100000",
            "1 not met, 1 not",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("max_qos"), "a met check needs no advice:\n{text}");
    }

    #[test]
    fn borne_and_not_checked_do_not_fail_a_run_but_not_met_does() {
        let mut report = report();
        assert!(!report.is_met());
        report.checks.retain(|check| check.verdict != Verdict::NotMet);
        assert!(report.is_met());
        assert_eq!(report.verdict("takeover.will"), Some(Verdict::Borne));
        assert_eq!(report.verdict("limits.retain"), None);
    }

    #[test]
    fn a_long_word_stays_whole() {
        assert_eq!(wrap("a bb cccccc d", 4), ["a bb", "cccccc", "d"]);
        assert_eq!(wrap("", 4), Vec::<String>::new());
    }
}
