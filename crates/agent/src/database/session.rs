//! One session with our own server, asked the same question again and again.

use super::DatabaseSettings;
use super::lineage;
use super::managed::{self, Managed, NAMES};
use super::seen::{Receiver, Told};
use crate::clock;
use lifeboat_failover::{Lineage, Position};
use lifeboat_postgres::Lsn;
use lifeboat_postgres::connection::Client;
use lifeboat_postgres::wal_file::SegmentSize;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// An answer that takes longer isn't waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// A standby that was heard longer ago has gone, even where its connection doesn't know that yet.
const HEARD_WITHIN_SECONDS: f64 = 5.0;

/// Everything at once, as one row of JSON: a look costs one round trip.
const QUESTION: &str = "select json_build_object(
 'in_recovery', pg_is_in_recovery(),
 'offset', (case when pg_is_in_recovery() then coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')
            else pg_current_wal_flush_lsn() end)::text,
 'boundary', (case when pg_is_in_recovery() then '0/0' else pg_current_wal_insert_lsn() end)::text,
 'replayed', coalesce(pg_last_wal_replay_lsn(), '0/0')::text,
 'file', case when pg_is_in_recovery() then null else pg_walfile_name(pg_current_wal_insert_lsn()) end,
 'replay_timeline', (select greatest(c.timeline_id, r.min_recovery_end_timeline) from pg_control_checkpoint() c, pg_control_recovery() r),
 'replay_age', extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()),
 'receiver', (select json_build_object('streams', status = 'streaming', 'host', sender_host, 'port', sender_port, 'timeline', received_tli,
     'age', extract(epoch from clock_timestamp() - last_msg_receipt_time)) from pg_stat_wal_receiver),
 'senders', (select coalesce(json_agg(json_build_object('name', application_name, 'flushed', flush_lsn::text,
     'replayed', replay_lsn::text, 'replay_lag', extract(epoch from replay_lag), 'age', extract(epoch from clock_timestamp() - reply_time))), '[]') from pg_stat_replication where state = 'streaming'),
 'settings', (select json_object_agg(name, current_setting(name, true)) from unnest($1::text[]) name),
 'slots', (select coalesce(json_object_agg(slot_name, restart_lsn::text), '{}') from pg_replication_slots where slot_type = 'physical'),
 'lost', (select coalesce(json_agg(slot_name), '[]') from pg_replication_slots where wal_status = 'lost')
)::text";

#[derive(Deserialize)]
struct Answer {
    in_recovery: bool,
    offset: String,
    boundary: String,
    replayed: String,
    file: Option<String>,
    replay_timeline: u32,
    replay_age: Option<f64>,
    receiver: Option<AnswerReceiver>,
    senders: Vec<AnswerSender>,
    settings: BTreeMap<String, Option<String>>,
    slots: BTreeMap<String, Option<String>>,
    lost: Vec<String>,
}

#[derive(Deserialize)]
struct AnswerReceiver {
    streams: bool,
    host: Option<String>,
    port: Option<i64>,
    timeline: Option<u32>,
    age: Option<f64>,
}

#[derive(Deserialize)]
struct AnswerSender {
    name: String,
    flushed: Option<String>,
    replayed: Option<String>,
    /// Nothing while there is nothing to replay.
    replay_lag: Option<f64>,
    age: Option<f64>,
}

/// See the module.
#[derive(Default)]
pub struct Session {
    client: Option<Client>,
}

/// What a look through the session gives beside what was told.
pub struct Look {
    pub told: Told,
    /// The beginning of a record that is going to be at this place, on a primary.
    pub boundary: Lsn,
}

