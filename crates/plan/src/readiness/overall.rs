//! Many answers in few words: ready or not, and how much of each kind holds. Never one opaque number.

use super::{Answer, Aspect, Severity, Status};
use serde::Serialize;

/// So many of so many. What was skipped counts for neither; what is unknown counts as not holding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Share {
    /// Ready.
    pub ready: usize,
    /// Asked.
    pub of: usize,
}

/// By what the checks count for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Score {
    /// Would the promise be kept?
    pub objective: Share,
    /// Was it tried?
    pub test: Share,
    /// Would somebody notice?
    pub monitoring: Share,
    /// Would people know what to do?
    pub procedure: Share,
}

impl Score {
    /// One of them.
    pub fn of(&self, aspect: Aspect) -> Share {
        match aspect {
            Aspect::Objective => self.objective,
            Aspect::Test => self.test,
            Aspect::Monitoring => self.monitoring,
            Aspect::Procedure => self.procedure,
        }
    }

    fn of_mut(&mut self, aspect: Aspect) -> &mut Share {
        match aspect {
            Aspect::Objective => &mut self.objective,
            Aspect::Test => &mut self.test,
            Aspect::Monitoring => &mut self.monitoring,
            Aspect::Procedure => &mut self.procedure,
        }
    }
}

/// All answers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Overall {
    /// Something was asked, and nothing critical is not ready or unknown.
    pub is_ready: bool,
    /// Critical ones that are not ready.
    pub not_ready: usize,
    /// Critical ones that are unknown.
    pub unknown: usize,
    /// Warnings: not ready or unknown, and no more than that.
    pub warnings: usize,
    /// Ready ones.
    pub ready: usize,
    /// Without an object.
    pub skipped: usize,
    /// By kind.
    pub score: Score,
}

/// Sums up.
pub fn overall(answers: &[Answer]) -> Overall {
    let mut score = Score::default();
    for answer in answers.iter().filter(|answer| answer.status != Status::Skipped) {
        let share = score.of_mut(answer.aspect);
        share.of += 1;
        share.ready += usize::from(answer.status == Status::Ready);
    }
    let count = |is: &dyn Fn(&Answer) -> bool| answers.iter().filter(|answer| is(answer)).count();
    let critical = |status| count(&|answer| answer.status == status && answer.severity == Severity::Critical);
    let (not_ready, unknown) = (critical(Status::NotReady), critical(Status::Unknown));
    let warnings = count(&|answer| {
        answer.severity == Severity::Warning && matches!(answer.status, Status::NotReady | Status::Unknown)
    });
    let ready = count(&|answer| answer.status == Status::Ready);
    let skipped = count(&|answer| answer.status == Status::Skipped);
    Overall {
        is_ready: not_ready == 0 && unknown == 0 && ready > 0,
        not_ready,
        unknown,
        warnings,
        ready,
        skipped,
        score,
    }
}
