//! The 3-2-1 rule: three copies of the data, on two kinds of media, one of them in another region; and one that nobody can
//! delete. The database itself is the first copy.
//!
//! Promise: a copy counts only for what is known of it. A place whose region isn't known is not in another region; a removable
//! disk that was never brought up to date holds nothing.
//!
//! Not here: finding out whether a place can be reached, or really refuses to delete.

use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// Production included.
pub const COPIES_MIN: usize = 3;
/// Kinds of media, production's disk included.
pub const MEDIA_MIN: usize = 2;

/// What a copy lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// A disk that is always there. So is production's.
    Disk,
    /// An object store.
    Object,
    /// A disk that lies in a drawer.
    Removable,
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "disk",
            Self::Object => "object",
            Self::Removable => "removable",
        })
    }
}

/// A place that is meant to hold a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Where it is, if that was said.
    pub region: Option<String>,
    /// What it is.
    pub medium: Medium,
    /// What is there can't be deleted before its time, not even by us.
    pub is_immutable: bool,
    /// It lies on the device that production's data lies on: lost together, they are one copy.
    pub shares_device: bool,
    /// It can be used now, or is a disk that is meant to be away.
    pub is_there: bool,
    /// It holds a copy, as far as is known. False for a disk that was never brought up to date, or too long ago.
    pub is_current: bool,
}

/// Something that the rule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// Fewer than [`COPIES_MIN`].
    Copies,
    /// Fewer than [`MEDIA_MIN`].
    Media,
    /// All in one region, or it can't be told.
    Region,
    /// Whoever can delete one copy can delete all.
    Guarded,
}

/// How many of what there are, and what is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// Copies that count, production included.
    pub copies: usize,
    /// Kinds of media, production's disk included.
    pub media: BTreeSet<Medium>,
    /// Places in another region than production.
    pub elsewhere: Vec<String>,
    /// Places where nobody can delete: immutable, or offline.
    pub guarded: Vec<String>,
    /// Places that don't count, and why.
    pub not_counted: Vec<(String, String)>,
    /// Copies of which nobody said where they are.
    pub regions_unknown: Vec<String>,
    /// What is missing.
    pub lacks: Vec<Lack>,
}

impl Judgement {
    /// Whether the rule holds.
    pub fn holds(&self) -> bool {
        self.lacks.is_empty()
    }

    /// What is missing, in words.
    pub fn missing(&self) -> Vec<String> {
        let word = |lack: &Lack| match lack {
            Lack::Copies => format!("{} of {COPIES_MIN} copies", self.copies),
            Lack::Media => format!("{} of {MEDIA_MIN} kinds of media", self.media.len()),
            Lack::Region if self.regions_unknown.is_empty() => "no copy in another region".to_owned(),
            Lack::Region => {
                format!("no copy known to be in another region ({} without one)", self.regions_unknown.join(", "))
            }
            Lack::Guarded => "no copy that is immutable or offline".to_owned(),
        };
        self.lacks.iter().map(word).collect()
    }

    /// What to add. One addition may meet several wishes, so the strongest is named first.
    pub fn advice(&self) -> Vec<String> {
        let wants = |lack| self.lacks.contains(&lack);
        let mut advice = Vec::new();
        if wants(Lack::Copies) || wants(Lack::Media) {
            let place = match (wants(Lack::Region), wants(Lack::Guarded)) {
                (true, true) => "a bucket in another region with object lock (`immutable = true`)",
                (true, false) => "a bucket in another region",
                (false, true) => {
                    "a removable disk (media = \"removable\", `lifeboat sync`), or a bucket with object lock"
                }
                (false, false) if self.media.contains(&Medium::Object) => "a removable disk (media = \"removable\")",
                (false, false) => "a bucket",
            };
            advice.push(format!("add a location: {place}"));
            return advice;
        }
        if wants(Lack::Region) {
            advice.push(match self.regions_unknown.is_empty() {
                true => "add a location in another region".to_owned(),
                false => format!(
                    "say where {} is with `region`, and where the database is with `region` of the workload",
                    self.regions_unknown.join(", ")
                ),
            });
        }
        if wants(Lack::Guarded) {
            advice.push(
                "add a removable disk (media = \"removable\", `lifeboat sync`), or say `immutable = true` where object lock is on"
                    .to_owned(),
            );
        }
        advice
    }
}

