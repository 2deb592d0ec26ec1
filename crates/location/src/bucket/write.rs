//! Conditional writes: one attempt at a time, and what to believe when no answer comes.

use super::Bucket;
use super::failure::{classify, is_conflict_without_winner, is_unsupported, was_not_sent};
use crate::{Error, ErrorKind, PutOutcome, Result, SwapOutcome, Version};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{Attribute, Attributes, GetOptions, ObjectStoreExt, PutMode, PutOptions};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Metadata under which an object carries the id of the put that made it. A word: Azure takes nothing but letters,
/// digits and underscores.
const PUT_ID: &str = "lifeboatput";
const ATTEMPTS_MAX: u32 = 4;
const PAUSE_MIN: Duration = Duration::from_millis(100);

enum Answer {
    Created,
    Exists,
    /// Refused before it was stored, and another attempt may do.
    Busy(Error),
    /// Perhaps stored.
    Unanswered(Error),
    Failed(Error),
}

impl Bucket {
    /// Creates the object, or finds out who did.
    pub(super) async fn create(&self, key: &str, path: &Path, bytes: Bytes) -> Result<PutOutcome> {
        let put_id = format!("{:032x}", rand::random::<u128>());
        let deadline = Instant::now() + self.limit_for(bytes.len());
        let mut in_doubt = false;
        let mut attempt = 1;
        loop {
            let error = match self.attempt(key, path, &bytes, &put_id, deadline).await {
                Answer::Created => return Ok(PutOutcome::Created),
                Answer::Exists if in_doubt && self.is_ours(path, &put_id).await => return Ok(PutOutcome::Created),
                Answer::Exists => return Ok(PutOutcome::AlreadyExists),
                Answer::Failed(error) => return Err(error),
                Answer::Busy(error) => error,
                Answer::Unanswered(error) => {
                    in_doubt = true;
                    error
                }
            };
            let pause = PAUSE_MIN * (1 << attempt) + Duration::from_millis(rand::random_range(0..100));
            if attempt == ATTEMPTS_MAX || Instant::now() + pause >= deadline {
                return self.resolve(key, path, &put_id, in_doubt, error).await;
            }
            tracing::debug!(key, attempt, %error, "try the create again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, key: &str, path: &Path, bytes: &Bytes, put_id: &str, deadline: Instant) -> Answer {
        let answer = tokio::time::timeout_at(deadline, self.put(path, bytes, put_id, PutMode::Create)).await;
        match answer {
            Ok(Ok(_)) => Answer::Created,
            Ok(Err(error)) if is_conflict_without_winner(&error) => Answer::Busy(self.failed("put", key, error)),
            Ok(Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })) => {
                Answer::Exists
            }
            // `put_new` has looked already; that is all such a store can offer.
            Ok(Err(error)) if is_unsupported(&error) => {
                match tokio::time::timeout_at(deadline, self.put(path, bytes, put_id, PutMode::Overwrite)).await {
                    Ok(Ok(_)) => Answer::Created,
                    Ok(Err(error)) => Answer::Failed(self.failed("put", key, error)),
                    Err(_) => Answer::Unanswered(self.too_slow("put", key)),
                }
            }
            Ok(Err(error)) => self.failure_of_put(key, error),
            Err(_) => Answer::Unanswered(self.too_slow("put", key)),
        }
    }

    fn failure_of_put(&self, key: &str, error: object_store::Error) -> Answer {
        let not_sent = was_not_sent(&error);
        let error = match classify(&error) {
            // A put doesn't ask for an object: what isn't there is the bucket.
            ErrorKind::NotFound => self.error(ErrorKind::NoContainer, "put", key).with_source(error),
            _ => self.failed("put", key, error),
        };
        match error.kind() {
            ErrorKind::Unavailable if not_sent => Answer::Busy(error),
            ErrorKind::Unavailable | ErrorKind::Corrupt => Answer::Unanswered(error),
            _ => Answer::Failed(error),
        }
    }

