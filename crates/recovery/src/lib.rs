//! Bringing back: which moments can be reached, the plan of a restore, carrying it out, and starting the result to
//! prove it.
//!
//! The shape is observe → plan → apply. [`windows`] and [`plan`] are pure: what is known goes in, a value that can be
//! printed comes out, and what can't be reached is refused before anything is touched. [`observe`] reads, [`apply`] and [`boot`] act.
//!
//! Not here: reading a configuration, printing, storing the result of a verification.

// Pure.
mod lane;
mod line;
mod path;
mod plan;
mod planner;
mod quoting;
mod refusal;
mod settings;
mod target;
mod window;

// In the world.
mod aside;
mod boot;
mod destination;
mod error;
pub mod instant;
mod log;
mod observe;
mod private;
mod restore;
pub mod standby;
pub mod when;

pub use boot::{
    Amcheck, BadRelation, BootReport, BootRequest, Came, CheckResult, PagesReport, Reached, TablesReport, Way, boot,
    remove_own,
};
pub use destination::{Destination, DestinationError};
pub use error::{RecoveryError, RecoveryErrorKind, Result};
pub use lane::{Lane, lanes};
pub use observe::{Observed, observe};
pub use path::{Leg, PointSummary, Run, TransactionMark, WalCoverage};
pub use plan::{RestorePlan, Stop, TimelineSetting};
pub use planner::{Known, Place, Wanted, plan};
pub use private::PrivatePlace;
pub use quoting::{QuotingError, RestoreCommand};
pub use refusal::{Reason, Refusal, RefusalKind};
pub use restore::{RestoreDone, RestoreTo, apply, owner_when_root, steps};
pub use settings::{Action, Setting, edit_settings_file, recovery_settings};
pub use target::{Target, TimelineChoice, spoken};
pub use window::{Unusable, Window, unusable, windows};
