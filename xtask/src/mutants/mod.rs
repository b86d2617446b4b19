//! `cargo xtask mutants`: breaks a rule of delivery in a copy of the tree and sees whether it is noticed.
//!
//! A test that can't fail proves nothing. Each patch of `mutants/` takes one rule away from the shipped code, and the
//! proof that the table names (a simulation, or real processes that are killed) must end with a judgement that says so.
//! There is no switch in the product for it.

mod proof;
mod table;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::workspace::{root, target_dir};
use proof::{Outcome, Place};
use table::{Mutant, Proof, Table};
use tree::Tree;

/// What is asked for.
pub(crate) struct Options<'a> {
    /// Mutants by name; none: all.
    pub(crate) names: &'a [String],
    /// Only say what there is.
    pub(crate) list: bool,
    /// Only check that every patch fits the code.
    pub(crate) check: bool,
    /// Where the report goes, as JSON.
    pub(crate) report: Option<&'a Path>,
}

/// How a mutant fared.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    rule: String,
    breaks: String,
    proof: String,
    /// `found`, `survived` or `error`.
    outcome: &'static str,
    /// The judgement, or what went wrong.
    detail: String,
    seconds: f64,
}

/// Folder of patches and table.
fn folder() -> PathBuf {
    root().join("mutants")
}

