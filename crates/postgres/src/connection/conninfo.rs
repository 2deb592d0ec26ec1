//! Takes libpq's connection strings apart: `host=/run port=5432` and `postgresql://user@host/db?sslmode=require`.
//!
//! The driver knows most of the words. It doesn't know those about certificates and password files: they are taken
//! out here. What libpq finds in the environment and in the home directory is not looked at.

use super::error::{Error, ErrorKind, Result};
use super::tls::{TlsSettings, Verify};
use std::path::PathBuf;
use tokio_postgres::config::{Config, Host, SslMode};

/// The longest connection string that is read.
const LENGTH_MAX: usize = 64 * 1024;

/// A connection string, understood.
#[derive(Clone)]
pub(super) struct Conninfo {
    pub(super) config: Config,
    pub(super) tls: TlsSettings,
    pub(super) passfile: Option<PathBuf>,
}

/// Our own share of the words.
#[derive(Default)]
struct Taken {
    sslmode: Option<String>,
    sslrootcert: Option<PathBuf>,
    sslcert: Option<PathBuf>,
    sslkey: Option<PathBuf>,
    passfile: Option<PathBuf>,
}

impl Taken {
    /// Whether the word is ours; then it is kept.
    fn take(&mut self, name: &str, value: &str) -> bool {
        match name {
            "sslmode" => self.sslmode = Some(value.to_owned()),
            "sslrootcert" => self.sslrootcert = Some(value.into()),
            "sslcert" => self.sslcert = Some(value.into()),
            "sslkey" => self.sslkey = Some(value.into()),
            "passfile" => self.passfile = Some(value.into()),
            // Understood by libpq, without meaning here.
            "fallback_application_name"
            | "gssencmode"
            | "krbsrvname"
            | "sslcompression"
            | "sslsni"
            // The driver says keepalives_retries, and ours are set anyway.
            | "keepalives_count"
            | "client_encoding" => {}
            _ => return false,
        }
        true
    }
}

pub(super) fn parse(text: &str) -> Result<Conninfo> {
    if text.len() > LENGTH_MAX {
        return Err(invalid("it is too long"));
    }
    let mut taken = Taken::default();
    let is_url = text.starts_with("postgresql://") || text.starts_with("postgres://");
    let rest = if is_url { take_from_url(text, &mut taken)? } else { take_from_words(text, &mut taken)? };
    // The driver's message may repeat a part of the string, and with it the password: it is not kept.
    let mut config: Config = rest.parse().map_err(|_| invalid("a word or a value in it is not known"))?;
    let (ssl_mode, verify) = match taken.sslmode.as_deref().unwrap_or("prefer") {
        "disable" => (SslMode::Disable, Verify::Nothing),
        "allow" | "prefer" => (SslMode::Prefer, Verify::Nothing),
        // As libpq: with a root certificate at hand, `require` checks against it.
        "require" if taken.sslrootcert.is_some() => (SslMode::Require, Verify::Authority),
        "require" => (SslMode::Require, Verify::Nothing),
        "verify-ca" => (SslMode::Require, Verify::Authority),
        "verify-full" => (SslMode::Require, Verify::AuthorityAndName),
        _ => return Err(invalid("sslmode is none of disable, allow, prefer, require, verify-ca, verify-full")),
    };
    if verify != Verify::Nothing && taken.sslrootcert.is_none() {
        return Err(invalid("sslmode verifies the server, but there is no sslrootcert")
            .with_hint("add sslrootcert=FILE with the certificate of the authority that signed the server's"));
    }
    config.ssl_mode(ssl_mode);
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(invalid("it names no host").with_hint("add host=/var/run/postgresql, or host=NAME"));
    }
    if config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))) && config.get_hostaddrs().is_empty() {
        config.ssl_mode(SslMode::Disable); // PostgreSQL never encrypts there
    }
    let tls = TlsSettings { verify, roots: taken.sslrootcert, certificate: taken.sslcert, key: taken.sslkey };
    Ok(Conninfo { config, tls, passfile: taken.passfile })
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::Invalid, "read connection string", why)
}

/// Takes our words out of the part behind `?`.
fn take_from_url(text: &str, taken: &mut Taken) -> Result<String> {
    let Some((before, query)) = text.split_once('?') else { return Ok(text.to_owned()) };
    let mut kept = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').ok_or_else(|| invalid("a parameter of the URL has no value"))?;
        if !taken.take(name, &percent_decoded(value)?) {
            kept.push(pair);
        }
    }
    Ok(if kept.is_empty() { before.to_owned() } else { format!("{before}?{}", kept.join("&")) })
}

