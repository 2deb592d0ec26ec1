//! The runbook as it lies in a location, read as somebody does who has nothing else: index, hash, Markdown; and what it says for a bare machine.
//!
//! Promise: what isn't whole is not followed, and nothing is followed but reading commands and a configuration that runs no program.
//! Not here: knowing the configuration it was made from. Bytes are hostile: whoever can write to a location could have put them there.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// A runbook is some dozen pages.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The section for a bare machine begins so, and the next one ends it.
const SECTION: &str = "<a id=\"bare\"></a>";
const ANY_SECTION: &str = "<a id=\"";

/// What an index of a location says, and the text that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The name of the index.
    pub index: String,
    /// When the runbook was made.
    pub made_at: String,
    /// Of which configuration it is.
    pub runbook_hash: String,
    /// The name of the Markdown.
    pub file: String,
    /// The Markdown.
    pub text: String,
}

/// What the paper says for a bare machine, one location and one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instructions {
    /// The block of configuration, as it stands there.
    pub configuration: String,
    /// The words of the command that shows what is there, without the program.
    pub points: Vec<String>,
    /// The words of the one that brings it back.
    pub restore: Vec<String>,
}

/// What was put in place of what stands on the paper.
pub type Substitutions = Vec<(String, String)>;

/// Reads the newest runbook below `plan/` of a location's directory. Blocks.
///
/// # Errors
/// In one sentence: there is none, or it isn't whole.
pub fn read(location: &Path) -> Result<Found, String> {
    let directory = location.join("plan");
    let names = std::fs::read_dir(&directory).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("no runbook was published: {} is not there", directory.display()),
        _ => format!("read {}: {error}", directory.display()),
    })?;
    let names = names.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    // Their names begin with their time: the last is the newest.
    let newest = names.filter(|name| name.starts_with("index-") && name.ends_with(".json")).max();
    let index = newest.ok_or_else(|| format!("no runbook was published: {} has no index", directory.display()))?;
    let bytes = read_file(&directory.join(&index))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| format!("plan/{index} is not JSON: {error}"))?;
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let files = value["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    let file = files.iter().find(|file| file["name"].as_str().is_some_and(|name| name.ends_with(".md")));
    let file = file.ok_or_else(|| format!("plan/{index} names no Markdown"))?;
    let (name, expected) = (text(file, "name"), text(file, "blake3"));
    let plain = name.strip_prefix("plan/").filter(|plain| !plain.contains('/'));
    let plain = plain.ok_or_else(|| format!("plan/{index} names {name:?}, which doesn't lie beside it"))?;
    let bytes = read_file(&directory.join(plain))?;
    if crate::hash(&bytes) != expected {
        return Err(format!("{name} is not what its index says"));
    }
    let markdown = String::from_utf8(bytes).map_err(|_| format!("{name} is not text"))?;
    Ok(Found {
        index,
        made_at: text(&value, "made_at"),
        runbook_hash: text(&value, "runbook_hash"),
        file: name,
        text: markdown,
    })
}

fn read_file(path: &PathBuf) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| format!("read {}: {error}", path.display());
    if std::fs::metadata(path).map_err(told)?.len() > FILE_BYTES_MAX {
        return Err(format!("{} is larger than a runbook", path.display()));
    }
    std::fs::read(path).map_err(told)
}

/// What the paper says for this location and this workload.
///
/// # Errors
/// What is missing, or what nobody should follow.
pub fn instructions(markdown: &str, location: &str, workload: &str) -> Result<Instructions, String> {
    let blocks = blocks(markdown);
    if blocks.is_empty() {
        return Err("the runbook says nothing for a bare machine".into());
    }
    let heading = format!("# from {location}");
    let configuration = blocks.iter().find(|block| block.lines().next() == Some(heading.as_str()));
    let configuration =
        configuration.ok_or_else(|| format!("the runbook has no configuration for location {location}"))?.clone();
    let typed = |verb: &str| {
        let lines = blocks.iter().flat_map(|block| block.lines());
        let mut lines = lines.filter_map(|line| {
            words(line)?.split_first().filter(|(program, _)| *program == "lifeboat").map(|(_, rest)| rest.to_vec())
        });
        lines
            .find(|words| {
                words.first().is_some_and(|word| word == verb) && words.get(1).is_some_and(|word| word == workload)
            })
            .ok_or_else(|| format!("the runbook has no command `lifeboat {verb} {workload}` for a bare machine"))
    };
    Ok(Instructions { points: typed("points")?, restore: typed("restore")?, configuration })
}

