//! The two kinds of XML that Route 53 speaks with us: a list of records that comes, and a batch of changes that goes.
//!
//! What comes is foreign: it is bounded, and whatever isn't understood is an error.

use serde::Deserialize;

/// A page of a list has some kilobytes.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// All records of a name and a type: changed and compared as a whole.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RecordSet {
    /// With a dot at the end.
    pub name: String,
    #[serde(rename = "Type")]
    pub kind: String,
    /// In seconds; an alias has none.
    #[serde(rename = "TTL")]
    pub time_to_live: Option<u32>,
    #[serde(default)]
    resource_records: Values,
    /// Of weighted, regional and other sets.
    pub set_identifier: Option<String>,
    /// It stands for something of Amazon's.
    alias_target: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct Values {
    #[serde(rename = "ResourceRecord", default)]
    list: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Value {
    #[serde(rename = "Value")]
    text: String,
}

#[derive(Deserialize)]
struct List {
    #[serde(rename = "ResourceRecordSets", default)]
    sets: Sets,
}

#[derive(Default, Deserialize)]
struct Sets {
    #[serde(rename = "ResourceRecordSet", default)]
    list: Vec<RecordSet>,
}

/// Why bytes aren't a list of records.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error("{bytes} bytes are too many for a list of records")]
    TooLarge { bytes: usize },
    #[error("it is no text")]
    NotText(#[from] std::str::Utf8Error),
    #[error("it is not a list of records")]
    NotAList(#[from] quick_xml::DeError),
}

impl RecordSet {
    /// With one value.
    pub fn new(name: &str, kind: &str, time_to_live_seconds: u32, value: &str) -> Self {
        Self {
            name: with_dot(name),
            kind: kind.to_owned(),
            time_to_live: Some(time_to_live_seconds),
            resource_records: Values { list: vec![Value { text: value.to_owned() }] },
            set_identifier: None,
            alias_target: None,
        }
    }

    /// As Route 53 writes them: texts in quotes.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.resource_records.list.iter().map(|value| value.text.as_str())
    }

    /// One name, one set: nothing that depends on who asks, and no alias.
    pub fn is_simple(&self) -> bool {
        self.set_identifier.is_none() && self.alias_target.is_none() && self.time_to_live.is_some()
    }

    fn change(&self, action: &str) -> String {
        let values = self.values().map(|value| {
            format!("<ResourceRecord><Value>{}</Value></ResourceRecord>", quick_xml::escape::escape(value))
        });
        format!(
            "<Change><Action>{action}</Action><ResourceRecordSet><Name>{}</Name><Type>{}</Type><TTL>{}</TTL><ResourceRecords>{}</ResourceRecords></ResourceRecordSet></Change>",
            quick_xml::escape::escape(&self.name),
            quick_xml::escape::escape(&self.kind),
            self.time_to_live.unwrap_or_default(),
            values.collect::<String>()
        )
    }
}

/// # Errors
/// When it is something else.
pub fn decode(bytes: &[u8]) -> Result<Vec<RecordSet>, RecordsError> {
    if bytes.len() > ANSWER_BYTES_MAX {
        return Err(RecordsError::TooLarge { bytes: bytes.len() });
    }
    let list: List = quick_xml::de::from_str(std::str::from_utf8(bytes)?)?;
    Ok(list.sets.list)
}

/// Changes that are carried out together or not at all: `DELETE` of what isn't there exactly so, and `CREATE` of what is there, refuse all of them.
pub fn batch(changes: &[(&str, &RecordSet)]) -> String {
    let changes = changes.iter().map(|(action, set)| set.change(action)).collect::<String>();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><ChangeResourceRecordSetsRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><ChangeBatch><Comment>lifeboat</Comment><Changes>{changes}</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"#
    )
}

/// Route 53 writes names with a dot at the end, and in lower case.
pub fn with_dot(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.').to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"<?xml version="1.0"?>
<ListResourceRecordSetsResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><ResourceRecordSets>
<ResourceRecordSet><Name>_epoch.db.shop.example.</Name><Type>TXT</Type><TTL>5</TTL><ResourceRecords><ResourceRecord><Value>"epoch=7 &amp; more"</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>
<ResourceRecordSet><Name>www.shop.example.</Name><Type>A</Type><AliasTarget><HostedZoneId>Z2</HostedZoneId><DNSName>x.</DNSName><EvaluateTargetHealth>false</EvaluateTargetHealth></AliasTarget></ResourceRecordSet>
</ResourceRecordSets><IsTruncated>false</IsTruncated><MaxItems>2</MaxItems></ListResourceRecordSetsResponse>"#;

    #[test]
    fn a_list_is_read_as_it_is_written() {
        let sets = decode(LIST.as_bytes()).expect("a list");
        assert_eq!(sets[0], RecordSet::new("_epoch.DB.shop.example", "TXT", 5, r#""epoch=7 & more""#));
        assert!(sets[0].is_simple() && !sets[1].is_simple());
        let empty = "<ListResourceRecordSetsResponse><ResourceRecordSets/></ListResourceRecordSetsResponse>";
        assert_eq!(decode(empty.as_bytes()).expect("a list"), []);
        for bytes in [&b""[..], b"<a>", b"\xff", b"{}", &[b' '; ANSWER_BYTES_MAX + 1]] {
            decode(bytes).expect_err("no list");
        }
    }

    #[test]
    fn a_batch_takes_away_exactly_what_was_there() {
        let sets = decode(LIST.as_bytes()).expect("a list");
        let new = RecordSet::new("db.shop.example", "A", 5, "10.0.0.2");
        let text = batch(&[("DELETE", &sets[0]), ("UPSERT", &new)]);
        let expected = r#"<Changes><Change><Action>DELETE</Action><ResourceRecordSet><Name>_epoch.db.shop.example.</Name><Type>TXT</Type><TTL>5</TTL><ResourceRecords><ResourceRecord><Value>&quot;epoch=7 &amp; more&quot;</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></Change><Change><Action>UPSERT</Action><ResourceRecordSet><Name>db.shop.example.</Name><Type>A</Type><TTL>5</TTL><ResourceRecords><ResourceRecord><Value>10.0.0.2</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></Change></Changes>"#;
        assert!(text.contains(expected), "{text}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_list_or_an_error(text: String) {
            let _ = decode(text.as_bytes());
        }
    }
}
