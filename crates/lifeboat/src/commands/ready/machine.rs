//! This machine: has it the programs, extensions and libraries that a restore would need?

use super::observe::{known, within};
use crate::config::WorkloadConfig;
use crate::failure::Failure;
use lifeboat_plan::readiness::Seen;
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::cluster::Programs;
use lifeboat_postgres::connection::{Client, Error};
use lifeboat_postgres::inspection::ServerFacts;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What every installation brings along needn't be looked for.
const BUILT_IN: [&str; 1] = ["plpgsql"];
/// Of so many databases the extensions are asked for.
const DATABASES_MAX: i64 = 50;

fn find(section: &WorkloadConfig, version_number: u32) -> Result<Programs, String> {
    let search: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let major = MajorVersion::from_server_version_num(version_number).map_err(|error| error.to_string())?;
    Programs::find(major, section.bin_dir.as_deref(), &search).map_err(|error| error.to_string())
}

/// Of a server that answers.
pub fn programs(section: &WorkloadConfig, version_number: u32) -> Seen<Vec<String>> {
    known(find(section, version_number).err().into_iter().collect(), "initdb, pg_ctl and postgres of that version")
}

/// Of one that doesn't, by what is written in its data directory.
pub fn programs_of_data(section: &WorkloadConfig) -> Seen<Vec<String>> {
    let asked = "initdb, pg_ctl and postgres of that version";
    let directory = section.data_dir.as_deref();
    let text = directory.and_then(|directory| std::fs::read_to_string(directory.join("PG_VERSION")).ok());
    match text.and_then(|text| text.trim().parse::<u32>().ok()).and_then(|major| major.checked_mul(10_000)) {
        Some(number) => programs(section, number),
        None => Seen::unknown("which version it is can't be seen: the server doesn't answer", asked),
    }
}

/// What the databases use beyond what PostgreSQL is, and isn't here.
pub async fn extensions(
    section: &WorkloadConfig,
    facts: &ServerFacts,
    client: &Client,
    patience: Duration,
) -> Seen<Vec<String>> {
    let asked = "pg_extension and pg_proc of every database, shared_preload_libraries";
    let used = within(patience, asked, used(section, client)).await;
    let used = match used {
        Seen::Known(used, _) => used,
        Seen::Unknown { why, asked } => return Seen::unknown(why, asked),
        Seen::Absent { why } => return Seen::absent(why),
    };
    if used.extensions.is_empty() && used.libraries.is_empty() {
        return known(Vec::new(), asked);
    }
    let programs = match find(section, facts.version_number) {
        Ok(programs) => programs,
        Err(why) => return Seen::unknown(format!("PostgreSQL isn't here: {why}"), asked),
    };
    known(used.missing(&Installed::beside(programs.directory(), facts.version_number / 10_000)), asked)
}

/// What a server's databases use.
#[derive(Debug, Default)]
struct Used {
    extensions: Vec<String>,
    /// Without directory and ending.
    libraries: Vec<String>,
}

async fn used(section: &WorkloadConfig, client: &Client) -> Result<Used, Failure> {
    let failed = |error| Failure::from(Error::from_driver("ask for extensions", error));
    let mut used = Used::default();
    let preloaded =
        "select setting from pg_settings where name in ('shared_preload_libraries', 'session_preload_libraries')";
    for row in client.query(preloaded, &[]).await.map_err(failed)? {
        let setting: Option<String> = row.get(0);
        let names = setting.unwrap_or_default();
        used.libraries.extend(names.split(',').filter_map(library));
    }
    let names = "select datname::text from pg_database where datallowconn and has_database_privilege(datname, 'connect') \
        order by 1 limit $1";
    for row in client.query(names, &[&DATABASES_MAX]).await.map_err(failed)? {
        let other = crate::rooms::server(section)?.with_database(row.get(0)).connect().await?;
        let query = "select 'e' as kind, extname::text as name from pg_extension union \
            select 'l', probin from pg_proc where probin is not null and oid >= 16384";
        for row in other.query(query, &[]).await.map_err(failed)? {
            let (kind, name): (String, String) = (row.get(0), row.get(1));
            match kind.as_str() {
                "e" => used.extensions.push(name),
                _ => used.libraries.extend(library(&name)),
            }
        }
    }
    for names in [&mut used.extensions, &mut used.libraries] {
        names.sort();
        names.dedup();
        names.retain(|name| !BUILT_IN.contains(&name.as_str()));
    }
    Ok(used)
}

/// `$libdir/postgis-3` is `postgis-3`; a whole path is somebody's own file, and looked for as it is.
fn library(text: &str) -> Option<String> {
    let name = text.trim().trim_matches('"');
    let name = name.strip_prefix("$libdir/").unwrap_or(name);
    let name = name.strip_suffix(".so").unwrap_or(name);
    (!name.is_empty()).then(|| name.to_owned())
}

/// Where an installation keeps its files. Several: they lie differently on each system.
struct Installed {
    share: Vec<PathBuf>,
    libraries: Vec<PathBuf>,
}

impl Installed {
    fn beside(programs: &Path, major: u32) -> Self {
        let home = programs.parent().unwrap_or(programs);
        let share = [
            home.join("share/extension"),
            home.join("share/postgresql/extension"),
            PathBuf::from(format!("/usr/share/postgresql/{major}/extension")),
            PathBuf::from(format!("/usr/pgsql-{major}/share/extension")),
        ];
        Self { share: share.into(), libraries: vec![home.join("lib"), home.join("lib/postgresql")] }
    }
}

impl Used {
    fn missing(&self, installed: &Installed) -> Vec<String> {
        let is_in = |places: &[PathBuf], file: &str| places.iter().any(|place| place.join(file).is_file());
        let extensions = self.extensions.iter().filter(|name| !is_in(&installed.share, &format!("{name}.control")));
        let libraries = self.libraries.iter().filter(|name| !is_in(&installed.libraries, &format!("{name}.so")));
        let extensions = extensions.map(|name| format!("extension {name} isn't here"));
        extensions.chain(libraries.map(|name| format!("library {name} isn't here"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_libraries() {
        for (text, expected) in [
            ("$libdir/postgis-3", Some("postgis-3")),
            (" \"pg_stat_statements\"", Some("pg_stat_statements")),
            ("/opt/own.so", Some("/opt/own")),
            ("", None),
        ] {
            assert_eq!(library(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let root = tempfile::tempdir().unwrap();
        let share = root.path().join("share/extension");
        std::fs::create_dir_all(&share).unwrap();
        std::fs::write(share.join("citext.control"), "").unwrap();
        let used = Used { extensions: vec!["citext".into(), "postgis".into()], libraries: vec!["pgaudit".into()] };
        let missing = used.missing(&Installed::beside(&root.path().join("bin"), 17));
        assert_eq!(missing, ["extension postgis isn't here", "library pgaudit isn't here"]);
    }
}