    /// The last attempt gave no answer either. Believe what is there.
    async fn resolve(&self, key: &str, path: &Path, put_id: &str, in_doubt: bool, error: Error) -> Result<PutOutcome> {
        if in_doubt {
            match self.head_put_id(path).await {
                Some(Some(found)) if found == put_id => return Ok(PutOutcome::Created),
                Some(_) => return Ok(PutOutcome::AlreadyExists),
                None => tracing::debug!(key, "nothing there after an unanswered create"),
            }
        }
        Err(error)
    }

    async fn is_ours(&self, path: &Path, put_id: &str) -> bool {
        matches!(self.head_put_id(path).await, Some(Some(found)) if found == put_id)
    }

    /// `None`: no object, or no answer. `Some(None)`: an object without an id, by another tool or in a store that
    /// doesn't keep metadata; the caller then compares the content, as with any object that was there first.
    async fn head_put_id(&self, path: &Path) -> Option<Option<String>> {
        let head = self.patient.get_opts(path, GetOptions::new().with_head(true));
        let answer = timeout(self.time_limit, head).await.ok()?.ok()?;
        Some(answer.attributes.get(&Attribute::Metadata(PUT_ID.into())).map(|value| value.to_string()))
    }

    async fn put(
        &self,
        path: &Path,
        bytes: &Bytes,
        put_id: &str,
        mode: PutMode,
    ) -> object_store::Result<object_store::PutResult> {
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::Metadata(PUT_ID.into()), put_id.to_string().into());
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        self.once.put_opts(path, bytes.clone().into(), options).await
    }

    /// One conditional write of a register. Never repeated: a second attempt would lose against the first.
    pub(super) async fn swap(
        &self,
        key: &str,
        path: &Path,
        expected: Option<&Version>,
        bytes: Bytes,
    ) -> Result<SwapOutcome> {
        let mode = expected.map_or(PutMode::Create, |version| PutMode::Update(self.update_of(version)));
        let put_id = format!("{:032x}", rand::random::<u128>());
        let answer = timeout(self.limit_for(bytes.len()), self.put(path, &bytes, &put_id, mode)).await;
        use object_store::Error as E;
        let error = match answer {
            Err(_) => return Ok(SwapOutcome::Unknown),
            Ok(Ok(done)) => {
                // Without a version the next swap couldn't name what it replaces: read it.
                let version = self.version(done.e_tag.as_ref(), done.version.as_ref());
                return Ok(version.map_or(SwapOutcome::Unknown, SwapOutcome::Applied));
            }
            Ok(Err(E::AlreadyExists { .. } | E::Precondition { .. })) => return Ok(SwapOutcome::Lost),
            Ok(Err(E::NotFound { .. })) if expected.is_some() => return Ok(SwapOutcome::Lost),
            Ok(Err(error)) => error,
        };
        let not_sent = was_not_sent(&error);
        match self.failed("swap", key, error) {
            error if error.kind() == ErrorKind::Unavailable && !not_sent => {
                tracing::debug!(key, %error, "a swap without an answer");
                Ok(SwapOutcome::Unknown)
            }
            error if error.kind() == ErrorKind::NotFound => {
                Err(self.error(ErrorKind::NoContainer, "swap", key).with_source(error))
            }
            error => Err(error),
        }
    }

    /// For the probe: a conditional write whose failure is looked at by its reason.
    pub(super) async fn trial_put(
        &self,
        path: &Path,
        bytes: &'static [u8],
        mode: PutMode,
    ) -> Result<object_store::Result<Option<Version>>> {
        let bytes = Bytes::from_static(bytes);
        let answer = timeout(self.time_limit, self.put(path, &bytes, "probe", mode)).await;
        match answer {
            Err(_) => Err(self.too_slow("probe", path.as_ref())),
            Ok(Ok(done)) => Ok(Ok(self.version(done.e_tag.as_ref(), done.version.as_ref()))),
            Ok(Err(error)) => Ok(Err(error)),
        }
    }

    pub(super) async fn remove_trial(&self, path: &Path) -> Result<()> {
        self.within("probe: delete", path.as_ref(), self.patient.delete(path)).await
    }
}
