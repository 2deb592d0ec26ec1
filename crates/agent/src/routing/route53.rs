//! A name in Amazon's Route 53.
//!
//! Beside the address there is a text, `_epoch.NAME TXT "epoch=7 primary=ohio host=10.0.0.1 port=5432"`. One batch of changes takes away exactly the text that was
//! read, creates the new one, and sets the address. A batch is carried out whole or not at all, and taking away what isn't there refuses it: an agent that was
//! cut off changes nothing. A first text is only created, which is refused when there is one.
//!
//! Route 53's own interface is in one region (us-east-1): when that one is away, names keep their addresses. A route for which that matters needs another way.

pub mod records;

use super::target::{Mark, refused, superseded, unavailable};
use super::{Applied, RouteError, RouteTable, RouteTarget};
use async_trait::async_trait;
use lifeboat_location::{AwsSigner, Credentials, Settings};
use records::{ANSWER_BYTES_MAX, RecordSet, batch, decode, with_dot};
use reqwest::{Client, Method, StatusCode};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

const ENDPOINT: &str = "https://route53.amazonaws.com";
/// Others change it once for each of their epochs; who loses more often than this comes again later.
const TURNS_MAX: usize = 4;
/// A text in a record has at most this many bytes.
const TEXT_BYTES_MAX: usize = 255;

/// Which name, and who we are.
#[derive(Debug, Clone)]
pub struct Route53Settings {
    /// `Z0123456789ABCDEFGHIJ`
    pub hosted_zone: String,
    /// Under which clients find the primary, with its zone: `db.shop.example`.
    pub name: String,
    /// For how long a resolver may remember it, in seconds.
    pub time_to_live_seconds: u32,
    pub credentials: Credentials,
    /// `AWS_*` variables as the caller's environment has them, for [`Credentials::Ambient`].
    pub environment: BTreeMap<String, String>,
    /// Instead of Amazon's own. Plain http only on loopback.
    pub endpoint: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Route53Route {
    client: Client,
    signer: AwsSigner,
    /// Of the zone's record sets.
    url: String,
    host_name: String,
    epoch_name: String,
    time_to_live_seconds: u32,
    name: String,
}

/// What is there.
struct Present {
    text: Option<RecordSet>,
    addresses: Vec<RecordSet>,
}

impl Route53Route {
    /// Operations take at most `limit`. Nothing is asked yet.
    ///
    /// # Errors
    /// [`RouteError::Refused`] when the settings can't be used.
    pub fn new(settings: &Route53Settings, limit: Duration) -> Result<Self, RouteError> {
        let name = format!("Route 53 name {}", settings.name.trim_end_matches('.'));
        let plain =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !plain(&settings.name) || !plain(&settings.hosted_zone) {
            return Err(refused(&name, "the name and the zone's identifier are letters, digits, dots and dashes"));
        }
        let endpoint = settings.endpoint.as_deref().unwrap_or(ENDPOINT).trim_end_matches('/');
        let signing = Settings {
            credentials: settings.credentials.clone(),
            environment: settings.environment.clone(),
            // Of this service, whatever region the machine is in.
            region: Some("us-east-1".into()),
            endpoint: settings.endpoint.clone(),
            ..Settings::new("s3://route53")
        };
        let wrong = |error: &dyn std::error::Error| refused(&name, error.to_string());
        let signer = AwsSigner::new(&signing).map_err(|error| wrong(&error))?;
        let client = Client::builder().timeout(limit).connect_timeout(limit / 2).no_proxy();
        Ok(Self {
            client: client.build().map_err(|error| wrong(&error))?,
            signer,
            url: format!("{endpoint}/2013-04-01/hostedzone/{}/rrset", settings.hosted_zone),
            host_name: with_dot(&settings.name),
            epoch_name: with_dot(&format!("_epoch.{}", settings.name)),
            time_to_live_seconds: settings.time_to_live_seconds,
            name,
        })
    }

    async fn ask(&self, method: Method, url: &str, body: String) -> Result<(StatusCode, Vec<u8>), RouteError> {
        let headers = self.signer.sign("route53", method.as_str(), url, body.as_bytes()).await;
        let headers = headers.map_err(|error| refused(&self.name, error.to_string()))?;
        let mut request = self.client.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let away = |error: reqwest::Error| unavailable(&self.name, error.without_url().to_string());
        let mut answer = request.send().await.map_err(away)?;
        let (status, mut content) = (answer.status(), Vec::new());
        while let Some(piece) = answer.chunk().await.map_err(away)? {
            content.extend_from_slice(&piece);
            if content.len() > ANSWER_BYTES_MAX {
                return Err(unavailable(&self.name, "the answer is too large"));
            }
        }
        let text = || String::from_utf8_lossy(&content).chars().take(300).collect::<String>();
        match status {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => {
                Err(refused(&self.name, format!("{status}: {}", text())))
            }
            _ if status.is_success() || status == StatusCode::BAD_REQUEST => Ok((status, content)),
            _ => Err(unavailable(&self.name, format!("{status}: {}", text()))),
        }
    }

