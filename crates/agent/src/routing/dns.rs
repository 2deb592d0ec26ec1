//! A name in DNS, changed by RFC 2136 updates that are signed with TSIG.
//!
//! Beside the address there is a text, `_epoch.NAME TXT "epoch=7 primary=ohio host=10.0.0.1 port=5432"`. One message replaces both, and is carried
//! out by the server only if the text is still the one that was read: an agent that was cut off changes nothing.
//!
//! Not here: how long resolvers and clients keep what they have heard. They may do so for longer than the time to live; see `docs/routing.md`.

mod exchange;

use super::target::{Mark, refused, superseded, unavailable};
use super::{Applied, RouteError, RouteTable, RouteTarget};
use crate::lease::Secret;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use exchange::Server;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode, UpdateMessage};
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::rdata::{CNAME, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigner};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Others change it once for each of their epochs; who loses more often than this comes again later.
const TURNS_MAX: usize = 4;
/// How far our clock and the server's may be apart, in seconds: what RFC 8945 recommends.
const CLOCKS_APART_SECONDS_MAX: u16 = 300;
/// A text in a record has at most this many bytes.
const TEXT_BYTES_MAX: usize = 255;

/// How updates are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyAlgorithm {
    #[default]
    Sha256,
    Sha384,
    Sha512,
}

/// Which name, where, and who we are.
#[derive(Debug, Clone)]
pub struct DnsSettings {
    /// The zone's primary server, port 53 as a rule. Asked and changed over TCP.
    pub server: SocketAddr,
    pub zone: String,
    /// Under which clients find the primary, with its zone: `db.shop.example`.
    pub name: String,
    /// For how long a resolver may remember it, in seconds. 5 is usual; less helps nobody.
    pub time_to_live_seconds: u32,
    pub key_name: String,
    /// In base64, as `tsig-keygen` writes it.
    pub key: Secret,
    pub key_algorithm: KeyAlgorithm,
}

/// See the module.
pub struct DnsRoute {
    server: Server,
    zone: Name,
    name: Name,
    epoch_name: Name,
    time_to_live_seconds: u32,
    title: String,
}

impl fmt::Debug for DnsRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsRoute").field("name", &self.title).finish_non_exhaustive()
    }
}

/// What is there.
struct Present {
    texts: Vec<Record>,
    address: Vec<RData>,
}

impl DnsRoute {
    /// Operations take at most `limit`. Nothing is asked yet.
    ///
    /// # Errors
    /// [`RouteError::Refused`] when a name or the key can't be understood.
    pub fn new(settings: &DnsSettings, limit: Duration) -> Result<Self, RouteError> {
        let title = format!("DNS name {} at {}", settings.name.trim_end_matches('.'), settings.server);
        let name_of = |text: &str| {
            let mut name = Name::from_ascii(text).map_err(|error| refused(&title, format!("{text}: {error}")))?;
            name.set_fqdn(true);
            Ok::<_, RouteError>(name)
        };
        let (zone, name, key_name) = (name_of(&settings.zone)?, name_of(&settings.name)?, name_of(&settings.key_name)?);
        if !zone.zone_of(&name) {
            return Err(refused(&title, format!("it isn't in the zone {zone}")));
        }
        let epoch_name = name.prepend_label("_epoch").map_err(|error| refused(&title, error.to_string()))?;
        let key = BASE64.decode(settings.key.reveal()).map_err(|_| refused(&title, "the key is not base64"))?;
        let algorithm = match settings.key_algorithm {
            KeyAlgorithm::Sha256 => TsigAlgorithm::HmacSha256,
            KeyAlgorithm::Sha384 => TsigAlgorithm::HmacSha384,
            KeyAlgorithm::Sha512 => TsigAlgorithm::HmacSha512,
        };
        let signer = TSigner::new(key, algorithm, key_name, CLOCKS_APART_SECONDS_MAX);
        let signer = signer.map_err(|error| refused(&title, error.to_string()))?;
        let server = Server { address: settings.server, signer, limit };
        Ok(Self { server, zone, name, epoch_name, time_to_live_seconds: settings.time_to_live_seconds, title })
    }

