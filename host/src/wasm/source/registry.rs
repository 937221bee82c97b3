//! Modules in registries: the part of the OCI distribution specification that pulls.

use std::path::Path;

use http::{HeaderValue, StatusCode};

use super::{
    answer::Answer,
    archive,
    cache::Cache,
    client::{Client, Request},
    credentials::{self, Credentials},
    digest::check,
    error::SourceError,
    manifest::{self, Form, Layer, Next},
    token,
};
use crate::config::module::Reference;

/// Who pulls an image.
pub(super) struct Registry<'a> {
    client: &'a Client,
    reference: &'a Reference,
    credentials: Result<Credentials, String>,
    /// What the registry has accepted so far.
    authorization: Option<HeaderValue>,
}

/// A module as the registry has it.
pub(super) struct Pulled {
    pub bytes: Vec<u8>,
    pub signature: Option<Vec<u8>>,
}

impl<'a> Registry<'a> {
    /// `docker` is the file in which `docker login` keeps credentials.
    pub fn new(client: &'a Client, reference: &'a Reference, docker: Option<&Path>) -> Self {
        let credentials = credentials::find(docker, reference.registry());
        Self { client, reference, credentials, authorization: None }
    }

    /// The module. One that has to have a certain digest and shows in the manifest that it has not is not fetched, nor
    /// is one that is in the cache.
    pub async fn pull(&mut self, sha256: Option<&str>, cache: Option<&Cache>) -> Result<Pulled, SourceError> {
        let layer = self.layer().await?;
        let signature = layer.signature.as_ref().map(|signature| signature.as_bytes().to_vec());
        if layer.form == Form::Module {
            if let Some(expected) = sha256.filter(|expected| *expected != layer.sha256) {
                return Err(SourceError::Digest {
                    what: "its".into(),
                    actual: layer.sha256,
                    whose: "the configuration",
                    expected: expected.to_owned(),
                });
            }
            if let Some(bytes) = cache.and_then(|cache| cache.module(&layer.sha256)) {
                return Ok(Pulled { bytes, signature });
            }
        }
        let blob = self.blob(&layer).await?;
        let bytes = match layer.form {
            Form::Module => blob,
            Form::Archive => archive::unpack(&blob, self.client.limits.size).map_err(|reason| self.unusable(reason))?,
        };
        Ok(Pulled { bytes, signature })
    }

    /// The layer that holds the module, through an index if there is one.
    async fn layer(&mut self) -> Result<Layer, SourceError> {
        let mut expected = self.reference.digest().map(str::to_owned);
        let mut whose = "the reference";
        let mut name = self.reference.manifest();
        // An index is no part of another one.
        for _ in 0..2 {
            let bytes = self.get("manifests", &name, manifest::ACCEPT, manifest::LIMIT).await?;
            check("the manifest's", &bytes, whose, expected.as_deref())?;
            match manifest::read(&bytes).map_err(|reason| self.unusable(reason))? {
                Next::Layer(layer) => return Ok(layer),
                Next::Manifest(sha256) => {
                    name = format!("sha256:{sha256}");
                    (expected, whose) = (Some(sha256), "the index");
                }
            }
        }
        Err(self.unusable("its index leads to another index".to_owned()))
    }

    async fn blob(&mut self, layer: &Layer) -> Result<Vec<u8>, SourceError> {
        let limit = self.client.limits.size;
        if layer.size > limit as u64 {
            return Err(SourceError::TooLarge { at: self.reference.to_string(), limit });
        }
        let blob = self.get("blobs", &format!("sha256:{}", layer.sha256), "*/*", limit).await?;
        check("the layer's", &blob, "the manifest", Some(&layer.sha256))?;
        Ok(blob)
    }

    async fn get(&mut self, kind: &str, name: &str, accept: &str, limit: usize) -> Result<Vec<u8>, SourceError> {
        let url = self.reference.endpoint(kind, name).map_err(|reason| self.unusable(reason))?;
        let ask = |authorization| Request { url: &url, accept, authorization, form: None, limit };
        let mut answer = self.client.send(&ask(self.authorization.clone())).await?;
        // Only the registry may ask for credentials, not whom it redirects to. A second no is one.
        if answer.status == StatusCode::UNAUTHORIZED && answer.url.same_origin(&url) {
            let authorization = token::authorize(self.client, self.reference, &answer, &self.credentials).await?;
            self.authorization = Some(authorization.clone());
            answer = self.client.send(&ask(Some(authorization))).await?;
        }
        Answer::ok(answer).map_err(|error| token::explained(error, &self.credentials))
    }

    fn unusable(&self, reason: String) -> SourceError {
        SourceError::Manifest { at: self.reference.to_string(), reason }
    }
}
