//! Prices of storage, dated and with their source. The shipped ones are a snapshot to start from, marked as such, and meant to be edited.

use super::input::{count, price, time};
use crate::money::Money;
use jiff::civil::Date;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The text of the book that is shipped.
pub const SHIPPED_PRICE_BOOK: &str = include_str!("price-book.toml");

/// After so many days a price is told as old.
const OLD_AFTER_DAYS: i32 = 366;

/// Prices by class of storage, and which location has which class.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriceBook {
    /// By name.
    pub class: BTreeMap<String, Class>,
    /// Of locations whose url doesn't tell.
    pub location: BTreeMap<String, Place>,
}

/// What the book says of one location.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// A name of [`PriceBook::class`].
    pub class: String,
}

/// A price, or that it isn't known.
pub type Price = Option<Money>;

/// One class of storage.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Class {
    /// In words.
    pub title: Option<String>,
    /// What it is counted in.
    pub currency: Option<String>,
    /// When the prices were true.
    pub dated: Option<Date>,
    /// Where they are from.
    pub source: Option<String>,
    /// How well that was checked: `source`, `secondary` or `memory`.
    pub checked: Option<String>,
    /// Bytes in what the seller calls a gigabyte. None: 1,000,000,000.
    pub gigabyte_bytes: Option<u64>,
    /// For a gigabyte, a month.
    #[serde(deserialize_with = "price")]
    pub per_gigabyte_month: Price,
    /// For a thousand requests that write.
    #[serde(deserialize_with = "price")]
    pub put_per_thousand: Price,
    /// For a thousand requests that read.
    #[serde(deserialize_with = "price")]
    pub get_per_thousand: Price,
    /// For a gigabyte that is brought back into reach.
    #[serde(deserialize_with = "price")]
    pub retrieval_per_gigabyte: Price,
    /// For a thousand objects that are brought back into reach.
    #[serde(deserialize_with = "price")]
    pub retrieval_per_thousand: Price,
    /// For a gigabyte that leaves the seller's network.
    #[serde(deserialize_with = "price")]
    pub egress_per_gigabyte: Price,
    /// What is deleted earlier is paid for so long.
    pub minimum_days: Option<u32>,
    /// Added to each object when it is billed.
    pub overhead_bytes_per_object: Option<u64>,
    /// How long until the first byte can be read (thaw), the longest that is told.
    #[serde(deserialize_with = "time")]
    pub first_byte: Option<Duration>,
    /// How fast a whole restore comes, at the most, in 1,000,000 bytes a second.
    #[serde(deserialize_with = "count")]
    pub restore_megabytes_per_second: Option<f64>,
}

impl Class {
    /// Bytes in one of its gigabytes.
    pub fn gigabyte(&self) -> f64 {
        self.gigabyte_bytes.filter(|bytes| *bytes > 0).unwrap_or(1_000_000_000) as f64
    }

    /// Whether its prices were looked up more than a year before.
    pub fn is_old(&self, today: Date) -> bool {
        self.dated.is_some_and(|dated| (today - dated).get_days() > OLD_AFTER_DAYS - 1)
    }

    /// Restoring so many bytes takes at least so long: thaw, and the bytes at its speed, or at that of the line if this is lower.
    /// None: nobody said how long the thaw takes.
    pub fn restore_floor(&self, bytes: u64, line_megabytes_per_second: Option<f64>) -> Option<Duration> {
        let speeds = [self.restore_megabytes_per_second, line_megabytes_per_second];
        let speed = speeds.into_iter().flatten().filter(|speed| *speed > 0.0).reduce(f64::min);
        let transfer = speed.map_or(0.0, |speed| bytes as f64 / (speed * 1e6));
        let transfer = Duration::try_from_secs_f64(transfer).unwrap_or(Duration::MAX);
        self.first_byte.map(|thaw| thaw.saturating_add(transfer))
    }
}

impl PriceBook {
    /// What doesn't hold together in it, the first thing, in one sentence.
    pub fn problem(&self) -> Option<String> {
        let unknown = self.location.iter().find(|(_, place)| !self.class.contains_key(&place.class));
        unknown.map(|(name, place)| {
            let known: Vec<&str> = self.class.keys().map(String::as_str).collect();
            format!("[location.{name}] has class {:?}, and there is none; there are {}", place.class, known.join(", "))
        })
    }
}
