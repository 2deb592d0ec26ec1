//! Finds out by trying what a store honours, with one small object that is removed again.

use super::Bucket;
use super::failure::{classify, is_unsupported};
use crate::{Capabilities, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode};
use std::time::SystemTime;

impl Bucket {
    pub(super) async fn try_out(&self) -> Result<Capabilities> {
        let key = format!("probe/{:032x}", rand::random::<u128>());
        let path = self.path("probe", &key)?;
        let found = self.try_out_at(&path).await;
        let removed = self.remove_trial(&path).await;
        let found = found?;
        removed?;
        Ok(found)
    }

    async fn try_out_at(&self, path: &Path) -> Result<Capabilities> {
        let before = SystemTime::now();
        let first = self.trial_put(path, b"1", PutMode::Create).await?;
        let creates = match first {
            Ok(_) => true,
            Err(error) if is_unsupported(&error) => {
                self.plain_put(path).await?;
                false
            }
            Err(error) => return Err(self.trial_failed(path, error)),
        };
        let after = SystemTime::now();
        let meta = self.within("probe: head", path.as_ref(), self.patient.head(path)).await?;
        let conditional_create = creates && self.is_refused(path, b"2", PutMode::Create).await?;
        let compare_and_swap = self.honours_versions(path).await?;
        let skew = clock_skew_seconds(before, after, meta.last_modified.into());
        Ok(Capabilities { conditional_create, compare_and_swap, clock_skew_seconds: Some(skew) })
    }

    async fn honours_versions(&self, path: &Path) -> Result<bool> {
        let meta = self.within("probe: head", path.as_ref(), self.patient.head(path)).await?;
        let Some(first) = self.version(meta.e_tag.as_ref(), meta.version.as_ref()) else { return Ok(false) };
        let update = || PutMode::Update(self.update_of(&first));
        match self.trial_put(path, b"3", update()).await? {
            Ok(_) => self.is_refused(path, b"4", update()).await,
            Err(error) => match classify(&error) {
                ErrorKind::Unavailable | ErrorKind::Denied => Err(self.trial_failed(path, error)),
                _ => Ok(false),
            },
        }
    }

    /// Whether the store refuses a write for its condition. Another failure is no answer.
    async fn is_refused(&self, path: &Path, bytes: &'static [u8], mode: PutMode) -> Result<bool> {
        use object_store::Error as E;
        match self.trial_put(path, bytes, mode).await? {
            Ok(_) => Ok(false),
            Err(E::AlreadyExists { .. } | E::Precondition { .. }) => Ok(true),
            Err(error) if is_unsupported(&error) => Ok(false),
            Err(error) => Err(self.trial_failed(path, error)),
        }
    }

    async fn plain_put(&self, path: &Path) -> Result<()> {
        let put = self.trial_put(path, b"1", PutMode::Overwrite).await?;
        put.map(drop).map_err(|error| self.trial_failed(path, error))
    }

    fn trial_failed(&self, path: &Path, error: object_store::Error) -> crate::Error {
        let kind = match classify(&error) {
            ErrorKind::NotFound => ErrorKind::NoContainer,
            kind => kind,
        };
        self.error(kind, "probe", path.as_ref()).with_source(error)
    }
}

/// Store's time minus ours. It stamps whole seconds, at some moment between our two readings: anything within
/// that is no skew.
fn clock_skew_seconds(before: SystemTime, after: SystemTime, stamped: SystemTime) -> f64 {
    let seconds = |time: SystemTime| match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(earlier) => -earlier.duration().as_secs_f64(),
    };
    let (early, late) = (seconds(stamped) - seconds(after), seconds(stamped) + 1.0 - seconds(before));
    if early <= 0.0 && late >= 0.0 { 0.0 } else { (early + late) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn skew() {
        let at = |milliseconds| SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
        assert_eq!(clock_skew_seconds(at(10_900), at(10_950), at(10_000)), 0.0);
        assert_eq!(clock_skew_seconds(at(10_900), at(11_050), at(11_000)), 0.0);
        assert!((clock_skew_seconds(at(10_000), at(10_000), at(310_000)) - 300.5).abs() < 0.01);
        assert!((clock_skew_seconds(at(310_000), at(310_000), at(10_000)) + 299.5).abs() < 0.01);
    }
}
