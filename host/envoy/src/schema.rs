//! What Envoy's messages look like: the descriptors of its v3 API, from `descriptors/envoy.binpb.z`, which
//! `descriptors/generate.py` makes of the Python package `xds-protos` (Apache-2.0).

use prost_reflect::{DescriptorPool, MessageDescriptor};

const PACKED: &[u8] = include_bytes!("../descriptors/envoy.binpb.z");
/// Well above what is shipped.
const LARGEST: usize = 8 << 20;

/// The descriptors could not be read: the crate was built with a damaged file.
#[derive(Debug, thiserror::Error)]
#[error("the descriptors of Envoy's API cannot be read: {0}")]
pub struct SchemaError(String);

/// The messages of Envoy's v3 API. Cheap to clone; loading takes some tens of milliseconds, so it is done once.
#[derive(Debug, Clone)]
pub struct Schema {
    pool: DescriptorPool,
}

impl Schema {
    /// Reads the descriptors.
    ///
    /// # Errors
    /// The file that the crate was built with is damaged.
    pub fn load() -> Result<Self, SchemaError> {
        let bytes = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(PACKED, LARGEST)
            .map_err(|error| SchemaError(error.to_string()))?;
        let pool = DescriptorPool::decode(bytes.as_slice()).map_err(|error| SchemaError(error.to_string()))?;
        Ok(Self { pool })
    }

    /// A message by its full name, `envoy.config.cluster.v3.Cluster`.
    pub(crate) fn message(&self, name: &str) -> Option<MessageDescriptor> {
        self.pool.get_message_by_name(name)
    }

    /// Whether there is a message of this name.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.message(name).is_some()
    }
}

/// The name in a type URL: what is behind the last slash.
#[must_use]
pub fn type_name(url: &str) -> &str {
    url.rsplit_once('/').map_or(url, |(_, name)| name)
}
