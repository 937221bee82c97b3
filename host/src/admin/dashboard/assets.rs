//! Files that pages need, part of the binary.
//!
//! Addresses carry a hash of the content, so that a browser may keep them for good and an update is seen at once.

use crate::admin::dashboard::link::BASE;

/// A file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asset {
    /// How pages look.
    Style,
    /// Keeps pages up to date.
    Script,
    /// uPlot 1.6.32 by Leon Sorokin, MIT; see `assets/uplot.LICENSE`.
    ChartScript,
    /// How its charts look.
    ChartStyle,
    /// Licence of uPlot.
    ChartLicence,
    /// The browser's icon.
    Icon,
}

/// A file with what a browser must know of it.
pub(crate) struct File {
    pub content: &'static [u8],
    pub content_type: &'static str,
    pub hash: u64,
    name: &'static str,
}

macro_rules! file {
    ($name:literal, $content_type:literal) => {{
        const CONTENT: &[u8] = include_bytes!(concat!("assets/", $name));
        const HASH: u64 = hash(CONTENT);
        File { content: CONTENT, content_type: $content_type, hash: HASH, name: $name }
    }};
}

impl Asset {
    const ALL: [Self; 6] =
        [Self::Style, Self::Script, Self::ChartScript, Self::ChartStyle, Self::ChartLicence, Self::Icon];

    pub(crate) fn file(self) -> File {
        match self {
            Self::Style => file!("dashboard.css", "text/css; charset=utf-8"),
            Self::Script => file!("dashboard.js", "text/javascript; charset=utf-8"),
            Self::ChartScript => file!("uplot.js", "text/javascript; charset=utf-8"),
            Self::ChartStyle => file!("uplot.css", "text/css; charset=utf-8"),
            Self::ChartLicence => file!("uplot.LICENSE", "text/plain; charset=utf-8"),
            Self::Icon => file!("fyke.svg", "image/svg+xml"),
        }
    }
}

/// Where a file is.
pub(crate) fn path(asset: Asset) -> String {
    let File { name, hash, .. } = asset.file();
    format!("{BASE}/assets/{name}?v={hash:016x}")
}

/// The file with this name.
pub(crate) fn named(name: &str) -> Option<File> {
    Asset::ALL.into_iter().map(Asset::file).find(|file| file.name == name)
}

/// FNV-1a: tells versions of our own files apart, no more.
const fn hash(bytes: &[u8]) -> u64 {
    let (mut hash, mut rest) = (0xcbf2_9ce4_8422_2325_u64, bytes);
    while let [byte, after @ ..] = rest {
        hash = (hash ^ *byte as u64).wrapping_mul(0x0100_0000_01b3);
        rest = after;
    }
    hash
}
