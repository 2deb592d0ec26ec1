//! From a url and settings to a location.
//!
//! Nothing is asked of the network here: what is wrong with an address shows at once, what is wrong with the place
//! shows on first use. The environment is the caller's to read; it is passed in.

use crate::bucket::{Bucket, VersionBy};
use crate::directory::Directory;
use crate::{Error, ErrorKind, Location, Result};
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Enough for a slow store on a bad day; short enough that a dead one doesn't hold up the others for long.
pub const TIME_LIMIT_DEFAULT: Duration = Duration::from_secs(30);
const CONNECT_TIME_LIMIT: Duration = Duration::from_secs(5);
const RETRIES_MAX: usize = 3;

/// A secret text. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` out of every `Debug`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Who we are to the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// As the cloud's own tools find them: variables in [`Settings::environment`], then the machine's role.
    #[default]
    Ambient,
    /// S3: access key id and secret access key. Azure: storage account and its key. Google: the id is not used,
    /// the secret is the JSON of a service account's key.
    Key {
        /// The part that may be shown.
        id: String,
        /// The part that may not.
        secret: Secret,
        /// S3: the token that comes with temporary keys.
        session_token: Option<Secret>,
    },
    /// Requests are not signed. For public buckets and imitations.
    Anonymous,
}

/// Where a location is and how to talk to it.
#[derive(Clone)]
pub struct Settings {
    /// `file:///path`, `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix`.
    pub url: String,
    /// For servers other than the cloud's own. For Azure without the account. Plain http only on loopback, or
    /// with [`Self::allow_http`].
    pub endpoint: Option<String>,
    /// S3's region; `us-east-1` when nothing names one.
    pub region: Option<String>,
    /// Who we are to the store.
    pub credentials: Credentials,
    /// The variables in which the clouds' tools look for credentials (`AWS_*`, `AZURE_*`, `GOOGLE_*`), as the
    /// caller's environment has them. Values may be secret and are never shown.
    pub environment: BTreeMap<String, String>,
    /// Somebody decided that this endpoint may be spoken to without encryption.
    pub allow_http: bool,
    /// How long a request may go without an answer, and a body without a next piece.
    pub time_limit: Duration,
}

impl Settings {
    /// Settings with nothing but a url.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            endpoint: None,
            region: None,
            credentials: Credentials::Ambient,
            environment: BTreeMap::new(),
            allow_http: false,
            time_limit: TIME_LIMIT_DEFAULT,
        }
    }

    pub(crate) fn invalid(&self, why: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, without_password(&self.url), "open location").with_source(why.into())
    }

    /// A wrong key file, a malformed account key and so on.
    pub(crate) fn not_built(&self, error: object_store::Error) -> Error {
        Error::new(ErrorKind::Invalid, without_password(&self.url), "open location").with_source(error)
    }

    pub(crate) fn client_options(&self) -> Result<ClientOptions> {
        let allow_http = match &self.endpoint {
            Some(endpoint) if endpoint.starts_with("https://") => false,
            Some(endpoint) => match endpoint.strip_prefix("http://") {
                Some(rest) if self.allow_http || is_loopback(rest) => true,
                Some(_) => return Err(self.invalid("the endpoint is plain http and not on this machine: use https")),
                None => {
                    return Err(self.invalid(format!("the endpoint {endpoint} must begin with https:// or http://")));
                }
            },
            None => false,
        };
        // The library's limit covers a whole body however large it is; ours, in the bucket, doesn't.
        Ok(ClientOptions::new()
            .with_allow_http(allow_http)
            .with_timeout_disabled()
            .with_connect_timeout(CONNECT_TIME_LIMIT.min(self.time_limit)))
    }

    pub(crate) fn retries(&self, retries_max: usize) -> RetryConfig {
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            ..BackoffConfig::default()
        };
        RetryConfig { backoff, max_retries: retries_max, retry_timeout: self.time_limit }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &without_password(&self.url))
            .field("endpoint", &self.endpoint.as_deref().map(without_password))
            .field("region", &self.region)
            .field("credentials", &self.credentials)
            .field("environment", &self.environment.keys())
            .field("allow_http", &self.allow_http)
            .field("time_limit", &self.time_limit)
            .finish()
    }
}