    /// What the server itself has: it is authoritative, and nobody's memory is asked.
    async fn look(&self) -> Result<Present, RouteError> {
        let mut texts = self.ask(&self.epoch_name, RecordType::TXT).await?;
        texts.retain(|record| record.name == self.epoch_name && record.record_type() == RecordType::TXT);
        let mut address = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            let found = self.ask(&self.name, kind).await?;
            // A name that stands for another comes with whatever that one is.
            let of_name = found.into_iter().filter(|record| record.name == self.name).map(|record| record.data);
            address.extend(of_name.filter(|data| !address.contains(data)).collect::<Vec<_>>());
        }
        Ok(Present { texts, address })
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Vec<Record>, RouteError> {
        let mut message = Message::query();
        message.add_query(Query::query(name.clone(), kind));
        let answer = self.server.exchange(message).await.map_err(|why| unavailable(&self.title, why))?;
        match answer.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer.answers.clone()),
            code => Err(self.denied(code)),
        }
    }

    /// An address is one, and a name is stood for.
    fn data_for(&self, host: &str) -> Result<RData, RouteError> {
        match host.parse() {
            Ok(IpAddr::V4(address)) => Ok(RData::A(address.into())),
            Ok(IpAddr::V6(address)) => Ok(RData::AAAA(address.into())),
            Err(_) => {
                let mut name = Name::from_ascii(host).map_err(|error| refused(&self.title, error.to_string()))?;
                name.set_fqdn(true);
                Ok(RData::CNAME(CNAME(name)))
            }
        }
    }

    fn update(&self, present: &Present, data: RData, line: &str) -> Message {
        let mut message = Message::new(Message::query().id, MessageType::Query, OpCode::Update);
        let mut zone = Query::query(self.zone.clone(), RecordType::SOA);
        zone.set_query_class(DNSClass::IN);
        message.add_zone(zone);
        if present.texts.is_empty() {
            let mut absent = Record::update0(self.epoch_name.clone(), 0, RecordType::TXT);
            absent.dns_class = DNSClass::NONE;
            message.add_pre_requisite(absent);
        }
        for text in &present.texts {
            message.add_pre_requisite(Record::from_rdata(self.epoch_name.clone(), 0, text.data.clone()));
        }
        let everything = [
            (&self.name, RecordType::A),
            (&self.name, RecordType::AAAA),
            (&self.name, RecordType::CNAME),
            (&self.epoch_name, RecordType::TXT),
        ];
        for (name, kind) in everything {
            let mut whole_set = Record::update0(name.clone(), 0, kind);
            whole_set.dns_class = DNSClass::ANY;
            message.add_update(whole_set);
        }
        let text = RData::TXT(TXT::new(vec![line.to_owned()]));
        for (name, data) in [(&self.name, data), (&self.epoch_name, text)] {
            message.add_update(Record::from_rdata(name.clone(), self.time_to_live_seconds, data));
        }
        message
    }

    fn denied(&self, code: ResponseCode) -> RouteError {
        match code {
            ResponseCode::NotAuth | ResponseCode::Refused | ResponseCode::NotZone | ResponseCode::NotImp => {
                refused(&self.title, format!("the server answers {code}: check the key, and the zone's update policy"))
            }
            code => unavailable(&self.title, format!("the server answers {code}")),
        }
    }
}

/// The text of a record, if it is one of ours.
fn line_of(record: &Record) -> Option<String> {
    let RData::TXT(text) = &record.data else { return None };
    let bytes: Vec<u8> = text.txt_data.iter().flat_map(|piece| piece.iter().copied()).collect();
    String::from_utf8(bytes).ok().filter(|line| Mark::epoch_of_line(line).is_some())
}

#[async_trait]
impl RouteTarget for DnsRoute {
    fn name(&self) -> String {
        self.title.clone()
    }

    async fn apply(&self, table: &RouteTable) -> Result<Applied, RouteError> {
        let Some(mark) = Mark::of(table) else { return Ok(Applied::Nothing) };
        let (line, data) = (mark.to_line(), self.data_for(&mark.primary.host)?);
        if line.len() > TEXT_BYTES_MAX {
            return Err(refused(&self.title, "the names of the member and its host are too long for a record"));
        }
        for _ in 0..TURNS_MAX {
            let present = self.look().await?;
            let lines = present.texts.iter().map(line_of).collect::<Option<Vec<_>>>();
            let Some(lines) = lines else {
                return Err(refused(
                    &self.title,
                    format!("the text of {} isn't one of ours; delete it", self.epoch_name),
                ));
            };
            let newest = lines.iter().filter_map(|line| Mark::epoch_of_line(line)).max();
            if let Some(theirs) = newest.filter(|theirs| *theirs > mark.epoch) {
                return Err(superseded(&self.title, mark.epoch, theirs));
            }
            if lines == [line.clone()] && present.address == [data.clone()] {
                return Ok(Applied::Already);
            }
            let update = self.update(&present, data.clone(), &line);
            let answer = self.server.exchange(update).await.map_err(|why| unavailable(&self.title, why))?;
            match answer.response_code {
                ResponseCode::NoError => return Ok(Applied::Changed),
                // Somebody was between: a text is there, or another than was read.
                ResponseCode::NXRRSet | ResponseCode::YXRRSet | ResponseCode::NXDomain | ResponseCode::YXDomain => {}
                code => return Err(self.denied(code)),
            }
        }
        Err(unavailable(&self.title, "others change it all the time"))
    }
}
