//! `mongo_liar.py`

use crate::script::{Script, port, python};

/// One that runs until this is dropped.
pub struct MongoLiar {
    script: Script,
    pub port: u16,
}

impl MongoLiar {
    /// `None`: there is no Python.
    #[must_use]
    pub fn start() -> Option<Self> {
        let script = Script::start(&python()?, "mongo_liar.py", &[]);
        let port = script.hear(|line| port(&line)).expect("the liar starts: is mockupdb installed?");
        Some(Self { script, port })
    }

    /// Waits until this lie was told.
    pub fn lied(&self, lie: &str) {
        let lied = self.script.hear(|line| (line["lie"] == lie).then_some(()));
        assert_eq!(lied, Some(()), "{lie} was not told");
    }
}