impl Session {
    /// Asks; connects first where there is no session. `None`: no answer in time.
    pub async fn look(&mut self, settings: &DatabaseSettings, segment_size: SegmentSize) -> Option<Look> {
        let answer = tokio::time::timeout(PATIENCE, self.ask(settings)).await;
        match answer {
            Ok(Ok(text)) => understand(settings, segment_size, &text).or_else(|| {
                tracing::warn!("the server's answer isn't understood");
                None
            }),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the server doesn't answer");
                self.client = None;
                None
            }
            Err(_) => {
                self.client = None;
                None
            }
        }
    }

    async fn ask(&mut self, settings: &DatabaseSettings) -> Result<String, lifeboat_postgres::connection::Error> {
        let client = self.client(settings).await?;
        let names: Vec<&str> = NAMES.to_vec();
        let row = client.query_one(QUESTION, &[&names]).await;
        let row =
            row.map_err(|error| lifeboat_postgres::connection::Error::from_driver("look at the server", error))?;
        Ok(row.get(0))
    }

    /// The session itself, for steps that are SQL.
    pub async fn client(
        &mut self,
        settings: &DatabaseSettings,
    ) -> Result<&Client, lifeboat_postgres::connection::Error> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            let client = settings.local.connect().await?;
            // What we ask must not wait for standbys that are away, and must not be ended by somebody's defaults.
            let guard = "set synchronous_commit = local; set statement_timeout = 0; set idle_session_timeout = 0; set jit = off";
            let quiet = client.batch_execute(guard).await;
            quiet.map_err(|error| lifeboat_postgres::connection::Error::from_driver("prepare a session", error))?;
            self.client = Some(client);
        }
        self.client.as_ref().ok_or_else(|| {
            lifeboat_postgres::connection::Error::new(
                lifeboat_postgres::connection::ErrorKind::Lost,
                "prepare a session",
                "it ended at once",
            )
        })
    }

    pub fn forget(&mut self) {
        self.client = None;
    }
}

fn offset(text: &str) -> Option<u64> {
    text.parse::<Lsn>().ok().map(|lsn| lsn.0)
}

fn understand(settings: &DatabaseSettings, segment_size: SegmentSize, text: &str) -> Option<Look> {
    let now = clock::now();
    let answer: Answer = serde_json::from_str(text).ok()?;
    let offset_now = offset(&answer.offset)?;
    let ago =
        |age: Option<f64>| now.before(Duration::try_from_secs_f64(age.unwrap_or(0.0).max(0.0)).unwrap_or_default());
    let receiver = answer.receiver.as_ref().map(|receiver| Receiver {
        from: receiver
            .host
            .as_ref()
            .and_then(|host| settings.member_at(host, u16::try_from(receiver.port?).ok()?).cloned()),
        streams: receiver.streams,
        received_at: ago(receiver.age),
    });
    let lineage = match answer.file.as_ref().and_then(|name| u32::from_str_radix(name.get(..8)?, 16).ok()) {
        Some(timeline) => Lineage(timeline),
        None => {
            let streamed = answer.receiver.as_ref().and_then(|receiver| receiver.timeline).unwrap_or(0);
            let known = Lineage(streamed.max(answer.replay_timeline));
            lineage::newest_with(&settings.data_dir, segment_size, offset_now, known)
        }
    };
    // Who believes in another lineage isn't counted, by the server neither.
    let follower = |sender: &AnswerSender| {
        let (name, on) = managed::from_name(&sender.name)?;
        (on == lineage && settings.addresses.contains_key(&name)).then_some(name)
    };
    let members = |sender: &AnswerSender| {
        let heard = sender.age.is_none_or(|age| age <= HEARD_WITHIN_SECONDS);
        let name = follower(sender)?;
        let flushed = sender.flushed.as_deref().and_then(offset)?;
        heard.then_some((name, Position { lineage, offset: flushed }))
    };
    let behind = |sender: &AnswerSender| {
        let replayed = sender.replayed.as_deref().and_then(offset)?;
        let lag = Duration::try_from_secs_f64(sender.replay_lag.unwrap_or(0.0).max(0.0)).unwrap_or_default();
        Some((follower(sender)?, (offset_now.saturating_sub(replayed), lag)))
    };
    let in_force: Managed =
        answer.settings.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect();
    Some(Look {
        boundary: answer.boundary.parse().ok()?,
        told: Told {
            in_recovery: answer.in_recovery,
            position: Position { lineage, offset: offset_now },
            replayed: offset(&answer.replayed)?,
            replay_age: answer.replay_age.and_then(|age| Duration::try_from_secs_f64(age.max(0.0)).ok()),
            receiver,
            confirmed: answer.senders.iter().filter_map(members).collect(),
            behind: answer.senders.iter().filter_map(behind).collect(),
            in_force,
            lost_slots: answer.lost,
            slots: answer.slots.into_iter().map(|(name, at)| (name, at.as_deref().and_then(offset))).collect(),
        },
    })
}
