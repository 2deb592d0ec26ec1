//! How far a long operation has come, told to whoever is watching.

/// Receives progress. Implementations must be cheap: `advance` is called from every worker, thousands of times.
pub trait Progress: Send + Sync {
    /// A new phase begins. `total_bytes` is the expected amount of work, where it is known.
    fn phase(&self, name: &str, total_bytes: Option<u64>);

    /// `bytes` more of the current phase are done.
    fn advance(&self, bytes: u64);

    /// Something a person should know, although the work goes on.
    fn warn(&self, message: &str);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn phase(&self, _name: &str, _total_bytes: Option<u64>) {}

    fn advance(&self, _bytes: u64) {}

    fn warn(&self, _message: &str) {}
}
