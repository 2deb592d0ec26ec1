//! What is in the way of what is still to come: since when, and what to do about it.

use std::path::Path;
use std::time::Instant;

/// What is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// In words.
    pub what: String,
    /// Since when.
    pub since: Instant,
    pub cause: Cause,
}

/// Whose matter it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The disk here does not take what comes.
    Disk,
    /// Locations do not give it, as far as is known.
    Location,
    /// Somebody uses what is to be taken away.
    Use,
}

impl Cause {
    /// Of what the disk here refused, or a location.
    pub fn of(is_local: bool) -> Self {
        if is_local { Self::Disk } else { Self::Location }
    }

    /// What this means for `to`, before what was said is quoted.
    pub fn meaning(self, to: &Path) -> String {
        let to = to.display();
        match self {
            Self::Disk => {
                format!("what is still to come to {to} can't be kept there, and who reads or writes it fails")
            }
            Self::Location => format!("what is still to come to {to} can't be had, and who reads it fails"),
            Self::Use => format!("{to} can't be taken away"),
        }
    }

    /// What to do about it at `to`.
    pub fn hint(self, to: &Path) -> String {
        let to = to.display();
        match self {
            Self::Disk => format!(
                "make room on the disk of {to} (`df -h {to}`), or see what is wrong with it; it goes on by itself then"
            ),
            Self::Location => {
                "see that a location that has it answers: `lifeboat check`; it goes on by itself then".to_owned()
            }
            Self::Use => format!("end what uses it: `fuser -vm {to}`; it goes on by itself then"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_fits_the_cause() {
        let to = Path::new("/srv/shop");
        let hint = |is_local| Cause::of(is_local).hint(to);
        assert!(hint(true).contains("make room on the disk of /srv/shop") && !hint(true).contains("location"));
        assert!(hint(false).contains("a location") && !hint(false).contains("disk"));
        assert!(
            Cause::Disk.meaning(to).contains("can't be kept") && Cause::Location.meaning(to).contains("can't be had")
        );
    }
}