/// Judges the copies of one workload. `home` is the region of production, if it was said; when it wasn't, copies in two
/// regions suffice: one of them must be another one.
pub fn judge(home: Option<&str>, places: &[Place]) -> Judgement {
    let why_not = |place: &Place| match place {
        place if place.shares_device => Some("on the same device as the database"),
        place if !place.is_there => Some("it can't be used now"),
        place if !place.is_current => Some("not up to date"),
        _ => None,
    };
    let not_counted: Vec<(String, String)> =
        places.iter().filter_map(|place| Some((place.name.clone(), why_not(place)?.to_owned()))).collect();
    let counted: Vec<&Place> = places.iter().filter(|place| why_not(place).is_none()).collect();
    let media: BTreeSet<Medium> = counted.iter().map(|place| place.medium).chain([Medium::Disk]).collect();
    let regions: BTreeSet<&str> = counted.iter().filter_map(|place| place.region.as_deref()).collect();
    let is_elsewhere = |place: &&&Place| match (home, place.region.as_deref()) {
        (Some(home), Some(region)) => region != home,
        (None, Some(_)) => regions.len() > 1,
        (_, None) => false,
    };
    let names = |places: Vec<&&Place>| places.into_iter().map(|place| place.name.clone()).collect::<Vec<String>>();
    let elsewhere = names(counted.iter().filter(is_elsewhere).collect());
    let guarded =
        names(counted.iter().filter(|place| place.is_immutable || place.medium == Medium::Removable).collect());
    let regions_unknown = names(counted.iter().filter(|place| place.region.is_none()).collect());
    let copies = counted.len() + 1;
    let lacks = [
        (copies < COPIES_MIN).then_some(Lack::Copies),
        (media.len() < MEDIA_MIN).then_some(Lack::Media),
        elsewhere.is_empty().then_some(Lack::Region),
        guarded.is_empty().then_some(Lack::Guarded),
    ];
    let lacks = lacks.into_iter().flatten().collect();
    Judgement { copies, media, elsewhere, guarded, not_counted, regions_unknown, lacks }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name medium region flags`: flags are `i` immutable, `s` same device, `o` out of date, `g` gone; `-` is no region.
    fn place(text: &str) -> Place {
        let words: Vec<&str> = text.split(' ').collect();
        let flags = words.get(3).copied().unwrap_or_default();
        let medium = match words[1] {
            "disk" => Medium::Disk,
            "object" => Medium::Object,
            "removable" => Medium::Removable,
            other => panic!("{other}"),
        };
        Place {
            name: words[0].into(),
            region: (words[2] != "-").then(|| words[2].into()),
            medium,
            is_immutable: flags.contains('i'),
            shares_device: flags.contains('s'),
            is_there: !flags.contains('g'),
            is_current: !flags.contains('o'),
        }
    }

    fn judged(home: Option<&str>, places: &[&str]) -> Judgement {
        judge(home, &places.iter().map(|text| place(text)).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_missing_is_named() {
        use Lack::*;
        let table: [(Option<&str>, &[&str], &[Lack]); 15] = [
            (Some("va"), &[], &[Copies, Media, Region, Guarded]),
            (Some("va"), &["near disk va"], &[Copies, Media, Region, Guarded]),
            (Some("va"), &["near disk va", "far object ohio i"], &[]),
            (Some("va"), &["near disk va", "far object ohio"], &[Guarded]),
            (Some("va"), &["near object va", "far object va i"], &[Region]),
            (Some("va"), &["near disk va", "far disk ohio", "safe removable vault"], &[]),
            (Some("va"), &["near disk va", "far disk ohio i"], &[Media]),
            (Some("va"), &["far object ohio i"], &[Copies]),
            (None, &["near disk va", "far object ohio i"], &[]),
            (None, &["near disk ohio", "far object ohio i"], &[Region]),
            (None, &["near disk -", "far object - i"], &[Region]),
            (Some("va"), &["near disk va s", "far object ohio i"], &[Copies]),
            (Some("va"), &["near disk va", "far object va", "a removable vault o"], &[Region, Guarded]),
            (Some("va"), &["near disk va", "far object ohio ig"], &[Copies, Media, Region, Guarded]),
            (Some("va"), &["near disk va g", "far object ohio i"], &[Copies]),
        ];
        for (home, places, lacks) in table {
            let judgement = judged(home, places);
            assert_eq!(judgement.lacks, lacks, "{home:?} {places:?}");
            assert_eq!(judgement.missing().len(), lacks.len());
            assert_eq!(judgement.advice().is_empty(), lacks.is_empty(), "{places:?}");
        }
    }

    #[test]
    fn what_does_not_count_is_told() {
        let judgement = judged(Some("va"), &["near disk va s", "a removable vault o", "far object -"]);
        assert_eq!(judgement.copies, 2);
        let words: Vec<&str> = judgement.not_counted.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(words, ["near", "a"]);
        assert_eq!(judgement.regions_unknown, ["far"]);
        assert_eq!(judgement.missing()[1], "no copy known to be in another region (far without one)");
    }

    #[test]
    fn following_the_advice_about_a_bucket_helps() {
        let before = judged(Some("va"), &["near disk va"]);
        assert_eq!(
            before.advice(),
            ["add a location: a bucket in another region with object lock (`immutable = true`)"]
        );
        assert!(judged(Some("va"), &["near disk va", "new object ohio i"]).holds());
    }
}