fn percent_decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte =
            digits.filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit())).map(|two| u8::from_str_radix(two, 16));
        bytes.push(
            byte.and_then(std::result::Result::ok).ok_or_else(|| invalid("a % in the URL stands before no number"))?,
        );
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| invalid("the URL is not UTF-8"))
}

/// Takes our words out of `name = 'value' ..`; in a value `\` protects the next character.
fn take_from_words(text: &str, taken: &mut Taken) -> Result<String> {
    let mut rest = String::new();
    let mut characters = text.chars().peekable();
    loop {
        while characters.next_if(|c| c.is_whitespace()).is_some() {}
        if characters.peek().is_none() {
            return Ok(rest);
        }
        let mut name = String::new();
        while let Some(c) = characters.next_if(|c| *c != '=' && !c.is_whitespace()) {
            name.push(c);
        }
        while characters.next_if(|c| c.is_whitespace()).is_some() {}
        if characters.next() != Some('=') {
            return Err(invalid("a word has no = behind it"));
        }
        while characters.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = characters.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match characters.peek().copied() {
                Some('\'') if quoted => break,
                Some(c) if !quoted && c.is_whitespace() => break,
                None if quoted => return Err(invalid("a quoted value has no end")),
                None => break,
                Some('\\') => {
                    characters.next();
                    value.extend(characters.next());
                }
                Some(c) => {
                    characters.next();
                    value.push(c);
                }
            }
        }
        if quoted {
            characters.next();
        }
        if !taken.take(&name, &value) {
            let value = value.replace('\\', r"\\").replace('\'', r"\'");
            rest.push_str(&format!("{name}='{value}' "));
        }
    }
}

/// The password for a connection from a file as libpq's `.pgpass`: `host:port:database:user:password`, `*` for any,
/// `\` before a colon that is part of a value. A socket's host is `localhost`.
pub(super) fn password_from_file(file: &str, host: &str, port: u16, database: &str, user: &str) -> Option<String> {
    let wanted = [host.to_owned(), port.to_string(), database.to_owned(), user.to_owned()];
    file.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = colon_fields(line);
        let matches =
            fields.len() == 5 && fields.iter().zip(&wanted).all(|(field, value)| field == "*" || field == value);
        matches.then(|| fields[4].clone())
    })
}

/// At most five: colons in the password itself need no protection.
fn colon_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        let count = fields.len();
        let Some(last) = fields.last_mut() else { break };
        match c {
            '\\' => last.extend(characters.next()),
            ':' if count < 5 => fields.push(String::new()),
            c => last.push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_urls_are_understood_alike() {
        for text in [
            "host=db.example port=5433 user=lifeboat dbname=shop sslmode=verify-full sslrootcert='/etc/a b.pem'",
            "postgresql://lifeboat@db.example:5433/shop?sslmode=verify-full&sslrootcert=/etc/a%20b.pem",
        ] {
            let found = parse(text).unwrap();
            assert_eq!(found.config.get_ports(), [5433]);
            assert_eq!(found.config.get_user(), Some("lifeboat"));
            assert_eq!(found.config.get_dbname(), Some("shop"));
            assert_eq!(found.tls.verify, Verify::AuthorityAndName);
            assert_eq!(found.tls.roots.as_deref(), Some(std::path::Path::new("/etc/a b.pem")));
        }
    }

    #[test]
    fn quotes_and_backslashes_survive() {
        parse("host=h user=u keepalives_count=3").unwrap();
        let found = parse(r"host=h user=u password='it\'s \\ here' passfile = /p").unwrap();
        assert_eq!(found.config.get_password(), Some(&br"it's \ here"[..]));
        assert_eq!(found.passfile.as_deref(), Some(std::path::Path::new("/p")));
    }

    #[test]
    fn what_is_wrong_is_refused_without_the_password() {
        for text in [
            "",
            "host",
            "host=h password=hunter2 nonsense=1",
            "host=h password='hunter2",
            "host=h sslmode=never password=hunter2",
            "host=h sslmode=verify-full",
            "postgresql://u:hunter2@h:port/db",
            "postgresql://u@h/db?sslmode=%zz",
        ] {
            let error = parse(text).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn the_first_matching_line_of_a_password_file_counts() {
        let file = "# all\nother:*:*:*:no\nlocalhost:5432:*:a\\:b:x\\\\:y\n*:*:*:*:last\n";
        assert_eq!(password_from_file(file, "localhost", 5432, "db", "a:b").as_deref(), Some("x\\:y"));
        assert_eq!(password_from_file(file, "localhost", 1, "db", "a:b").as_deref(), Some("last"));
        assert_eq!(password_from_file("", "h", 1, "db", "u"), None);
    }
}