/// The code of the section for a bare machine, block by block.
fn blocks(markdown: &str) -> Vec<String> {
    let mut lines = markdown.lines().skip_while(|line| *line != SECTION).skip(1);
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with(ANY_SECTION) {
            break;
        }
        let fence = line.trim_start();
        if !fence.starts_with("```") || fence.chars().any(|c| c != '`') {
            continue;
        }
        let indent = &line[..line.len() - fence.len()];
        let inside = lines.by_ref().take_while(|line| line.trim_start() != fence);
        let inside = inside.map(|line| line.strip_prefix(indent).unwrap_or(line));
        found.push(inside.map(|line| format!("{line}\n")).collect());
    }
    found
}

/// A line as a shell would take it apart; `None` where it would do more than that.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let (mut word, mut begun) = (String::new(), false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' if begun => {
                words.push(std::mem::take(&mut word));
                begun = false;
            }
            ' ' => {}
            '\'' => {
                begun = true;
                loop {
                    match letters.next()? {
                        '\'' => break,
                        inside => word.push(inside),
                    }
                }
            }
            '\\' => {
                begun = true;
                word.push(letters.next()?);
            }
            '#' if !begun => break,
            '$' | '`' | '"' | ';' | '&' | '|' | '<' | '>' | '(' | ')' | '*' | '?' => return None,
            plain => {
                begun = true;
                word.push(plain);
            }
        }
    }
    words.extend(begun.then_some(word));
    Some(words)
}

/// The paper's configuration for the place: the passphrase's file is this one, and so is what the program keeps for itself. `credential` says where
/// the file of that name is which the paper wants for a location's store.
///
/// # Errors
/// When it isn't what a runbook holds: other sections, a program that would be run. When a credential isn't given.
pub fn configuration(
    text: &str,
    passphrase: &Path,
    state_dir: &Path,
    credential: &dyn Fn(&str) -> Result<PathBuf, String>,
) -> Result<(String, Substitutions), String> {
    let mut table: toml::Table = toml::from_str(text)
        .map_err(|error| format!("the runbook's configuration is not valid: {}", error.message()))?;
    if let Some(strange) = table.keys().find(|key| !["location", "encryption", "workload"].contains(&key.as_str())) {
        return Err(format!("the runbook's configuration has `{strange}`, which isn't followed"));
    }
    if runs_a_program(&toml::Value::Table(table.clone())) {
        return Err("the runbook's configuration would run a program, which isn't followed".into());
    }
    let file = |path: &Path| toml::Value::from(path.display().to_string());
    let secret =
        table.get_mut("encryption").and_then(|one| one.get_mut("passphrase")).and_then(|one| one.get_mut("file"));
    let secret = secret.ok_or("the runbook's configuration doesn't say where the passphrase is")?;
    let before = secret.as_str().unwrap_or_default().to_owned();
    *secret = file(passphrase);
    table.insert("state_dir".into(), file(state_dir));
    let mut changed = vec![
        (before, passphrase.display().to_string()),
        ("no state_dir".to_owned(), format!("state_dir = {}", state_dir.display())),
    ];
    let locations = table.get_mut("location").and_then(toml::Value::as_table_mut).into_iter().flatten();
    let settings = locations.filter_map(|(_, location)| location.as_table_mut()).flatten();
    for (_, setting) in settings {
        let Some(on_paper) = setting.get_mut("file") else { continue };
        let before = on_paper.as_str().unwrap_or_default().to_owned();
        let name = Path::new(&before).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let here = credential(&name)?;
        changed.push((before, here.display().to_string()));
        *on_paper = file(&here);
    }
    let text = toml::to_string(&table).map_err(|error| format!("write the configuration: {error}"))?;
    Ok((text, changed))
}

fn runs_a_program(value: &toml::Value) -> bool {
    match value {
        toml::Value::Table(table) => table.iter().any(|(key, value)| key.ends_with("command") || runs_a_program(value)),
        toml::Value::Array(all) => all.iter().any(runs_a_program),
        _ => false,
    }
}

