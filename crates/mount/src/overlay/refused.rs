//! What a reader or writer wanted in vain: told until it is here, and brought before all else when it can be had again.

use super::Overlay;
use crate::journal::FileNumber;
use crate::lazy::BringError;
use crate::root::stat_of;
use crate::waiting::Refusal;

impl Overlay {
    /// Why a part of a file can't be had, with its name and all causes.
    pub fn in_words(&self, number: FileNumber, error: &BringError) -> String {
        match error {
            BringError::Io(error) => format!("write to {}: {error}", self.source.name_of(number)),
            BringError::Source { .. } => error.in_words(),
        }
    }

    /// What a reader or writer wanted in vain and isn't here yet, the first one first. Of a file that was removed since, nobody wants anything.
    pub fn refused(&self) -> Vec<Refusal> {
        self.waiting.still_refused(|refusal| {
            !self.missing(refusal.number, refusal.bytes.clone()).is_empty() && !self.is_removed(refusal)
        })
    }

    /// What can't be looked at is taken to be there: it is told of.
    fn is_removed(&self, refusal: &Refusal) -> bool {
        let opened = self.open_coming(refusal.number);
        let names = opened.and_then(|coming| coming.map(|(_, file)| stat_of(&file)).transpose());
        names.is_ok_and(|stat| stat.is_none_or(|stat| stat.st_nlink < 2))
    }
}
