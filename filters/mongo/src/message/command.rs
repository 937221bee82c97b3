//! Commands that MongoDB knows. A label's value is one of them or [`Command::UNKNOWN`], whatever clients send.

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// Its name, as MongoDB writes it today.
    pub name: &'static str,
    /// What its first value is.
    pub target: Target,
    /// Whether it belongs to setting up a connection: it is judged by rules that name it, and by no others.
    pub handshake: bool,
    /// Whether it carries credentials: its values are never logged.
    pub secret: bool,
}

/// What a command's first value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A collection's name.
    Collection,
    /// `database.collection`.
    Namespace,
    /// A cursor; the collection has a field of its own.
    Cursor,
    /// Another command.
    Command,
    /// Nothing that is counted.
    Other,
}

impl Command {
    /// One that is not in the table.
    pub const UNKNOWN: Self = Self { name: "unknown_command", target: Target::Other, handshake: false, secret: false };

    /// By its name in a message.
    #[must_use]
    pub fn find(name: &[u8]) -> &'static Self {
        static UNKNOWN: Command = Command::UNKNOWN;
        TABLE
            .binary_search_by(|(known, _)| known.as_bytes().cmp(name))
            .ok()
            .and_then(|at| TABLE.get(at))
            .map_or(&UNKNOWN, |(_, command)| command)
    }

    /// All names that are known.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|(name, _)| *name)
    }

    /// Whether it is `find`, which Envoy's statistics call a query.
    #[must_use]
    pub fn is_find(&self) -> bool {
        self.name == "find"
    }
}

const fn command(name: &'static str, target: Target) -> Command {
    Command { name, target, handshake: false, secret: false }
}

const fn on(name: &'static str) -> (&'static str, Command) {
    (name, command(name, Target::Collection))
}

const fn alias(alias: &'static str, name: &'static str, target: Target) -> (&'static str, Command) {
    (alias, command(name, target))
}

const fn other(name: &'static str) -> (&'static str, Command) {
    (name, command(name, Target::Other))
}

const fn hand(alias: &'static str, name: &'static str) -> (&'static str, Command) {
    (alias, Command { name, target: Target::Other, handshake: true, secret: true })
}

const fn secret(name: &'static str) -> (&'static str, Command) {
    (name, Command { name, target: Target::Other, handshake: false, secret: true })
}

/// By name, sorted bytewise.
static TABLE: &[(&str, Command)] = &[
    other("abortTransaction"),
    on("aggregate"),
    hand("authenticate", "authenticate"),
    other("balancerStart"),
    other("balancerStatus"),
    other("balancerStop"),
    alias("buildInfo", "buildInfo", Target::Other),
    alias("buildinfo", "buildInfo", Target::Other),
    other("bulkWrite"),
    on("collMod"),
    on("collStats"),
    alias("collstats", "collStats", Target::Collection),
    other("commitTransaction"),
    on("compact"),
    other("configureFailPoint"),
    other("connPoolStats"),
    hand("connectionStatus", "connectionStatus"),
    on("convertToCapped"),
    hand("copydbgetnonce", "copydbgetnonce"),
    hand("copydbsaslstart", "copydbsaslstart"),
    on("count"),
    on("create"),
    on("createIndexes"),
    secret("createRole"),
    on("createSearchIndexes"),
    secret("createUser"),
    other("currentOp"),
    alias("dataSize", "dataSize", Target::Namespace),
    other("dbHash"),
    other("dbStats"),
    alias("dbstats", "dbStats", Target::Other),
    on("delete"),
    alias("deleteIndexes", "dropIndexes", Target::Collection),
    on("distinct"),
    on("drop"),
    secret("dropAllUsersFromDatabase"),
    other("dropDatabase"),
    on("dropIndexes"),
    secret("dropRole"),
    on("dropSearchIndex"),
    secret("dropUser"),
    other("enableSharding"),
    hand("endSessions", "endSessions"),
    alias("explain", "explain", Target::Command),
    other("features"),
    on("filemd5"),
    on("find"),
    on("findAndModify"),
    alias("findandmodify", "findAndModify", Target::Collection),
    other("flushRouterConfig"),
    other("fsync"),
    other("fsyncUnlock"),
    other("getCmdLineOpts"),
    other("getDefaultRWConcern"),
    other("getLastError"),
    other("getLog"),
    alias("getMore", "getMore", Target::Cursor),
    other("getParameter"),
    other("getPrevError"),
    alias("getlasterror", "getLastError", Target::Other),
    hand("getnonce", "getnonce"),
    alias("getpreverror", "getPrevError", Target::Other),
    secret("grantRolesToUser"),
    hand("hello", "hello"),
    other("hostInfo"),
    on("insert"),
    hand("isMaster", "isMaster"),
    hand("isdbgrid", "isdbgrid"),
    hand("ismaster", "isMaster"),
    other("killAllSessions"),
    on("killCursors"),
    other("killOp"),
    other("killSessions"),
    other("listCollections"),
    other("listCommands"),
    other("listDatabases"),
    on("listIndexes"),
    on("listSearchIndexes"),
    other("listShards"),
    other("lockInfo"),
    hand("logout", "logout"),
    on("mapReduce"),
    alias("mapreduce", "mapReduce", Target::Collection),
    alias("moveChunk", "moveChunk", Target::Namespace),
    hand("ping", "ping"),
    on("planCacheClear"),
    other("profile"),
    on("reIndex"),
    other("refreshSessions"),
    alias("renameCollection", "renameCollection", Target::Namespace),
    other("replSetGetConfig"),
    other("replSetGetStatus"),
    other("replSetStepDown"),
    other("resetError"),
    alias("reseterror", "resetError", Target::Other),
    secret("revokeRolesFromUser"),
    secret("rolesInfo"),
    hand("saslContinue", "saslContinue"),
    hand("saslStart", "saslStart"),
    other("serverStatus"),
    other("setDefaultRWConcern"),
    other("setFeatureCompatibilityVersion"),
    other("setParameter"),
    alias("shardCollection", "shardCollection", Target::Namespace),
    other("shutdown"),
    alias("split", "split", Target::Namespace),
    other("startSession"),
    other("top"),
    on("update"),
    on("updateSearchIndex"),
    secret("updateUser"),
    secret("usersInfo"),
    on("validate"),
    hand("whatsmyuri", "whatsmyuri"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_name_is_found() {
        assert!(TABLE.is_sorted_by(|(one, _), (other, _)| one < other));
        for (name, command) in TABLE {
            assert_eq!(Command::find(name.as_bytes()), command);
            assert!(Command::names().any(|known| known == command.name), "{name}");
        }
        assert_eq!(Command::find(b"collstats").name, "collStats");
        assert_eq!(Command::find(b"FIND"), &Command::UNKNOWN);
        assert_eq!(Command::find(b""), &Command::UNKNOWN);
    }
}
