//! `lifeboat plan cost`: what downtime and protection cost, and what is worth it.
//!
//! Promise: every input is read and judged before anything is measured or written. What doesn't answer is unknown, and no failure.

mod bars;
mod document;
mod files;
mod measure;
mod svg;
mod tables;
#[cfg(test)]
mod tests;
pub(crate) mod words;

use crate::cli::{CostArguments, Global};
use crate::commands::load_config;
use crate::config::{Config, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, is_unicode_wanted};
use crate::{evidence, rooms};
use jiff::Zoned;
use lifeboat_plan::cost::{Analysis, Assumptions, Inputs, PriceBook, SHIPPED_ASSUMPTIONS, SHIPPED_PRICE_BOOK, analyse};
use lifeboat_plan::run::Run;
use serde_json::json;
use std::path::{Path, PathBuf};

pub fn run(global: &Global, arguments: &CostArguments, output: &Output) -> Result<(), Failure> {
    let wanted = [
        (&arguments.write_price_book, SHIPPED_PRICE_BOOK, "--price-book"),
        (&arguments.write_assumptions, SHIPPED_ASSUMPTIONS, "--assumptions"),
    ];
    let wanted: Vec<_> =
        wanted.into_iter().filter_map(|(path, text, option)| Some((path.as_deref()?, text, option))).collect();
    if !wanted.is_empty() {
        return write_templates(&wanted, output);
    }
    let (config_path, config) = load_config(global, UnknownKeys::Warn, output)?;
    let papers =
        Papers::read(&config_path, &config, arguments.price_book.as_deref(), arguments.assumptions.as_deref())?;
    if let Some(path) = &arguments.svg {
        files::may_be_written(path)?;
    }
    let analysis = rooms::runtime()?.block_on(async {
        let runs = match evidence::runs(&config, output).await {
            Ok(runs) => runs.into_iter().map(|(_, run)| run).collect(),
            Err(failure) => {
                output.warn(&format!("no drill is counted: {}", failure.sentence()));
                Vec::new()
            }
        };
        analysis(&config, &papers, &runs, arguments.years, output).await
    });
    if let Some(path) = &arguments.svg {
        files::write_picture(path, &svg::picture(&analysis))?;
        output.tell(&format!("picture in {}", path.display()));
    }
    if output.is_json() {
        return output.document(&document::document(&analysis));
    }
    if !papers.are_assumptions_given {
        output.hint("nobody said what strategies cost: `lifeboat plan cost --write-assumptions costs.toml`, fill it in, then --assumptions costs.toml");
    }
    output.text(tables::page(&config.plan.plan, &analysis, is_unicode_wanted()).trim_end())
}

fn write_templates(wanted: &[(&Path, &str, &str)], output: &Output) -> Result<(), Failure> {
    for (path, text, _) in wanted {
        files::write_new(path, text)?;
    }
    if output.is_json() {
        return output.document(&json!({ "written": wanted.iter().map(|(path, ..)| path).collect::<Vec<_>>() }));
    }
    for (path, _, option) in wanted {
        output.tell(&format!("{} is written; edit it, then: lifeboat plan cost {option} {0}", path.display()));
    }
    Ok(())
}

/// What people wrote about costs.
pub(crate) struct Papers {
    book: PriceBook,
    assumptions: Assumptions,
    are_assumptions_given: bool,
}

impl Papers {
    /// From files that were named just now, else those that the plan names, whose paths begin beside the configuration; else what is shipped.
    pub(crate) fn read(
        config_path: &Path,
        config: &Config,
        price_book: Option<&Path>,
        assumptions: Option<&Path>,
    ) -> Result<Self, Failure> {
        let beside = |path: &PathBuf| config_path.with_file_name("").join(path);
        let named =
            |path: Option<&Path>, plan: &Option<PathBuf>| path.map(Path::to_path_buf).or(plan.as_ref().map(beside));
        let book = read_price_book(named(price_book, &config.plan.price_book).as_deref())?;
        let path = named(assumptions, &config.plan.assumptions);
        let assumptions = match &path {
            Some(path) => files::read::<Assumptions>(path, "--write-assumptions")?,
            None => Assumptions::default(),
        };
        refuse_strangers(config, &book, &assumptions)?;
        Ok(Self { book, assumptions, are_assumptions_given: path.is_some() })
    }
}

/// Measures what is stored, and puts everything together.
pub(crate) async fn analysis(config: &Config, papers: &Papers, runs: &[Run], years: u32, output: &Output) -> Analysis {
    let measured = measure::measure(config, &papers.book, output).await;
    analyse(&Inputs {
        plan: &config.plan.plan,
        assumptions: &papers.assumptions,
        book: &papers.book,
        runs,
        stores: &measured.stores,
        workloads: &measured.workloads,
        years,
        today: Zoned::now().date(),
    })
}

fn read_price_book(path: Option<&Path>) -> Result<PriceBook, Failure> {
    let Some(path) = path else {
        return files::parse("the shipped price book", SHIPPED_PRICE_BOOK).map_err(|failure| *failure);
    };
    let book = files::read::<PriceBook>(path, "--write-price-book")?;
    match book.problem() {
        Some(problem) => Err(Failure::new(FailureKind::Usage, format!("{}: {problem}", path.display()))
            .with_hint("name one of the classes, or add a section [class.NAME]")),
        None => Ok(book),
    }
}

/// Names that the configuration doesn't know: what is said about them would count for nothing, in silence.
fn refuse_strangers(config: &Config, book: &PriceBook, assumptions: &Assumptions) -> Result<(), Failure> {
    for name in book.location.keys() {
        crate::commands::find_named("location", name, &config.locations)
            .map_err(|failure| failure.while_doing(format!("read [location.{name}] of the price book")))?;
    }
    for name in assumptions.group.keys() {
        crate::commands::find_named("group", name, &config.plan.plan.groups)
            .map_err(|failure| failure.while_doing(format!("read [group.{name}] of the assumptions")))?;
    }
    Ok(())
}