    /// All sets of a name: they stand together in the list.
    async fn sets_of(&self, name: &str) -> Result<Vec<RecordSet>, RouteError> {
        let url = format!("{}?maxitems=20&name={name}", self.url);
        let (status, content) = self.ask(Method::GET, &url, String::new()).await?;
        if !status.is_success() {
            return Err(refused(&self.name, format!("{status}: {}", String::from_utf8_lossy(&content))));
        }
        let sets = decode(&content).map_err(|error| unavailable(&self.name, error.to_string()))?;
        Ok(sets.into_iter().filter(|set| with_dot(&set.name) == name).collect())
    }

    async fn look(&self) -> Result<Present, RouteError> {
        let texts = self.sets_of(&self.epoch_name).await?;
        let is_address = |set: &RecordSet| ["A", "AAAA", "CNAME"].contains(&set.kind.as_str());
        let addresses: Vec<_> = self.sets_of(&self.host_name).await?.into_iter().filter(is_address).collect();
        if !addresses.iter().all(RecordSet::is_simple) {
            return Err(refused(
                &self.name,
                "the name is an alias, or depends on who asks; it must be a simple record",
            ));
        }
        Ok(Present { text: texts.into_iter().find(|set| set.kind == "TXT"), addresses })
    }

    /// Whether it was carried out; `false`: somebody was between.
    async fn write(&self, present: &Present, text: &RecordSet, address: &RecordSet) -> Result<bool, RouteError> {
        let gone = present.addresses.iter().filter(|set| set.kind != address.kind);
        let mut changes: Vec<_> = present.text.iter().chain(gone).map(|set| ("DELETE", set)).collect();
        changes.extend([("CREATE", text), ("UPSERT", address)]);
        let (status, content) = self.ask(Method::POST, &self.url, batch(&changes)).await?;
        if status.is_success() {
            return Ok(true);
        }
        let said = String::from_utf8_lossy(&content);
        // Route 53 says so in words only, and a look tells more.
        if said.contains("InvalidChangeBatch") || said.contains("PriorRequestNotComplete") {
            return Ok(false);
        }
        Err(refused(&self.name, said.chars().take(300).collect::<String>()))
    }
}

fn line_of(set: &RecordSet) -> Option<&str> {
    let mut values = set.values();
    let line = values.next()?.strip_prefix('"')?.strip_suffix('"')?;
    (values.next().is_none() && Mark::epoch_of_line(line).is_some()).then_some(line)
}

#[async_trait]
impl RouteTarget for Route53Route {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn apply(&self, table: &RouteTable) -> Result<Applied, RouteError> {
        let Some(mark) = Mark::of(table) else { return Ok(Applied::Nothing) };
        let line = mark.to_line();
        if line.len() > TEXT_BYTES_MAX || line.contains(['"', '\\']) {
            return Err(refused(&self.name, "the names of the member and its host don't fit into a record"));
        }
        let (kind, value) = match mark.primary.host.parse() {
            Ok(IpAddr::V4(address)) => ("A", address.to_string()),
            Ok(IpAddr::V6(address)) => ("AAAA", address.to_string()),
            Err(_) => ("CNAME", with_dot(&mark.primary.host)),
        };
        let address = RecordSet::new(&self.host_name, kind, self.time_to_live_seconds, &value);
        let text = RecordSet::new(&self.epoch_name, "TXT", self.time_to_live_seconds, &format!("\"{line}\""));
        for _ in 0..TURNS_MAX {
            let present = self.look().await?;
            if let Some(there) = &present.text {
                let Some(theirs) = line_of(there).and_then(Mark::epoch_of_line) else {
                    let why = format!("the text of {} isn't one of ours; delete it", self.epoch_name);
                    return Err(refused(&self.name, why));
                };
                if theirs > mark.epoch {
                    return Err(superseded(&self.name, mark.epoch, theirs));
                }
                if line_of(there) == Some(&line) && same_address(&present.addresses, &address) {
                    return Ok(Applied::Already);
                }
            }
            if self.write(&present, &text, &address).await? {
                return Ok(Applied::Changed);
            }
        }
        Err(unavailable(&self.name, "others change it all the time, or Route 53 refuses the batch"))
    }
}

fn same_address(present: &[RecordSet], wanted: &RecordSet) -> bool {
    matches!(present, [one] if one.kind == wanted.kind && one.values().eq(wanted.values()))
}
