//! `lifeboat ledger verify`: from one location and the public key alone, or of all locations against each other.

use super::{load_config, short};
use crate::cli::{Global, LedgerVerifyArguments};
use crate::commands::find_named;
use crate::config::{Config, UnknownKeys};
use crate::evidence::{Book, DRILL, Seen, run_of};
use crate::failure::{Failure, FailureKind};
use crate::output::table::{Column, render, terminal_width};
use crate::output::{Output, Tone, human};
use crate::{removable, rooms};
use lifeboat_ledger::{EntryName, Finding, FlawKind, Grade, Known, Look, Place, PublicKey, Verdict};
use lifeboat_location as location;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// A file with a public key is no longer.
const KEY_FILE_BYTES_MAX: u64 = 4096;
/// Shorter, and another entry may begin so, too.
const HEAD_DIGITS_MIN: usize = 8;

/// Where the key came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Given,
    Configuration,
    /// Whoever can write there can write another one.
    Beside,
}

impl Trust {
    fn word(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Configuration => "configuration",
            Self::Beside => "beside_the_entries",
        }
    }

    fn told(self) -> &'static str {
        match self {
            Self::Given => "as given",
            Self::Configuration => "made from the repository's key",
            Self::Beside => "trusted only because it lies beside the entries",
        }
    }
}

/// What is looked at, and with what.
struct Subject {
    places: Vec<Place>,
    away: Vec<(String, String)>,
    key: Option<(PublicKey, Trust)>,
    seen: Option<Seen>,
}

pub fn run(global: &Global, arguments: &LedgerVerifyArguments, output: &Output) -> Result<(), Failure> {
    let given = arguments.public_key.as_deref().map(given_key).transpose()?;
    for head in &arguments.head {
        check_head(head)?;
    }
    rooms::runtime()?.block_on(async {
        let subject = match arguments.url.is_empty() {
            true => configured(global, arguments, given, output).await?,
            false => unconfigured(arguments, given)?,
        };
        verify(subject, arguments, output).await
    })
}

/// 64 digits, or a file with them or with the document that lies beside the entries.
fn given_key(text: &str) -> Result<PublicKey, Failure> {
    if let Ok(key) = PublicKey::parse(text) {
        return Ok(key);
    }
    let hint = "`lifeboat ledger key` shows it: 64 digits, or give a file that holds them";
    let mut content = String::new();
    std::fs::File::open(text).and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut content)).map_err(
        |error| {
            let message = format!("--public-key {text:?} is neither a key nor a file that can be read");
            Failure::from_error(FailureKind::Usage, &error).while_doing(message).with_hint(hint)
        },
    )?;
    PublicKey::parse(&content).map_err(|error| Failure::from(error).while_doing(format!("read {text}")).with_hint(hint))
}

fn check_head(head: &str) -> Result<(), Failure> {
    let is_one = (HEAD_DIGITS_MIN..=64).contains(&head.len()) && head.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then_some(()).ok_or_else(|| {
        Failure::new(FailureKind::Usage, format!("--head {head:?} is not the hash of an entry"))
            .with_hint(format!("give the hash from the report or the drill, or its first {HEAD_DIGITS_MIN} digits"))
    })
}

fn unconfigured(arguments: &LedgerVerifyArguments, given: Option<PublicKey>) -> Result<Subject, Failure> {
    let mut places = Vec::new();
    for url in &arguments.url {
        let settings = rooms::plain_settings(url, arguments.endpoint.clone());
        let location = location::open(&settings).map_err(lifeboat_repository::Error::from)?;
        places.push(Place { name: url.clone(), location });
    }
    Ok(Subject { places, away: Vec::new(), key: given.map(|key| (key, Trust::Given)), seen: None })
}

async fn configured(
    global: &Global,
    arguments: &LedgerVerifyArguments,
    given: Option<PublicKey>,
    output: &Output,
) -> Result<Subject, Failure> {
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    for name in &arguments.from {
        find_named("location", name, &config.locations)?;
    }
    let is_wanted = |name: &str| arguments.from.is_empty() || arguments.from.iter().any(|wanted| wanted == name);
    for absent in removable::attached(&config, &rooms::all_locations(&config)).1.iter().filter(|name| is_wanted(name)) {
        output.tell(&format!("note: {absent} is not attached, and left out"));
    }
    let mut subject = match given {
        Some(key) => with_given_key(&config, key)?,
        None => {
            let book = Book::open(&config, output).await?;
            let key = Some((book.key.public().clone(), Trust::Configuration));
            Subject { places: book.places, away: book.away, key, seen: Some(book.seen) }
        }
    };
    subject.places.retain(|place| is_wanted(&place.name));
    subject.away.retain(|(place, _)| is_wanted(place));
    Ok(subject)
}

