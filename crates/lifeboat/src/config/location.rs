//! `[location.NAME]`: a place that holds a copy.

use super::secret::SecretSource;
use super::section::{Findings, Section, shown};
use std::path::Path;
use std::time::Duration;

/// How long one request to a location may take when nothing is said: longer than a throttled 64 MiB upload.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Least and most that `max_age` can be.
const MAX_AGES: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(10 * 366 * 24 * 3600));

/// What kind of store a url names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Directory,
    S3,
    Azure,
    Google,
}

/// Where a location is: `file:///path`, `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocationUrl {
    store: Store,
    /// Everything after `://`, without slashes at its end.
    rest: String,
}

impl LocationUrl {
    /// Reads a url; `None` when it isn't one of the four forms.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let store = match scheme {
            "file" => Store::Directory,
            "s3" => Store::S3,
            "az" => Store::Azure,
            "gs" => Store::Google,
            _ => return None,
        };
        let rest = rest.trim_end_matches('/');
        let plain = !rest.chars().any(|c| c.is_control() || c.is_whitespace() && store != Store::Directory);
        let steps = rest.split('/').skip(1);
        let named = match store {
            Store::Directory => rest.starts_with('/'),
            _ => !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['@', '?', '#', ':']),
        };
        (plain && named && steps.into_iter().all(|step| !matches!(step, "" | "." | "..")))
            .then(|| Self { store, rest: rest.to_owned() })
    }

    pub fn store(&self) -> Store {
        self.store
    }

    /// The directory, where the store is one.
    pub fn directory(&self) -> Option<&Path> {
        (self.store == Store::Directory).then(|| Path::new(&self.rest))
    }

    /// Bucket or container, and the prefix in it (empty for none); `None` for a directory.
    pub fn bucket_and_prefix(&self) -> Option<(&str, &str)> {
        (self.store != Store::Directory).then(|| self.rest.split_once('/').unwrap_or((&self.rest, "")))
    }
}

impl std::fmt::Display for LocationUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.store {
            Store::Directory => "file",
            Store::S3 => "s3",
            Store::Azure => "az",
            Store::Google => "gs",
        };
        write!(f, "{scheme}://{}", self.rest)
    }
}

/// What a copy lies on. The 3-2-1 rule counts kinds of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    Disk,
    Object,
    Removable,
}

/// How Lifeboat shows itself to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// As the cloud's own tools find them: environment, profile, instance role.
    Ambient,
    S3 {
        access_key_id: SecretSource,
        secret_access_key: SecretSource,
    },
    Azure {
        account: String,
        account_key: Option<SecretSource>,
    },
    Google {
        service_account_key: SecretSource,
    },
}

/// A disk that lies in a drawer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemovableConfig {
    /// Mounts it: program and arguments.
    pub attach: Option<Vec<String>>,
    /// Unmounts it.
    pub detach: Option<Vec<String>>,
    /// `lifeboat check` says no when the last `sync` is older.
    pub max_age: Option<Duration>,
}

/// A place that holds a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocationConfig {
    pub url: LocationUrl,
    /// For stores that speak a cloud's protocol elsewhere: `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// The region, as the cloud names it or as people call the site.
    pub region: Option<String>,
    pub media: Media,
    /// Nothing there can be deleted before its time: object lock, or a file system that is written once. As it was said.
    pub immutable: bool,
    /// What to run before and after `lifeboat sync`, and how old a removable disk's copy may get.
    pub removable: RemovableConfig,
    pub credentials: Credentials,
    /// How long one request may take before it counts as failed.
    pub time_limit: Duration,
    /// Bytes per second that may be written to it.
    pub max_rate_bytes_per_second: Option<u64>,
}

/// Reads one section. `None` when there were problems; they are in the findings.
pub(super) fn read(mut section: Section, findings: &mut Findings) -> Option<LocationConfig> {
    let before = findings.problems.len();
    let url = read_url(&mut section, findings);
    let store = url.as_ref().map(LocationUrl::store);
    let endpoint = section.read(findings, "endpoint", "http://HOST:PORT or https://HOST", |value| {
        let text = value.as_str()?;
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        (!host.is_empty() && !host.starts_with('/') && !host.contains(['@', ' '])).then(|| text.to_owned())
    });
    let region = section.text(findings, "region", "the name of a region");
    let media =
        section.read(findings, "media", "\"disk\", \"object\" or \"removable\"", |value| match value.as_str()? {
            "disk" => Some(Media::Disk),
            "object" => Some(Media::Object),
            "removable" => Some(Media::Removable),
            _ => None,
        });
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(3600));
    let time_limit =
        section.duration(findings, "time_limit", (least, most), "a duration of \"1s\" to \"1h\", such as \"60s\"");
    let immutable = section.read(findings, "immutable", "true or false", |value| value.as_bool()).unwrap_or_default();
    let removable = read_removable(&mut section, findings, media);
    let credentials = read_credentials(&mut section, findings, store);
    if store == Some(Store::Directory) && endpoint.is_some() {
        let message = format!("`endpoint` in {} has no meaning for a directory; remove it", section.name());
        findings.problem(&section.span_of("endpoint"), message);
    }
    if let Some(store) = store.filter(|store| *store != Store::Directory)
        && matches!(media, Some(Media::Disk | Media::Removable))
    {
        let message = format!("`media` in {} must be \"object\" for a {}", section.name(), bucket_word(store));
        findings.problem(&section.span_of("media"), message);
    }
    if store == Some(Store::Directory) && media == Some(Media::Object) {
        let message = format!("`media` in {} must be \"disk\" or \"removable\" for a directory", section.name());
        findings.problem(&section.span_of("media"), message);
    }
    let max_rate = section.rate(findings, "max_rate");
    section.finish(findings);
    if findings.problems.len() > before {
        return None;
    }
    let url = url?;
    let usual = if url.store() == Store::Directory { Media::Disk } else { Media::Object };
    let media = media.unwrap_or(usual);
    let time_limit = time_limit.unwrap_or(TIME_LIMIT);
    Some(LocationConfig {
        url,
        endpoint,
        region,
        media,
        immutable,
        removable,
        credentials,
        time_limit,
        max_rate_bytes_per_second: max_rate,
    })
}

