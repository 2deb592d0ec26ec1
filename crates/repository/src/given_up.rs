//! What a location gave up of logs: is it known why a file is not there?
//!
//! A mark that hasn't begun says only what will go: what is gone before that was lost, and somebody has to hear of it. But nobody
//! brings it there any more, so a location that lacks it is not behind the others.
//!
//! Not here: what else is known of a log, and what its names mean.

use crate::findings::LogEnd;
use crate::log::prefix_of;
use crate::open::Repository;
use crate::removal::Covered;

/// Why a file is not in a location, as far as that was its own decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GivenUp {
    /// It was not.
    No,
    /// It is to go, and nobody brings it there; it should still be there.
    Marked,
    /// It was deleted, or is being deleted.
    Deleted,
}

/// What one location gave up, as it was when it was asked. Of one that can't tell: nothing.
#[derive(Debug, Default)]
pub struct GivenUpThere {
    marked: Covered,
    deleted: Covered,
}

impl GivenUpThere {
    /// What became of a file of a workload's log; its name is without the id of its content.
    pub fn file(&self, workload: &str, group: &str, name: &str) -> GivenUp {
        // What is given up is told by names; the content doesn't matter.
        let key = format!("{}/{name}-{}", prefix_of(workload, group), "0".repeat(32));
        match (self.deleted.has(&key), self.marked.has(&key)) {
            (true, _) => GivenUp::Deleted,
            (false, true) => GivenUp::Marked,
            (false, false) => GivenUp::No,
        }
    }

    /// The same of the last file of a log.
    pub fn end(&self, end: &LogEnd) -> GivenUp {
        self.file(&end.workload, &end.group, &end.name)
    }
}

impl Repository {
    /// What a location gave up. Look at what is there before you ask: a sweep writes down what goes before it goes.
    pub async fn given_up(&self, location: &str) -> GivenUpThere {
        let there = async {
            let replica = self.replicas.iter().find(|replica| replica.name == location)?;
            let marked = self.covered_at(replica).await.ok()?;
            // A sweep writes down what goes before it goes; what it spared isn't there.
            let mut deleted = Covered::default();
            deleted.add_gone(&self.gone_at(replica).await.ok()?);
            Some(GivenUpThere { marked, deleted })
        };
        there.await.unwrap_or_default()
    }
}