/// Needs no passphrase: an auditor has none.
fn with_given_key(config: &Config, key: PublicKey) -> Result<Subject, Failure> {
    let (names, _) = removable::attached(config, &rooms::all_locations(config));
    let replicas = rooms::replicas(config, &names)?.into_iter();
    let places = replicas.map(|replica| Place { name: replica.name, location: replica.location }).collect();
    let seen = Book::seen(config, &key).ok();
    Ok(Subject { places, away: Vec::new(), key: Some((key, Trust::Given)), seen })
}

async fn verify(subject: Subject, arguments: &LedgerVerifyArguments, output: &Output) -> Result<(), Failure> {
    let Subject { places, mut away, key, seen } = subject;
    let mut looks = Vec::new();
    let answers = futures::future::join_all(places.iter().map(lifeboat_ledger::look)).await;
    for (place, answer) in places.iter().zip(answers) {
        match answer {
            Ok(look) => looks.push(look),
            Err(error) => {
                away.push((place.name.clone(), Failure::from_error(FailureKind::Unavailable, &error).sentence()))
            }
        }
    }
    if looks.is_empty() {
        return nobody_away(&away);
    }
    let Some((key, trust)) = key.or_else(|| Some((beside(&looks)?, Trust::Beside))) else {
        return Err(no_entry(&looks));
    };
    let has_memory = seen.is_some();
    let seen_here = seen.as_ref().map(Seen::by_name).unwrap_or_default();
    let heads = arguments.head.iter().map(|head| head.to_lowercase()).collect();
    let mut verdict = lifeboat_ledger::judge(&looks, &key, &Known { heads, seen: seen_here });
    find_contradictions(&mut verdict);
    let is_sound = verdict.worst() != Some(Grade::Damage);
    if let Some(mut seen) = seen.filter(|_| is_sound) {
        let heads: BTreeMap<String, BTreeSet<EntryName>> =
            looks.iter().map(|look| (look.place.clone(), look.heads())).collect();
        seen.verified(&heads);
    }
    if looks.len() == 1 && arguments.head.is_empty() && !has_memory {
        output.hint("whether the last entries were cut off can't be seen in one copy: give --head, from a report or the end of a drill");
    }
    if output.is_json() {
        output.document(&document(&looks, &verdict, (&key, trust), &away))?;
    } else {
        tell(&looks, &verdict, (&key, trust), output)?;
    }
    ending(&looks, &verdict, &away)
}

/// What is wrong with the ledger of all locations that answer, in words. What one lacks that was away is not wrong.
pub async fn is_whole(config: &Config, output: &Output) -> Result<Vec<String>, Failure> {
    let book = Book::open(config, output).await?;
    let answers = futures::future::join_all(book.places.iter().map(lifeboat_ledger::look)).await;
    let failed = |error| Failure::from_error(FailureKind::Unavailable, &error);
    let looks: Vec<Look> = answers.into_iter().collect::<Result<_, _>>().map_err(failed)?;
    let known = Known { heads: Vec::new(), seen: book.seen.by_name() };
    let mut verdict = lifeboat_ledger::judge(&looks, book.key.public(), &known);
    find_contradictions(&mut verdict);
    let damage = verdict.findings.iter().filter(|finding| finding.grade == Grade::Damage);
    Ok(damage.map(|finding| format!("{} {}: {}", finding.location, finding.object, finding.why)).collect())
}

fn beside(looks: &[Look]) -> Option<PublicKey> {
    looks.iter().flat_map(|look| look.keys.values()).find_map(|key| key.clone().ok())
}

/// Records whose verdict doesn't follow from the rest.
fn find_contradictions(verdict: &mut Verdict) {
    let drills = verdict.entries.values().filter(|signed| signed.entry.kind == DRILL);
    let wrong = drills.filter_map(|signed| Some((signed.name(), run_of(&signed.entry.body).err()?)));
    let found = wrong.map(|(name, why)| Finding {
        grade: Grade::Damage,
        location: String::new(),
        kind: FlawKind::Contradicts,
        object: name.to_string(),
        why,
    });
    verdict.findings.extend(found.collect::<Vec<_>>());
    verdict.findings.sort();
}

