//! What downtime costs, what protection costs, and which protection is worth it.
//!
//! Promise: money is counted exactly. What nobody said is no nought: a sum that lacks something says "at least", and names what it lacks.
//! What was measured in a drill comes before what is assumed, and each figure says which it is. Likelihoods are ranges.
//!
//! Not here: reading files, the clock, pictures.

mod actual;
mod amount;
mod analysis;
mod assumptions;
mod choice;
mod downtime;
mod input;
mod loss;
mod price_book;
mod pricing;
mod remarks;
mod storage;
mod total;

pub use actual::{Evidence, Figure, Recovery, Source, copies_damage};
pub use amount::Amount;
pub use analysis::{Analysis, Benefit, Inputs, ScopeAnalysis, StrategyRow, WorkloadSize, analyse};
pub use assumptions::{Assumptions, Expected, GroupAssumptions, SHIPPED_ASSUMPTIONS, StrategyAssumptions};
pub use choice::{Choice, Objection, disruption_word};
pub use downtime::{data_loss_cost, downtime_cost, is_beyond_the_curve, per_hour, recovery_cost};
pub use loss::{Range, ScenarioLoss, affected, single_loss};
pub use price_book::{Class, Price, PriceBook, SHIPPED_PRICE_BOOK};
pub use pricing::{Capital, Subscription, Use};
pub use remarks::strategy_word;
pub use storage::{Store, StoreCost, growth_bytes_per_year};
pub use total::{Payback, break_even_factor, disasters_to_pay_back, payback, present_value, return_on_investment};
