//! Signs requests to Amazon's other services, with the credentials and the library that sign those to S3.
//!
//! Not here: sending them.

use crate::open::{Credentials, Settings};
use crate::{Error, ErrorKind, Result, s3};
use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::HttpRequest;

/// Knows who we are to Amazon.
#[derive(Debug, Clone)]
pub struct AwsSigner {
    /// Holds the credentials, and renews those of a role. No bucket is ever asked.
    store: AmazonS3,
    region: String,
    signs: bool,
}

impl AwsSigner {
    /// With the credentials, the region and the endpoint of `settings`; their url is for messages only.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when they can't be used.
    pub fn new(settings: &Settings) -> Result<Self> {
        let region = settings.region.clone().unwrap_or_else(|| "us-east-1".to_owned());
        let signs = settings.credentials != Credentials::Anonymous;
        Ok(Self { store: s3::build(settings, "none", 0)?, region, signs })
    }

    /// The headers that a request to `service` needs: `route53`. The body must be sent as it is here.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when there are no credentials, [`ErrorKind::Invalid`] when the request can't be signed.
    pub async fn sign(&self, service: &str, method: &str, url: &str, body: &[u8]) -> Result<Vec<(String, String)>> {
        if !self.signs {
            return Ok(Vec::new());
        }
        let error = |kind, source: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(kind, url, format!("sign a request to {service}")).with_source(source)
        };
        let found = self.store.credentials().get_credential().await;
        let credential = found.map_err(|source| error(ErrorKind::Denied, source.into()))?;
        let mut request = HttpRequest::new(body.to_vec().into());
        *request.method_mut() = method.parse().map_err(|_| error(ErrorKind::Invalid, "no such method".into()))?;
        *request.uri_mut() = url.parse().map_err(|_| error(ErrorKind::Invalid, "no such url".into()))?;
        let authorizer = AwsAuthorizer::new(&credential, service, &self.region);
        authorizer.try_authorize(&mut request, None).map_err(|source| error(ErrorKind::Invalid, source.into()))?;
        let headers = request.headers().iter();
        Ok(headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[tokio::test]
    async fn a_request_is_signed_for_its_service_and_region() {
        let secret = Secret::new("secret");
        let credentials =
            Credentials::Key { id: "AKIDEXAMPLE".into(), secret, session_token: Some(Secret::new("token")) };
        let signer = AwsSigner::new(&Settings { credentials, ..Settings::new("s3://none") }).expect("settings");
        let url = "https://route53.amazonaws.com/2013-04-01/hostedzone/Z1/rrset";
        let headers = signer.sign("route53", "POST", url, b"<xml/>").await.expect("signed");
        let of = |name: &str| headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let authorization = of("authorization").expect("signed");
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{authorization}");
        assert!(authorization.contains("/us-east-1/route53/aws4_request"), "{authorization}");
        assert_eq!(of("x-amz-security-token"), Some("token"));
        let anonymous = Settings { credentials: Credentials::Anonymous, ..Settings::new("s3://none") };
        let signer = AwsSigner::new(&anonymous).expect("settings");
        assert_eq!(signer.sign("route53", "GET", url, b"").await.expect("nothing"), []);
    }
}
