//! Lets the object-store library write to fake-gcs-server: translates one kind of request and decides nothing.
//!
//! Google offers two interfaces to the same objects. The library speaks the XML one. fake-gcs-server reads, lists and
//! deletes by it, but takes uploads by the JSON interface only. So here `PUT /bucket/key` becomes the JSON interface's
//! multipart upload (of its uploads the one whose conditions the server looks at): the header
//! `x-goog-if-generation-match` becomes the parameter `ifGenerationMatch`, `x-goog-meta-` headers become fields, and
//! the generation and etag in the answer's body become headers again. Every other request passes as it is. Whether a
//! condition holds is found out by the server alone; a translator that lost it would fail the suite.
//!
//! <https://cloud.google.com/storage/docs/xml-api/put-object-upload>,
//! <https://cloud.google.com/storage/docs/json_api/v1/objects/insert>

use super::{read_head, read_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Starts a translator before the server at `upstream` and returns its endpoint. It lives as long as the test.
pub async fn translate_uploads(upstream: &str) -> String {
    let host = upstream.trim_start_matches("http://").to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let host = host.clone();
            tokio::spawn(async move { serve(socket, &host).await });
        }
    });
    endpoint
}

/// One request for each connection.
async fn serve(mut client: TcpStream, host: &str) -> std::io::Result<()> {
    let request = read_message(&mut client).await?;
    let head_bytes = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let (head, body) = request.split_at(head_bytes);
    let head = Head::parse(std::str::from_utf8(head).unwrap());
    let mut server = TcpStream::connect(host).await?;
    server.write_all(&head.for_server(host, body)).await?;
    if head.method == "PUT" {
        let status = String::from_utf8(read_head(&mut server).await?).unwrap();
        let mut said = String::new();
        server.read_to_string(&mut said).await?;
        return client.write_all(upload_answer(&status, &said).as_bytes()).await;
    }
    // It was asked by version 1.0: its answer is in one piece, and the last thing before it closes.
    tokio::io::copy(&mut server, &mut client).await?;
    client.shutdown().await
}

struct Head<'a> {
    method: &'a str,
    target: &'a str,
    /// Names in lower case.
    headers: Vec<(String, &'a str)>,
}

impl<'a> Head<'a> {
    fn parse(text: &'a str) -> Self {
        let mut lines = text.trim_end().lines();
        let mut first = lines.next().unwrap().split(' ');
        let headers = lines.map(|line| line.split_once(':').unwrap());
        Self {
            method: first.next().unwrap(),
            target: first.next().unwrap(),
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.trim())).collect(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| *value)
    }

    fn for_server(&self, host: &str, body: &[u8]) -> Vec<u8> {
        match (self.method, self.target.trim_start_matches('/').split_once('/')) {
            ("PUT", Some((bucket, key))) => self.upload(host, bucket, key, body),
            _ => {
                let mut text = format!("{} {} HTTP/1.0\r\nhost: {host}\r\n", self.method, self.target);
                for (name, value) in self.headers.iter().filter(|(name, _)| name != "host" && name != "connection") {
                    text += &format!("{name}: {value}\r\n");
                }
                [text.as_bytes(), b"\r\n", body].concat()
            }
        }
    }

    /// `key` is percent-encoded already, as a query wants it.
    fn upload(&self, host: &str, bucket: &str, key: &str, body: &[u8]) -> Vec<u8> {
        let boundary = format!("{:032x}", rand::random::<u128>());
        let metadata: Vec<String> = self
            .headers
            .iter()
            .filter_map(|(name, value)| Some(format!(r#""{}":"{value}""#, name.strip_prefix("x-goog-meta-")?)))
            .collect();
        let before = format!(
            "--{boundary}\r\ncontent-type: application/json\r\n\r\n{{\"metadata\":{{{}}}}}\r\n\
             --{boundary}\r\ncontent-type: {}\r\n\r\n",
            metadata.join(","),
            self.header("content-type").unwrap_or("application/octet-stream"),
        );
        let after = format!("\r\n--{boundary}--\r\n");
        let condition = self.header("x-goog-if-generation-match");
        let condition = condition.map_or(String::new(), |generation| format!("&ifGenerationMatch={generation}"));
        let head = format!(
            "POST /upload/storage/v1/b/{bucket}/o?uploadType=multipart&name={key}{condition} HTTP/1.0\r\n\
             host: {host}\r\ncontent-type: multipart/related; boundary={boundary}\r\ncontent-length: {}\r\n\r\n",
            before.len() + body.len() + after.len(),
        );
        [head.as_bytes(), before.as_bytes(), body, after.as_bytes()].concat()
    }
}

/// The answer of the XML interface: on success nothing but headers, else the same status and words.
fn upload_answer(head: &str, body: &str) -> String {
    let status = head.lines().next().unwrap().split_once(' ').unwrap().1;
    let (headers, body) = match status.starts_with("200") {
        true => {
            let (generation, etag) = (json_text(body, "generation"), json_text(body, "etag"));
            (format!("x-goog-generation: {generation}\r\netag: \"{etag}\"\r\n"), "")
        }
        false => (String::new(), body),
    };
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// The value of a field that holds neither quotes nor escapes.
fn json_text<'a>(json: &'a str, name: &str) -> &'a str {
    let after = json.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name} in {json}")).1;
    after.trim_start().trim_start_matches('"').split('"').next().unwrap()
}