fn document(looks: &[Look], verdict: &Verdict, (key, trust): (&PublicKey, Trust), away: &[(String, String)]) -> Value {
    let locations = looks
        .iter()
        .map(|look| json!({ "location": look.place, "entries": look.entries.len(), "heads": look.heads() }));
    let away_told = away.iter().map(|(place, why)| json!({ "location": place, "why": why }));
    json!({
        "verified": verdict.findings.is_empty() && away.is_empty() && !verdict.entries.is_empty(),
        "key": { "id": key.id().as_str(), "public_key": key.to_string(), "trust": trust.word() },
        "entries": verdict.entries.len(),
        "heads": verdict.heads,
        "locations": locations.collect::<Vec<_>>(),
        "away": away_told.collect::<Vec<_>>(),
        "findings": verdict.findings,
    })
}

fn tell(looks: &[Look], verdict: &Verdict, (key, trust): (&PublicKey, Trust), output: &Output) -> Result<(), Failure> {
    for look in looks {
        let bad = verdict.findings.iter().filter(|finding| finding.location == look.place).count();
        let state = match bad {
            0 if look.entries.is_empty() => "nothing to verify".to_owned(),
            0 => output.paint("whole, signed, in place", Tone::Good),
            bad => output.paint(&format!("{} wrong", human::count(bad, "thing")), Tone::Bad),
        };
        output.text(&format!("{}: {} entries, {state}", look.place, look.entries.len()))?;
    }
    output.text(&format!("key {}, {}", key.id(), trust.told()))?;
    for head in &verdict.heads {
        output.text(&format!("head {head}"))?;
    }
    if trust == Trust::Beside {
        output.warn("whoever can write there can write another key: give --public-key, from where it was kept");
    }
    if verdict.findings.is_empty() {
        return Ok(());
    }
    let columns = [Column::Left("entry"), Column::Left("location"), Column::Left("what"), Column::Left("why")];
    let row = |finding: &Finding| {
        let object = EntryName::of_key(&format!("{}{}.json", lifeboat_ledger::PREFIX, finding.object));
        let object = object.map_or_else(|| finding.object.chars().take(28).collect(), |name| short(&name));
        let location = if finding.location.is_empty() { "all" } else { &finding.location };
        vec![object, location.to_owned(), finding.kind.to_string().replace('_', " "), finding.why.clone()]
    };
    output.text("")?;
    output.text(&render(&columns, &verdict.findings.iter().map(row).collect::<Vec<_>>(), terminal_width()))
}

fn no_entry(looks: &[Look]) -> Failure {
    let places: Vec<&str> = looks.iter().map(|look| look.place.as_str()).collect();
    let message = format!("nothing was proven: there is no entry of the ledger in {}", places.join(", "));
    Failure::new(FailureKind::NotFound, message)
        .with_hint("is it the place of a repository? the first drill, incident or call of a person writes an entry")
}

fn ending(looks: &[Look], verdict: &Verdict, away: &[(String, String)]) -> Result<(), Failure> {
    let count = |grade| verdict.findings.iter().filter(|finding| finding.grade == grade).count();
    let failure = match verdict.worst() {
        Some(Grade::Damage) => {
            let message =
                format!("the ledger is not as it was written: {}", human::count(count(Grade::Damage), "finding"));
            Failure::new(FailureKind::Corrupt, message).with_hint(
                "keep the locations as they are for whoever looks into it; `lifeboat ledger verify --json` has the whole names",
            )
        }
        Some(Grade::Doubt) => {
            let message = format!("what is there is whole, and {} left", human::count(count(Grade::Doubt), "doubt"));
            let is_lacking = verdict.findings.iter().any(|finding| finding.kind == FlawKind::Lacking);
            let hint = match is_lacking {
                true => "was the location away? `lifeboat ledger sync` brings it what it lacks",
                false => "did two write at the same moment? the next entry joins them",
            };
            Failure::new(FailureKind::CheckFailed, message).with_hint(hint)
        }
        None if verdict.entries.is_empty() => no_entry(looks),
        None => return nobody_away(away).map_err(Failure::after_its_document),
    };
    Err(failure.after_its_document())
}

/// What was not looked at is not proven.
pub fn nobody_away(away: &[(String, String)]) -> Result<(), Failure> {
    if away.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = away.iter().map(|(place, _)| place.as_str()).collect();
    let mut failure = Failure::new(FailureKind::Unavailable, format!("not looked at: {}", names.join(", ")));
    failure.details = away.iter().map(|(place, why)| format!("{place}: {why}")).collect();
    Err(failure.with_hint("`lifeboat check` says what is wrong with a location; --from looks at one alone"))
}
