//! Proving who we are on a new connection: SCRAM-SHA-256, MD5, or the password as it is.

use super::codec::ServerMessage;
use super::socket::Socket;
use crate::connection::{Error, ErrorKind, Result, Target};
use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use std::collections::HashMap;

/// A server reports some fifteen parameters.
const PARAMETERS_MAX: usize = 256;

/// From the first message to the first `ReadyForQuery`; returns the parameters that the server reports.
pub(super) async fn start_session(socket: &mut Socket, target: &Target) -> Result<HashMap<String, String>> {
    let mut login = Login { target, scram: None, server_has_proven: false };
    login.greet(socket.outgoing())?;
    let mut reported = HashMap::new();
    loop {
        match socket.receive().await? {
            ServerMessage::ReadyForQuery => return Ok(reported),
            ServerMessage::Parameter { name, value } if reported.len() < PARAMETERS_MAX => {
                reported.insert(name, value);
            }
            message => login.answer(message, socket.outgoing())?,
        }
    }
}

struct Login<'a> {
    target: &'a Target,
    scram: Option<ScramSha256>,
    server_has_proven: bool,
}

impl Login<'_> {
    fn greet(&self, out: &mut BytesMut) -> Result<()> {
        let config = self.target.config();
        let name = config.get_application_name().unwrap_or("lifeboat");
        let mut parameters = vec![("user", self.user()?), ("replication", "true"), ("application_name", name)];
        parameters.extend(config.get_options().map(|options| ("options", options)));
        parameters.extend([("client_encoding", "UTF8")]);
        frontend::startup_message(parameters, out).map_err(|error| self.unsendable(error))
    }

    /// Adds what the server wants to hear to `out`.
    fn answer(&mut self, message: ServerMessage, out: &mut BytesMut) -> Result<()> {
        match message {
            ServerMessage::Error(refusal) => {
                let hint = refusal.hint.as_deref();
                return Err(Error::from_code(self.action(), &refusal.code, &refusal.message, hint));
            }
            ServerMessage::CleartextPassword => {
                frontend::password_message(self.password()?, out).map_err(|error| self.unsendable(error))?;
            }
            ServerMessage::Md5Password { salt } => {
                let hash = md5_hash(self.user()?.as_bytes(), self.password()?, salt);
                frontend::password_message(hash.as_bytes(), out).map_err(|error| self.unsendable(error))?;
            }
            ServerMessage::Sasl { mechanisms } => {
                if !mechanisms.iter().any(|name| name == SCRAM_SHA_256) {
                    return Err(self.failed("the server doesn't offer SCRAM-SHA-256"));
                }
                let started = ScramSha256::new(self.password()?, ChannelBinding::unsupported());
                frontend::sasl_initial_response(SCRAM_SHA_256, started.message(), out)
                    .map_err(|error| self.unsendable(error))?;
                self.scram = Some(started);
            }
            ServerMessage::SaslContinue(data) => {
                let unexpected = self.unexpected();
                let Some(scram) = &mut self.scram else { return Err(unexpected) };
                scram.update(&data).map_err(|error| unexpected.with_source(error))?;
                let sent = frontend::sasl_response(scram.message(), out);
                sent.map_err(|error| self.unsendable(error))?;
            }
            ServerMessage::SaslFinal(data) => {
                let (unexpected, unproven) =
                    (self.unexpected(), self.failed("the server can't prove that it knows the password"));
                let Some(scram) = &mut self.scram else { return Err(unexpected) };
                scram.finish(&data).map_err(|error| unproven.with_source(error))?;
                self.server_has_proven = true;
            }
            // An impostor that never learnt the password could leave out its part of the proof.
            ServerMessage::AuthenticationOk if self.scram.is_some() && !self.server_has_proven => {
                return Err(self.failed("the server doesn't prove that it knows the password"));
            }
            ServerMessage::OtherAuthentication => {
                return Err(self.failed("the server asks for Kerberos, which isn't supported"));
            }
            ServerMessage::AuthenticationOk | ServerMessage::Other | ServerMessage::Parameter { .. } => {}
            _ => return Err(self.unexpected()),
        }
        Ok(())
    }

    fn user(&self) -> Result<&str> {
        let missing = || Error::new(ErrorKind::Invalid, self.action(), "the connection string names no user");
        self.target.config().get_user().ok_or_else(|| missing().with_hint("add user=NAME"))
    }

    fn password(&self) -> Result<&[u8]> {
        let missing = || self.failed("the server asks for a password, and none was given");
        let found = self.target.config().get_password();
        found.ok_or_else(|| missing().with_hint("add passfile=FILE to the connection string"))
    }

    fn action(&self) -> String {
        format!("connect to {}", self.target)
    }

    fn failed(&self, why: &str) -> Error {
        Error::new(ErrorKind::Authentication, self.action(), why)
    }

    fn unexpected(&self) -> Error {
        Error::new(ErrorKind::Protocol, self.action(), "unexpected answer while logging in")
    }

    fn unsendable(&self, error: std::io::Error) -> Error {
        Error::new(ErrorKind::Invalid, self.action(), "the connection string is not valid").with_source(error)
    }
}