/// Opens the location of `settings.url`. Errors are [`ErrorKind::Invalid`] and say what is wrong with it.
pub fn open(settings: &Settings) -> Result<Arc<dyn Location>> {
    let Some((scheme, rest)) = settings.url.split_once("://") else {
        return Err(
            settings.invalid("a url begins with file:// s3:// az:// or gs://, such as file:///var/lib/lifeboat")
        );
    };
    if scheme == "file" {
        return Ok(Arc::new(Directory::open(directory_path(settings)?)?));
    }
    let (version_by, kind) = match scheme {
        "s3" => (VersionBy::Etag, "bucket"),
        "az" => (VersionBy::Etag, "container"),
        "gs" => (VersionBy::Generation, "bucket"),
        _ => return Err(settings.invalid(format!("unknown scheme {scheme}://; known are file:// s3:// az:// gs://"))),
    };
    let (container, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_end_matches('/');
    if container.is_empty() {
        return Err(settings.invalid(format!("the {kind} is missing: {scheme}://{kind}/prefix")));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !container.bytes().all(plain) {
        return Err(settings.invalid(format!("that is not the name of a {kind}; credentials don't belong in the url")));
    }
    if !prefix.is_empty() && !crate::key::is_key(prefix) {
        return Err(settings.invalid("the prefix may hold a-z A-Z 0-9 - _ . = + @ , : and single slashes only"));
    }
    if settings.time_limit.is_zero() {
        return Err(settings.invalid("the time limit must be longer than nothing"));
    }
    let build = |retries_max| -> Result<Arc<dyn ObjectStore>> {
        Ok(match scheme {
            "s3" => Arc::new(crate::s3::build(settings, container, retries_max)?),
            "az" => Arc::new(crate::azure::build(settings, container, retries_max)?),
            _ => Arc::new(crate::gcs::build(settings, container, retries_max)?),
        })
    };
    let address = format!("{scheme}://{container}{}{prefix}", if prefix.is_empty() { "" } else { "/" });
    let (patient, once) = (build(RETRIES_MAX)?, build(0)?);
    Ok(Arc::new(Bucket::new(address, prefix.to_string(), version_by, settings.time_limit, patient, once)))
}

/// Makes what [`open`] needs and can be made here: the directory of a `file://` url, empty and readable by its
/// owner only. A bucket's owner makes the bucket, with the rules of their house; for one this does nothing.
pub fn create_container(settings: &Settings) -> Result<()> {
    if settings.url.starts_with("file://") { Directory::create(directory_path(settings)?).map(drop) } else { Ok(()) }
}

fn directory_path(settings: &Settings) -> Result<&str> {
    let path = settings.url.strip_prefix("file://").unwrap_or_default();
    if path.is_empty() || path == "/" {
        return Err(settings.invalid("the path is missing: file:///var/lib/lifeboat"));
    }
    if !path.starts_with('/') {
        return Err(settings.invalid(format!("the path must be absolute, with three slashes: file:///{path}")));
    }
    Ok(path)
}

/// `host:port/…`
fn is_loopback(rest: &str) -> bool {
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A url as people paste it: what stands before an `@` or after a `?` may be secret.
fn without_password(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('/').unwrap_or((rest, "")) {
            (authority, path) if authority.contains('@') => {
                let host = authority.rsplit('@').next().unwrap_or_default();
                format!("{scheme}://{host}/{path}")
            }
            _ => url.to_string(),
        },
        None => url.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        let error = open(&Settings::new(url)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        std::error::Error::source(&error).unwrap().to_string()
    }

    #[test]
    fn wrong_urls_say_what_is_wrong() {
        assert!(refused("/var/lib/lifeboat").contains("file:///"));
        assert!(refused("ftp://host/x").contains("unknown scheme ftp://"));
        assert!(refused("s3://").contains("the bucket is missing"));
        assert!(refused("az:///prefix").contains("the container is missing"));
        assert!(refused("file://relative/path").contains("file:///relative/path"));
        assert!(refused("file://").contains("path is missing"));
        assert!(refused("s3://bucket/../other").contains("prefix"));
        assert!(refused("s3://key:hush@bucket/x").contains("credentials don't belong"));
    }

    #[test]
    fn plain_http_only_on_this_machine() {
        let with = |endpoint: &str| {
            let key = Credentials::Key { id: "a".into(), secret: Secret::new("b"), session_token: None };
            open(&Settings { endpoint: Some(endpoint.into()), credentials: key, ..Settings::new("s3://bucket") })
        };
        for good in ["http://127.0.0.1:9000", "http://localhost:1", "http://[::1]:9000", "https://s3.example.org"] {
            assert!(with(good).is_ok(), "{good}");
        }
        for bad in ["http://s3.example.org", "http://127.0.0.1.example.org", "s3.example.org", "http://localhost@evil"]
        {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let settings = Settings {
            credentials: Credentials::Key {
                id: "AKIA".into(),
                secret: Secret::new("hush"),
                session_token: Some(Secret::new("hush")),
            },
            environment: [("AWS_SECRET_ACCESS_KEY".to_string(), "hush".to_string())].into(),
            endpoint: Some("https://me:hush@example.org".into()),
            ..Settings::new("s3://me:hush@bucket/x?secret=hush")
        };
        let shown = format!("{settings:?} {:#?} {:?}", settings, open(&settings).unwrap_err());
        assert!(shown.contains("AKIA") && !shown.contains("hush"), "{shown}");
    }
}
