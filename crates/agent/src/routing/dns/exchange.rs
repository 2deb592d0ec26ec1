//! One signed question to a DNS server, and its signed answer, over TCP.
//!
//! An answer that isn't signed with our key is no answer: otherwise anybody on the way could say that an update was carried out.

use hickory_proto::op::{DnsResponse, Message, ResponseCode};
use hickory_proto::rr::TSigner;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A DNS server that shares a key with us.
pub(super) struct Server {
    pub address: SocketAddr,
    pub signer: TSigner,
    pub limit: Duration,
}

impl Server {
    /// The answer, whatever it says; or why there is none.
    pub async fn exchange(&self, message: Message) -> Result<DnsResponse, String> {
        let work = self.exchange_in_time(message);
        tokio::time::timeout(self.limit, work).await.map_err(|_| format!("no answer within {:?}", self.limit))?
    }

    async fn exchange_in_time(&self, mut message: Message) -> Result<DnsResponse, String> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?.as_secs();
        let verifier = message.finalize(&self.signer, seconds).map_err(|error| error.to_string())?;
        let bytes = message.to_vec().map_err(|error| error.to_string())?;
        let answer = self.send(&bytes).await.map_err(|error| error.to_string())?;
        let plain = Message::from_vec(&answer).map_err(|error| format!("the answer can't be understood: {error}"))?;
        if plain.id != message.id {
            return Err("the answer is to another question".into());
        }
        let Some(mut verifier) = verifier else { return Err("the question wasn't signed".into()) };
        match verifier.verify(&answer) {
            Ok(answer) => Ok(answer),
            // A server that doesn't know the key can't sign with it.
            Err(_) if matches!(plain.response_code, ResponseCode::NotAuth | ResponseCode::Refused) => {
                DnsResponse::from_buffer(answer).map_err(|error| error.to_string())
            }
            Err(error) => Err(format!("the answer isn't signed with our key: {error}")),
        }
    }

    async fn send(&self, message: &[u8]) -> std::io::Result<Vec<u8>> {
        let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }
}