/// The paper's restore, into this directory.
///
/// # Errors
/// When it names no directory.
pub fn restore_to(words: &[String], directory: &str) -> Result<(Vec<String>, Substitutions), String> {
    let at = words.iter().position(|word| word == "--to").map(|at| at + 1).filter(|at| *at < words.len());
    let at = at.ok_or("the runbook's restore doesn't say where to")?;
    let mut typed = words.to_vec();
    let before = std::mem::replace(&mut typed[at], directory.to_owned());
    Ok((typed, vec![(before, directory.to_owned())]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKDOWN: &str = "# R\n\n<a id=\"bare\"></a>\n\n### From\n\n2. [ ] Write\n\n   ```\n   install x      # type\n   ```\n\n\
        ```\n# from b\n[location.b]\n```\n\n```\n# from a\n[location.a]\nurl = \"file:///a\"\n\n[encryption]\npassphrase = { file = \"/etc/p\" }\n\n[workload.shop]\nkind = \"postgres\"\n```\n\n\
        1. [ ] What\n\n   ```\n   lifeboat points other\n   lifeboat points shop\n   ```\n\n2. [ ] Back\n\n   ```\n   lifeboat restore shop --to '/srv/the shop'\n   ```\n\n\
        <a id=\"closing\"></a>\n\n```\nlifeboat restore late --to /x\n```\n";

    fn nothing_in_it(name: &str) -> Result<PathBuf, String> {
        Err(format!("no {name} in the safe"))
    }

    #[test]
    fn credentials_of_a_store_are_those_out_of_the_safe() {
        let text = "[location.b]\nurl = \"s3://b/l\"\naccess_key_id = { file = \"/etc/lifeboat/access-key-id\" }\n\
            [encryption]\npassphrase = { file = \"/etc/p\" }\n";
        let given = |name: &str| Ok(Path::new("/place/safe").join(name));
        let (typed, changed) = configuration(text, Path::new("/p"), Path::new("/s"), &given).unwrap();
        assert!(typed.contains("/place/safe/access-key-id") && !typed.contains("/etc/"), "{typed}");
        let expected = ("/etc/lifeboat/access-key-id".to_owned(), "/place/safe/access-key-id".to_owned());
        assert!(changed.contains(&expected), "{changed:?}");
        let why = configuration(text, Path::new("/p"), Path::new("/s"), &nothing_in_it).unwrap_err();
        assert_eq!(why, "no access-key-id in the safe");
    }

    #[test]
    fn what_a_bare_machine_needs_is_taken_as_it_stands() {
        let found = instructions(MARKDOWN, "a", "shop").unwrap();
        assert!(found.configuration.starts_with("# from a\n[location.a]\n"), "{found:?}");
        assert_eq!(found.points, ["points", "shop"]);
        assert_eq!(found.restore, ["restore", "shop", "--to", "/srv/the shop"]);
        let (typed, changed) = restore_to(&found.restore, "/place/restored").unwrap();
        assert_eq!(typed, ["restore", "shop", "--to", "/place/restored"]);
        assert_eq!(changed, [("/srv/the shop".to_owned(), "/place/restored".to_owned())]);
        let (text, changed) =
            configuration(&found.configuration, Path::new("/place/p"), Path::new("/place/s"), &nothing_in_it).unwrap();
        assert!(text.contains("file = \"/place/p\"") && text.contains("url = \"file:///a\""), "{text}");
        assert_eq!(changed[0], ("/etc/p".to_owned(), "/place/p".to_owned()));
        for (location, workload, says) in [
            ("c", "shop", "for location c"),
            ("a", "none", "points none"),
            ("a", "late", "points late"),
            ("a", "other", "restore other"),
        ] {
            let why = instructions(MARKDOWN, location, workload).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
        assert!(instructions("# R\n", "a", "shop").unwrap_err().contains("bare machine"));
    }

    #[test]
    fn what_nobody_should_follow_is_refused() {
        for (text, says) in [
            ("[encryption]\npassphrase = { command = [\"sh\"] }\n", "run a program"),
            (
                "[workload.a]\nalarm = { command = [\"sh\"] }\n[encryption]\npassphrase = { file = \"/p\" }\n",
                "run a program",
            ),
            ("include = [\"/etc/x\"]\n", "`include`"),
            ("[location.a]\nurl = \"file:///a\"\n", "where the passphrase is"),
            ("[", "not valid"),
        ] {
            let why = configuration(text, Path::new("/p"), Path::new("/s"), &nothing_in_it).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
        for line in ["lifeboat points shop; rm x", "lifeboat points $(x)", "lifeboat 'points"] {
            assert_eq!(words(line), None, "{line}");
        }
    }

    #[test]
    fn only_what_is_whole_is_read() {
        let scratch = tempfile::tempdir().unwrap();
        let plan = scratch.path().join("plan");
        assert!(read(scratch.path()).unwrap_err().contains("no runbook was published"));
        std::fs::create_dir(&plan).unwrap();
        assert!(read(scratch.path()).unwrap_err().contains("no index"));
        let index = |name: &str, file: &str, text: &str| {
            let hash = crate::hash(text.as_bytes());
            let index =
                serde_json::json!({"made_at": "then", "runbook_hash": "h", "files": [{"name": file, "blake3": hash}]});
            std::fs::write(plan.join(name), index.to_string()).unwrap();
        };
        std::fs::write(plan.join("a.md"), "text").unwrap();
        index("index-2025.json", "plan/none.md", "old");
        index("index-2026.json", "plan/a.md", "text");
        let found = read(scratch.path()).unwrap();
        assert_eq!(
            (found.index.as_str(), found.text.as_str(), found.runbook_hash.as_str()),
            ("index-2026.json", "text", "h")
        );
        index("index-2026.json", "plan/a.md", "other");
        assert!(read(scratch.path()).unwrap_err().contains("not what its index says"));
        index("index-2026.json", "plan/../../a.md", "text");
        assert!(read(scratch.path()).unwrap_err().contains("beside it"));
    }
}
