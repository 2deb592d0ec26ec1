//! Proving who we are on a new connection: SCRAM-SHA-256, MD5, or the password as it is.

use super::codec::ServerMessage;
use super::socket::Socket;
use crate::connection::{Error, ErrorKind, Result, Target};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use std::collections::HashMap;

/// A server reports some fifteen parameters.
const PARAMETERS_MAX: usize = 256;

/// From the first message to the first `ReadyForQuery`; returns the parameters that the server reports.
pub(super) async fn start_session(socket: &mut Socket, target: &Target) -> Result<HashMap<String, String>> {
    let action = || format!("connect to {target}");
    let config = target.config();
    let user = config.get_user().ok_or_else(|| {
        Error::new(ErrorKind::Invalid, action(), "the connection string names no user").with_hint("add user=NAME")
    })?;
    let name = config.get_application_name().unwrap_or("lifeboat");
    let mut parameters = vec![("user", user), ("replication", "true"), ("application_name", name)];
    parameters.extend(config.get_options().map(|options| ("options", options)));
    parameters.extend([("client_encoding", "UTF8")]);
    let unsendable =
        |error| Error::new(ErrorKind::Invalid, action(), "the connection string is not valid").with_source(error);
    frontend::startup_message(parameters, socket.outgoing()).map_err(unsendable)?;

    let mut scram = None;
    let mut reported = HashMap::new();
    loop {
        let protocol = || Error::new(ErrorKind::Protocol, action(), "unexpected answer while logging in");
        let password = || {
            config.get_password().ok_or_else(|| {
                Error::new(ErrorKind::Authentication, action(), "the server asks for a password, and none was given")
                    .with_hint("add passfile=FILE to the connection string")
            })
        };
        match socket.receive().await? {
            ServerMessage::ReadyForQuery => return Ok(reported),
            ServerMessage::Parameter { name, value } if reported.len() < PARAMETERS_MAX => {
                reported.insert(name, value);
            }
            ServerMessage::Error(refusal) => {
                return Err(Error::from_code(action(), &refusal.code, &refusal.message, refusal.hint.as_deref()));
            }
            ServerMessage::CleartextPassword => {
                frontend::password_message(password()?, socket.outgoing()).map_err(unsendable)?;
            }
            ServerMessage::Md5Password { salt } => {
                let hash = md5_hash(user.as_bytes(), password()?, salt);
                frontend::password_message(hash.as_bytes(), socket.outgoing()).map_err(unsendable)?;
            }
            ServerMessage::Sasl { mechanisms } => {
                if !mechanisms.iter().any(|name| name == SCRAM_SHA_256) {
                    return Err(Error::new(
                        ErrorKind::Authentication,
                        action(),
                        "the server doesn't offer SCRAM-SHA-256",
                    ));
                }
                let started = ScramSha256::new(password()?, ChannelBinding::unsupported());
                frontend::sasl_initial_response(SCRAM_SHA_256, started.message(), socket.outgoing())
                    .map_err(unsendable)?;
                scram = Some(started);
            }
            ServerMessage::SaslContinue(data) => {
                let scram = scram.as_mut().ok_or_else(protocol)?;
                scram.update(&data).map_err(|error| protocol().with_source(error))?;
                frontend::sasl_response(scram.message(), socket.outgoing()).map_err(unsendable)?;
            }
            ServerMessage::SaslFinal(data) => {
                let scram = scram.as_mut().ok_or_else(protocol)?;
                // The server proves that it knows the password too.
                scram.finish(&data).map_err(|error| {
                    Error::new(ErrorKind::Authentication, action(), "the server can't prove that it knows the password")
                        .with_source(error)
                })?;
            }
            ServerMessage::OtherAuthentication => {
                let why = "the server asks for Kerberos, which isn't supported";
                return Err(Error::new(ErrorKind::Authentication, action(), why));
            }
            ServerMessage::AuthenticationOk | ServerMessage::Other | ServerMessage::Parameter { .. } => {}
            _ => return Err(protocol()),
        }
    }
}
