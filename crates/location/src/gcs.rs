//! Google Cloud Storage: which server, which credentials.

use crate::Result;
use crate::open::{Credentials, Settings};
use object_store::StaticCredentialProvider;
use object_store::gcp::{GcpCredential, GoogleCloudStorage, GoogleCloudStorageBuilder};
use std::sync::Arc;

pub(crate) fn build(settings: &Settings, bucket: &str, retries_max: usize) -> Result<GoogleCloudStorage> {
    let mut builder = GoogleCloudStorageBuilder::new();
    let named = |name: &str| settings.environment.get(name);
    builder = match &settings.credentials {
        // Without any of these the library looks where Google's tools keep a login, then asks the machine.
        Credentials::Ambient => match (named("GOOGLE_SERVICE_ACCOUNT_KEY"), named("GOOGLE_APPLICATION_CREDENTIALS")) {
            (Some(key), _) => builder.with_service_account_key(key),
            (None, Some(path)) => builder.with_application_credentials(path),
            (None, None) => builder,
        },
        Credentials::Anonymous => {
            let nobody = GcpCredential { bearer: String::new() };
            builder.with_credentials(Arc::new(StaticCredentialProvider::new(nobody))).with_skip_signature(true)
        }
        Credentials::Key { secret, .. } => builder.with_service_account_key(secret.reveal()),
    };
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    builder
        .with_bucket_name(bucket)
        .with_client_options(settings.client_options()?)
        .with_retry(settings.retries(retries_max))
        .build()
        .map_err(|error| settings.not_built(error))
}