fn read_removable(section: &mut Section, findings: &mut Findings, media: Option<Media>) -> RemovableConfig {
    let mut command = |key| {
        section.read(findings, key, "a list: program and arguments, such as [\"mount\", \"/mnt/disk-a\"]", |value| {
            let words: Option<Vec<String>> =
                value.as_array()?.iter().map(|word| word.get_ref().as_str().map(str::to_owned)).collect();
            words.filter(|words| words.first().is_some_and(|program| !program.trim().is_empty()))
        })
    };
    let (attach, detach) = (command("attach"), command("detach"));
    let max_age = section.duration(findings, "max_age", MAX_AGES, "a time of 1 hour to 10 years, such as \"14d\"");
    for key in ["attach", "detach", "max_age"] {
        if section.value(key).is_some() && media != Some(Media::Removable) {
            let message = format!("`{key}` in {} has a meaning only beside media = \"removable\"", section.name());
            findings.problem(&section.span_of(key), message);
        }
    }
    RemovableConfig { attach, detach, max_age }
}

fn read_url(section: &mut Section, findings: &mut Findings) -> Option<LocationUrl> {
    const EXPECTED: &str = "file:///path, s3://bucket/prefix, az://container/prefix or gs://bucket/prefix";
    let value = section.value("url");
    let text = value.and_then(|value| value.get_ref().as_str());
    match text {
        // May hold a secret, so it isn't shown.
        Some(text) if text.contains('@') && !text.starts_with("file:") => {
            let message =
                format!("`url` in {} holds credentials; give them by reference, beside the url", section.name());
            findings.problem(&section.span_of("url"), message);
            None
        }
        Some(text) => LocationUrl::parse(text).or_else(|| {
            let message = format!("`url` in {} is \"{}\"; expected {EXPECTED}", section.name(), shown(text));
            findings.problem(&section.span_of("url"), message);
            None
        }),
        None => section.require(findings, "url", EXPECTED, |_| None),
    }
}

fn bucket_word(store: Store) -> &'static str {
    match store {
        Store::Azure => "container",
        _ => "bucket",
    }
}

fn read_credentials(section: &mut Section, findings: &mut Findings, store: Option<Store>) -> Credentials {
    let access_key_id = section.secret(findings, "access_key_id");
    let secret_access_key = section.secret(findings, "secret_access_key");
    let account = section.text(findings, "account", "the name of a storage account");
    let account_key = section.secret(findings, "account_key");
    let service_account_key = section.secret(findings, "service_account_key");
    let given = [
        ("access_key_id", access_key_id.is_some(), Store::S3, "s3://"),
        ("secret_access_key", secret_access_key.is_some(), Store::S3, "s3://"),
        ("account", account.is_some(), Store::Azure, "az://"),
        ("account_key", account_key.is_some(), Store::Azure, "az://"),
        ("service_account_key", service_account_key.is_some(), Store::Google, "gs://"),
    ];
    for (key, _, _, scheme) in given.into_iter().filter(|(_, given, of, _)| *given && store.is_some_and(|is| is != *of))
    {
        let message = format!("`{key}` in {} has no meaning here; it belongs to {scheme} locations", section.name());
        findings.problem(&section.span_of(key), message);
    }
    if access_key_id.is_some() != secret_access_key.is_some() && store == Some(Store::S3) {
        let (has, lacks) = if access_key_id.is_some() {
            ("access_key_id", "secret_access_key")
        } else {
            ("secret_access_key", "access_key_id")
        };
        // When the other one is there but wrong, that has been said already.
        if section.value(lacks).is_none() {
            let message = format!("`{has}` in {} needs `{lacks}` beside it", section.name());
            findings.problem(&section.span_of(has), message);
        }
    }
    if account_key.is_some() && account.is_none() && store == Some(Store::Azure) {
        findings.problem(&section.span(), format!("`account_key` in {} needs `account` beside it", section.name()));
    }
    match (access_key_id, secret_access_key, account, service_account_key) {
        (Some(access_key_id), Some(secret_access_key), _, _) => Credentials::S3 { access_key_id, secret_access_key },
        (_, _, Some(account), _) => Credentials::Azure { account, account_key },
        (_, _, _, Some(service_account_key)) => Credentials::Google { service_account_key },
        _ => Credentials::Ambient,
    }
}
