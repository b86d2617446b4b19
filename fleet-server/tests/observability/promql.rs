//! Which metrics and labels a query of Prometheus names.
//!
//! Not a parser: Prometheus itself says whether a query can be read. This finds every name in it, so that a
//! misspelt one is not taken for a metric that has no members yet.

use std::collections::{BTreeMap, BTreeSet};

/// Aggregations, which may be followed by `by` instead of a parenthesis.
const AGGREGATIONS: [&str; 12] = [
    "sum",
    "min",
    "max",
    "avg",
    "group",
    "stddev",
    "stdvar",
    "count",
    "count_values",
    "bottomk",
    "topk",
    "quantile",
];
const OPERATORS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "atan2"];
const LABEL_LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// A metric in a query with what its braces ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    /// Label, operator, value.
    pub(crate) matchers: Vec<(String, String, String)>,
}

/// What a query names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) selectors: Vec<Selector>,
    /// Labels in `by`, `on` and the like.
    pub(crate) grouping: BTreeSet<String>,
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn peek(&mut self) -> Option<char> {
        self.take_while(char::is_whitespace);
        self.rest.chars().next()
    }

    fn skip(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    fn word(&mut self) -> &'a str {
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    }

    /// A quoted text, without its quotes. None of our queries escapes anything.
    fn text(&mut self, quote: char) -> &'a str {
        self.skip();
        let text = self.take_while(|c| c != quote);
        self.skip();
        text
    }

    /// The labels in parentheses.
    fn labels(&mut self) -> Vec<String> {
        let mut labels = Vec::new();
        if self.peek() != Some('(') {
            return labels;
        }
        self.skip();
        while let Some(next) = self.peek() {
            match next {
                ')' => {
                    self.skip();
                    break;
                }
                c if c.is_ascii_alphabetic() || c == '_' => labels.push(self.word().to_owned()),
                _ => self.skip(),
            }
        }
        labels
    }

    /// What the braces ask for.
    fn matchers(&mut self) -> Vec<(String, String, String)> {
        let mut matchers = Vec::new();
        if self.peek() != Some('{') {
            return matchers;
        }
        self.skip();
        while let Some(next) = self.peek() {
            match next {
                '}' => {
                    self.skip();
                    break;
                }
                c if c.is_ascii_alphabetic() || c == '_' => {
                    let label = self.word().to_owned();
                    self.peek();
                    let operator = self.take_while(|c| "=!~".contains(c)).to_owned();
                    let value = match self.peek() {
                        Some(quote @ ('"' | '\'')) => self.text(quote).to_owned(),
                        _ => String::new(),
                    };
                    matchers.push((label, operator, value));
                }
                _ => self.skip(),
            }
        }
        matchers
    }
}

/// Every metric and label of a query.
pub(crate) fn names(query: &str) -> Names {
    let mut names = Names::default();
    let mut reader = Reader { rest: query };
    while let Some(next) = reader.peek() {
        match next {
            '"' | '\'' => {
                reader.text(next);
            }
            '[' => {
                reader.take_while(|c| c != ']');
            }
            c if c.is_ascii_digit() => {
                reader.take_while(|c| c.is_ascii_alphanumeric() || c == '.');
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let word = reader.word();
                if LABEL_LISTS.contains(&word) {
                    names.grouping.extend(reader.labels());
                } else if !OPERATORS.contains(&word)
                    && !AGGREGATIONS.contains(&word)
                    && reader.peek() != Some('(')
                {
                    names.selectors.push(Selector {
                        metric: word.to_owned(),
                        matchers: reader.matchers(),
                    });
                }
            }
            _ => reader.skip(),
        }
    }
    names
}

/// The members of each metric that really exist, by their labels.
#[derive(Debug, Default)]
pub(crate) struct Existing(pub(crate) BTreeMap<String, Vec<BTreeMap<String, String>>>);

impl Existing {
    /// What a query names that does not exist. Empty: all of it does.
    pub(crate) fn faults(&self, query: &str) -> Vec<String> {
        let names = names(query);
        let mut faults = Vec::new();
        if names.selectors.is_empty() {
            faults.push("it names no metric".to_owned());
        }
        let mut known: BTreeSet<&str> = BTreeSet::new();
        for selector in &names.selectors {
            let Some(members) = self.0.get(&selector.metric) else {
                faults.push(format!("there is no metric {}", selector.metric));
                continue;
            };
            known.extend(
                members
                    .iter()
                    .flat_map(|member| member.keys().map(String::as_str)),
            );
            for (label, _, value) in &selector.matchers {
                let metric = &selector.metric;
                if !members.iter().any(|member| member.contains_key(label)) {
                    faults.push(format!("{metric} has no label {label}"));
                    continue;
                }
                for wanted in value.split('|').filter(|wanted| *wanted != ".*") {
                    if !members
                        .iter()
                        .any(|member| member.get(label).is_some_and(|is| is == wanted))
                    {
                        faults.push(format!("{metric} is never there with {label}={wanted:?}"));
                    }
                }
            }
        }
        for label in &names.grouping {
            if !known.contains(label.as_str()) {
                faults.push(format!("no metric of it has the label {label}"));
            }
        }
        faults
    }
}

#[test]
fn every_name_of_a_query_is_found() {
    let found = names(
        r#"histogram_quantile(0.99, sum by (le, kind) (rate(a_bucket{x="1",y=~"b|c"}[5m]))) > 1 and on () max(d) == 0"#,
    );
    let text = |text: &str| text.to_owned();
    assert_eq!(
        found.selectors,
        vec![
            Selector {
                metric: text("a_bucket"),
                matchers: vec![
                    (text("x"), text("="), text("1")),
                    (text("y"), text("=~"), text("b|c"))
                ],
            },
            Selector {
                metric: text("d"),
                matchers: vec![]
            },
        ]
    );
    assert_eq!(found.grouping, BTreeSet::from([text("kind"), text("le")]));
}

#[test]
fn a_misspelt_metric_label_or_value_is_a_fault() {
    let member = BTreeMap::from([("state".to_owned(), "ok".to_owned())]);
    let existing = Existing(BTreeMap::from([("vds_state".to_owned(), vec![member])]));
    assert_eq!(
        existing.faults(r#"sum by (state) (vds_state{state=~"ok"}) > 0"#),
        Vec::<String>::new()
    );
    for (query, fault) in [
        (r"sum(vds_stat)", "there is no metric vds_stat"),
        (r"vds_state and vsd_state", "there is no metric vsd_state"),
        (r#"vds_state{stat="ok"}"#, "vds_state has no label stat"),
        (
            r#"vds_state{state=~"ok|okay"}"#,
            r#"vds_state is never there with state="okay""#,
        ),
        (r"sum by (stat) (vds_state)", "no metric of it has the label stat"),
        (r"vector(1)", "it names no metric"),
    ] {
        assert_eq!(existing.faults(query), vec![fault.to_owned()], "{query}");
    }
}
