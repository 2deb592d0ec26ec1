//! The PostgreSQL major versions this crate knows.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A supported major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum MajorVersion {
    /// PostgreSQL 14
    V14,
    /// PostgreSQL 15
    V15,
    /// PostgreSQL 16
    V16,
    /// PostgreSQL 17
    V17,
    /// PostgreSQL 18
    V18,
}

/// A version that is older or newer than what was tested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PostgreSQL {0} is not supported (14 to 18 are)")]
pub struct UnsupportedVersion(pub u32);

impl MajorVersion {
    /// All of them, oldest first.
    pub const ALL: [Self; 5] = [Self::V14, Self::V15, Self::V16, Self::V17, Self::V18];

    /// The number, such as 17.
    pub fn number(self) -> u16 {
        self.into()
    }

    /// From `server_version_num`, such as 170004.
    pub fn from_server_version_num(number: u32) -> Result<Self, UnsupportedVersion> {
        u16::try_from(number / 10_000)
            .ok()
            .and_then(|major| major.try_into().ok())
            .ok_or(UnsupportedVersion(number / 10_000))
    }
}

impl TryFrom<u16> for MajorVersion {
    type Error = UnsupportedVersion;

    fn try_from(number: u16) -> Result<Self, UnsupportedVersion> {
        match number {
            14 => Ok(Self::V14),
            15 => Ok(Self::V15),
            16 => Ok(Self::V16),
            17 => Ok(Self::V17),
            18 => Ok(Self::V18),
            other => Err(UnsupportedVersion(other.into())),
        }
    }
}

impl From<MajorVersion> for u16 {
    fn from(version: MajorVersion) -> u16 {
        match version {
            MajorVersion::V14 => 14,
            MajorVersion::V15 => 15,
            MajorVersion::V16 => 16,
            MajorVersion::V17 => 17,
            MajorVersion::V18 => 18,
        }
    }
}

impl fmt::Display for MajorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}