/// Runs the command: success when every mutant was found.
pub(crate) fn run(options: &Options<'_>) -> anyhow::Result<ExitCode> {
    let file = folder().join("mutants.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let table = Table::parse(&text).with_context(|| file.display().to_string())?;
    let mutants = table.select(options.names)?;
    if options.list {
        for mutant in &mutants {
            println!("{:<26} {:<8} {}", mutant.name, mutant.proof, mutant.breaks);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let bench = Bench::new()?;
    bench.all_fit(&mutants)?;
    if options.check {
        println!("{} patches fit the code", mutants.len());
        return Ok(ExitCode::SUCCESS);
    }
    bench.shipped_code_passes(&table, &mutants)?;
    let mut rows = Vec::new();
    for (number, mutant) in mutants.iter().enumerate() {
        println!(
            "[{}/{}] {}: {} …",
            number + 1,
            mutants.len(),
            mutant.name,
            mutant.breaks
        );
        let row = bench.try_mutant(mutant, proof_of(&table, mutant)?)?;
        println!(
            "    {} in {:.0} s: {}",
            row.outcome,
            row.seconds,
            first_line(&row.detail)
        );
        rows.push(row);
    }
    bench.tree.refresh()?;
    if let Some(path) = options.report {
        let json = serde_json::to_vec_pretty(&rows).context("the report can't be written as JSON")?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(close(&rows))
}

fn proof_of<'a>(table: &'a Table, mutant: &Mutant) -> anyhow::Result<&'a Proof> {
    table
        .proof
        .get(&mutant.proof)
        .with_context(|| format!("there is no proof {:?}", mutant.proof))
}

fn first_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect()
}

/// The copy, and where things are built.
struct Bench {
    tree: Tree,
    own_target: PathBuf,
    logs: PathBuf,
}

impl Bench {
    fn new() -> anyhow::Result<Self> {
        let own = target_dir().join("mutants");
        let (tree, logs) = (own.join("tree"), own.join("logs"));
        for folder in [&tree, &logs] {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let tree = Tree::new(&root(), &tree);
        tree.refresh()?;
        Ok(Self {
            tree,
            own_target: own.join("target"),
            logs,
        })
    }

    fn patch(mutant: &Mutant) -> PathBuf {
        folder().join(format!("{}.patch", mutant.name))
    }

    /// All of them before the first takes its minutes.
    fn all_fit(&self, mutants: &[Mutant]) -> anyhow::Result<()> {
        let wrong: Vec<_> = mutants
            .iter()
            .filter_map(|mutant| self.tree.check(&Self::patch(mutant)).err())
            .map(|error| format!("{error:#}"))
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        bail!("{}", wrong.join("\n"))
    }

    /// Test programs have names of their own and share the folder of what is built. Programs have one name: a broken
    /// one must not lie where the shipped one is looked for.
    fn place(&self, proof: &Proof) -> anyhow::Result<PathBuf> {
        if !proof.programs {
            return Ok(target_dir());
        }
        if !self.own_target.exists() {
            println!("taking over what is built, so that only our own crates are built again …");
            tree::seed_target(&target_dir(), &self.own_target)?;
        }
        Ok(self.own_target.clone())
    }

    fn prove(
        &self,
        proof: &Proof,
        env: &BTreeMap<String, String>,
        expect: &[String],
        name: &str,
    ) -> anyhow::Result<Outcome> {
        let target = self.place(proof)?;
        let place = Place {
            tree: self.tree.root(),
            target: &target,
            logs: &self.logs,
        };
        proof::run(proof, env, expect, name, &place)
    }

    /// A proof that fails anyway finds everything.
    fn shipped_code_passes(&self, table: &Table, mutants: &[Mutant]) -> anyhow::Result<()> {
        for (name, proof) in &table.proof {
            let mut with = mutants
                .iter()
                .filter(|mutant| mutant.proof == *name)
                .map(|mutant| &mutant.env);
            let Some(first) = with.next() else { continue };
            let mut envs = vec![first];
            for env in with {
                if !envs.contains(&env) {
                    envs.push(env);
                }
            }
            for env in envs {
                println!("{name}: {}, on the shipped code …", proof.about);
                let begun = Instant::now();
                match self.prove(proof, env, &[], &format!("shipped-{name}"))? {
                    Outcome::Passed => println!("    passed in {:.0} s", begun.elapsed().as_secs_f64()),
                    Outcome::Found(why) | Outcome::Error(why) => {
                        bail!("the shipped code does not pass {name}, so it can show nothing: {why}")
                    }
                }
            }
        }
        Ok(())
    }

    fn try_mutant(&self, mutant: &Mutant, proof: &Proof) -> anyhow::Result<Row> {
        let begun = Instant::now();
        self.tree.refresh()?;
        self.tree.apply(&Self::patch(mutant))?;
        let outcome = self.prove(proof, &mutant.env, &mutant.expect, &mutant.name)?;
        Ok(row(mutant, outcome, begun.elapsed()))
    }
}

fn row(mutant: &Mutant, outcome: Outcome, took: Duration) -> Row {
    let (outcome, detail) = match outcome {
        Outcome::Found(judgement) => ("found", judgement),
        Outcome::Passed => ("survived", "nobody noticed".to_owned()),
        Outcome::Error(why) => ("error", why),
    };
    Row {
        name: mutant.name.clone(),
        rule: mutant.rule.clone(),
        breaks: mutant.breaks.clone(),
        proof: mutant.proof.clone(),
        outcome,
        detail,
        seconds: took.as_secs_f64(),
    }
}

/// The table of results.
fn close(rows: &[Row]) -> ExitCode {
    println!(
        "\n{:<26} {:<8} {:<9} {:>7}  judgement",
        "mutant", "proof", "outcome", "seconds"
    );
    for row in rows {
        println!(
            "{:<26} {:<8} {:<9} {:>7.0}  {}",
            row.name,
            row.proof,
            row.outcome,
            row.seconds,
            first_line(&row.detail)
        );
    }
    let found = rows.iter().filter(|row| row.outcome == "found").count();
    println!("{found} of {} mutants found", rows.len());
    if found == rows.len() {
        ExitCode::SUCCESS
    } else {
        for row in rows.iter().filter(|row| row.outcome != "found") {
            println!("\n{} ({}): {}\n{}", row.name, row.rule, row.outcome, row.detail);
        }
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant() -> Mutant {
        Mutant {
            name: "no-fsync".to_owned(),
            rule: "1".to_owned(),
            breaks: "no sync".to_owned(),
            proof: "sim".to_owned(),
            expect: vec!["lost".to_owned()],
            env: BTreeMap::new(),
        }
    }

    #[test]
    fn one_survivor_or_error_fails_the_command() {
        let found = || row(&mutant(), Outcome::Found("lost".to_owned()), Duration::ZERO);
        assert_eq!(close(&[found()]), ExitCode::SUCCESS);
        for outcome in [Outcome::Passed, Outcome::Error("it does not compile".to_owned())] {
            assert_eq!(
                close(&[found(), row(&mutant(), outcome, Duration::ZERO)]),
                ExitCode::FAILURE
            );
        }
    }
}
