//! Azure Blob Storage: which account, which server, which credentials.

use crate::Result;
use crate::open::{Credentials, Settings};
use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};

const AMBIENT: [&str; 12] = [
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CLIENT_ID",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_MSI_ENDPOINT",
];

/// The names that Azure's command line uses, beside those above.
const ALIASES: [(&str, AzureConfigKey); 2] =
    [("AZURE_STORAGE_ACCOUNT", AzureConfigKey::AccountName), ("AZURE_STORAGE_KEY", AzureConfigKey::AccessKey)];

pub(crate) fn build(settings: &Settings, container: &str, retries_max: usize) -> Result<MicrosoftAzure> {
    let mut builder = MicrosoftAzureBuilder::new();
    let ambient = settings.credentials == Credentials::Ambient;
    let mut account = None;
    for (name, key) in
        ALIASES.into_iter().chain(AMBIENT.into_iter().filter_map(|n| Some((n, n.to_ascii_lowercase().parse().ok()?))))
    {
        let Some(value) = settings.environment.get(name) else { continue };
        if key == AzureConfigKey::AccountName {
            account = Some(value.clone());
        } else if ambient {
            builder = builder.with_config(key, value);
        }
    }
    builder = match &settings.credentials {
        Credentials::Ambient => builder,
        Credentials::Anonymous => builder.with_skip_signature(true),
        Credentials::Key { id, secret, .. } => {
            account = Some(id.clone());
            builder.with_access_key(secret.reveal())
        }
    };
    let account = account.ok_or_else(|| {
        settings.invalid("the storage account is missing: as the access key id, or as AZURE_STORAGE_ACCOUNT")
    })?;
    if let Some(endpoint) = &settings.endpoint {
        // Away from the cloud's own host names the account is the first part of the path.
        let endpoint = endpoint.trim_end_matches('/');
        builder = builder.with_endpoint(format!("{endpoint}/{account}"));
    }
    builder
        .with_account(account)
        .with_container_name(container)
        .with_client_options(settings.client_options()?)
        .with_retry(settings.retries(retries_max))
        .build()
        .map_err(|error| settings.not_built(error))
}
