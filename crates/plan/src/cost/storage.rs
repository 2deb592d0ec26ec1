//! What keeping the copies costs: the prices of a class, applied to what was measured in the locations.

use super::{Amount, Class, Inputs};
use crate::money::Money;
use jiff::Timestamp;
use std::time::Duration;

/// Months in a year, and days in it.
const MONTHS: f64 = 12.0;
const DAYS: f64 = 365.25;

/// A location, as it was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// Its name.
    pub name: String,
    /// Its class in the price book.
    pub class: String,
    /// What is stored. None: it didn't answer.
    pub bytes: Option<u64>,
    /// In how many objects.
    pub objects: Option<u64>,
    /// The workloads that have points or log there.
    pub workloads: Vec<String>,
}

/// What a location costs.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreCost {
    /// As it was measured.
    pub store: Store,
    /// Whether the class has a currency of its own, other than the plan's; then it isn't added to the rest.
    pub currency: Option<String>,
    /// For each year, growing.
    pub per_year: Vec<Amount>,
    /// Bringing everything back from it once: requests, retrieval, egress.
    pub one_restore: Amount,
    /// The least that bringing it back takes. None: not known.
    pub restore_floor: Option<Duration>,
}

/// New bytes in a year, from what each point added after the first. None: points of less than a day tell nothing about a year.
pub fn growth_bytes_per_year(points: &[(Timestamp, u64)]) -> Option<f64> {
    let (first, last) = (points.iter().map(|(at, _)| *at).min()?, points.iter().map(|(at, _)| *at).max()?);
    let days = last.duration_since(first).as_secs_f64() / 86_400.0;
    let added: f64 = points.iter().filter(|(at, _)| *at > first).map(|(_, bytes)| *bytes as f64).sum();
    (days >= 1.0).then(|| added / days * DAYS)
}

/// A price for so much of it; nothing of it costs nothing.
fn priced(price: Option<Money>, quantity: Option<f64>, what: &str) -> Amount {
    match (price, quantity) {
        (_, Some(0.0)) | (Some(Money::ZERO), _) => Amount::ZERO,
        (Some(price), Some(quantity)) => Amount::known(price.times(quantity)),
        _ => Amount::missing(what),
    }
}

impl Store {
    /// Each year of so many, the size counted in the middle of each.
    pub fn cost_per_year(&self, class: &Class, growth_bytes_per_year: Option<f64>, years: u32) -> Vec<Amount> {
        let overhead = class.overhead_bytes_per_object.unwrap_or(0) as f64;
        let name = &self.name;
        let billed = self.bytes.zip(self.objects).map(|(bytes, objects)| bytes as f64 + objects as f64 * overhead);
        let ratio = self.bytes.filter(|bytes| *bytes > 0).zip(billed).map_or(1.0, |(bytes, all)| all / bytes as f64);
        let per_byte = self.bytes.zip(self.objects).filter(|(bytes, _)| *bytes > 0);
        let objects_per_byte = per_byte.map_or(0.0, |(bytes, objects)| objects as f64 / bytes as f64);
        let growth = growth_bytes_per_year.unwrap_or(0.0).max(0.0);
        let in_year = |year: u32| {
            let size = billed.map(|billed| billed + growth * ratio * (f64::from(year) + 0.5));
            let months = size.map(|bytes| bytes / class.gigabyte() * MONTHS);
            let kept = priced(class.per_gigabyte_month, months, &format!("price or size of what is kept in {name}"));
            let puts = Some(growth * objects_per_byte / 1000.0);
            kept + priced(class.put_per_thousand, puts, &format!("price of writing to {name}"))
        };
        (0..years).map(in_year).collect()
    }

    /// Everything that is there, fetched once.
    pub fn one_restore(&self, class: &Class) -> Amount {
        let name = &self.name;
        let gigabytes = self.bytes.map(|bytes| bytes as f64 / class.gigabyte());
        let thousands = self.objects.map(|objects| objects as f64 / 1000.0);
        priced(class.retrieval_per_gigabyte, gigabytes, &format!("price of retrieval from {name}"))
            + priced(class.retrieval_per_thousand, thousands, &format!("price of requests for retrieval from {name}"))
            + priced(class.get_per_thousand, thousands, &format!("price of reading from {name}"))
            + priced(class.egress_per_gigabyte, gigabytes, &format!("price of what leaves {name}"))
    }
}

/// Every location with what it costs. What is counted in another currency than the plan is told, and in no sum.
pub(super) fn costs(inputs: &Inputs) -> Vec<StoreCost> {
    let cost = |store: &Store| {
        let unknown = Class::default();
        let class = inputs.book.class.get(&store.class).unwrap_or(&unknown);
        let own = |name: &String| inputs.workloads.get(name).copied().unwrap_or_default();
        let growth: Option<f64> = store.workloads.iter().map(|name| own(name).growth_bytes_per_year).sum();
        let sizes = store.workloads.iter().filter_map(|name| own(name).restore_bytes).sum();
        let currency = class.currency.clone();
        let foreign = inputs.plan.currency.as_ref().zip(currency.as_ref()).filter(|(ours, theirs)| ours != theirs);
        let per_year = match foreign {
            None => store.cost_per_year(class, growth, inputs.years),
            Some((ours, theirs)) => {
                let why = format!("storage in {} in {ours}: the price book has it in {theirs}", store.name);
                vec![Amount::missing(why); inputs.years as usize]
            }
        };
        StoreCost {
            per_year,
            one_restore: store.one_restore(class),
            restore_floor: class.restore_floor(sizes, inputs.assumptions.restore_megabytes_per_second),
            store: store.clone(),
            currency,
        }
    };
    inputs.stores.iter().map(cost).collect()
}
