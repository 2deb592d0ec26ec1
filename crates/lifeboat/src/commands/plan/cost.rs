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
mod words;

use crate::cli::{CostArguments, Global};
use crate::commands::load_config;
use crate::config::{Config, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, is_unicode_wanted};
use crate::{evidence, rooms};
use jiff::Zoned;
use lifeboat_plan::cost::{Assumptions, Inputs, PriceBook, SHIPPED_ASSUMPTIONS, SHIPPED_PRICE_BOOK, analyse};
use lifeboat_plan::run::Run;
use serde_json::json;
use std::path::Path;

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
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    let book = price_book(arguments)?;
    let assumptions = match &arguments.assumptions {
        Some(path) => files::read::<Assumptions>(path, "--write-assumptions")?,
        None => Assumptions::default(),
    };
    refuse_strangers(&config, &book, &assumptions)?;
    if let Some(path) = &arguments.svg {
        files::may_be_written(path)?;
    }
    let (measured, runs) = rooms::runtime()?
        .block_on(async { (measure::measure(&config, &book, output).await, evidence::runs(&config, output).await) });
    let runs: Vec<Run> = match runs {
        Ok(runs) => runs.into_iter().map(|(_, run)| run).collect(),
        Err(failure) => {
            output.warn(&format!("no drill is counted: {}", failure.sentence()));
            Vec::new()
        }
    };
    let analysis = analyse(&Inputs {
        plan: &config.plan.plan,
        assumptions: &assumptions,
        book: &book,
        runs: &runs,
        stores: &measured.stores,
        workloads: &measured.workloads,
        years: arguments.years,
        today: Zoned::now().date(),
    });
    if let Some(path) = &arguments.svg {
        files::write_picture(path, &svg::picture(&analysis))?;
        output.tell(&format!("picture in {}", path.display()));
    }
    if output.is_json() {
        return output.document(&document::document(&analysis));
    }
    if arguments.assumptions.is_none() {
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

fn price_book(arguments: &CostArguments) -> Result<PriceBook, Failure> {
    let Some(path) = &arguments.price_book else {
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
