//! S3 and what speaks it: which server, which name style, which credentials.

use crate::Result;
use crate::open::{Credentials, Settings};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};

/// What the cloud's own tools would take from the environment. The rest of `AWS_*` isn't about credentials.
const AMBIENT: [&str; 12] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
];

pub(crate) fn build(settings: &Settings, bucket: &str, retries_max: usize) -> Result<AmazonS3> {
    let mut builder = AmazonS3Builder::new();
    for name in AMBIENT {
        let Some(value) = settings.environment.get(name) else { continue };
        let about_us = name.ends_with("REGION") || settings.credentials == Credentials::Ambient;
        if let (true, Ok(key)) = (about_us, name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>()) {
            builder = builder.with_config(key, value);
        }
    }
    builder = match &settings.credentials {
        Credentials::Ambient => builder,
        Credentials::Anonymous => builder.with_skip_signature(true),
        Credentials::Key { id, secret, session_token } => {
            let builder = builder.with_access_key_id(id).with_secret_access_key(secret.reveal());
            match session_token {
                Some(token) => builder.with_token(token.reveal()),
                None => builder,
            }
        }
    };
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    builder = match &settings.endpoint {
        // Servers other than Amazon's know the bucket by path.
        Some(endpoint) => builder.with_endpoint(endpoint.trim_end_matches('/')),
        // A dot in the name breaks the certificate of the host style.
        None => builder.with_virtual_hosted_style_request(!bucket.contains('.')),
    };
    builder
        .with_bucket_name(bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_disable_bulk_delete(true)
        .with_client_options(settings.client_options()?)
        .with_retry(settings.retries(retries_max))
        .build()
        .map_err(|error| settings.not_built(error))
}
