//! A proxy with one listener and one probe for each version of the ABI.

use std::{ffi::OsStr, net::SocketAddr};

use serde_json::Value;

use crate::{
    guests, journal,
    support::{
        Conn, Launch, Message, Proxy, Upstream, eventually,
        process::{Ended, run, scratch},
        upstream::Refusing,
    },
};

/// A version of the ABI: the name of its listener and of its filter, and its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    pub name: &'static str,
    pub listener: &'static str,
    module: &'static str,
}

impl Version {
    /// 0.1.0 differs from all others.
    pub fn is_old(self) -> bool {
        self.listener == "v0-1-0"
    }
}

/// All of them; the working draft (vNEXT) is 0.2.1 with a marker of its own.
pub const VERSIONS: [Version; 5] = [
    Version { name: "0.1.0", listener: "v0-1-0", module: guests::V0_1_0 },
    Version { name: "0.2.0", listener: "v0-2-0", module: guests::V0_2_0 },
    Version { name: "0.2.1", listener: "v0-2-1", module: guests::V0_2_1 },
    Version { name: "0.2.100", listener: "v0-2-100", module: guests::V0_2_100 },
    Version { name: "vNEXT", listener: "vnext", module: guests::VNEXT },
];

/// Where a row does not depend on the version.
pub const LATEST: Version = VERSIONS[2];

/// The request of [`Running::request`]: two fields of one name, a body, a trailer.
pub const REQUEST: &str = "POST /path?q=1 HTTP/1.1\r\nhost: test.example\r\nx-a: 1\r\nX-A: 2\r\nuser-agent: tests\r\nreferer: http://a/\r\n\
    x-request-id: id-1\r\nte: trailers\r\ntrailer: x-t\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: t\r\n\r\n";

/// How to start one.
pub struct Stage {
    tcp: bool,
    script: String,
    /// Behind the probe, from the outside in.
    inner: Vec<(String, String)>,
    settings: String,
    listener: String,
    grants: bool,
    more: String,
}

impl Stage {
    /// Listeners for HTTP; everything goes to an upstream that answers with fields, a body and a trailer.
    pub fn http(script: impl Into<String>) -> Self {
        Self {
            tcp: false,
            script: script.into(),
            inner: Vec::new(),
            settings: "limits: { call_time: 2s }, ".to_owned(),
            listener: String::new(),
            grants: true,
            more: String::new(),
        }
    }

    /// Listeners for TCP; the upstream says `welcome`, reads to the end, says what it read, and closes.
    pub fn tcp(script: impl Into<String>) -> Self {
        Self { tcp: true, ..Self::http(script) }
    }

    /// One more probe behind those that there are, named `VERSION-NAME`.
    pub fn inner(mut self, name: &str, script: impl Into<String>) -> Self {
        self.inner.push((name.to_owned(), script.into()));
        self
    }

    /// Settings of every probe, each followed by a comma; those of before are replaced.
    pub fn settings(mut self, settings: &str) -> Self {
        self.settings = settings.to_owned();
        self
    }

    /// Without `allow:`.
    pub fn ungranted(mut self) -> Self {
        self.grants = false;
        self
    }

    /// Settings of the listeners, each followed by a comma.
    pub fn listener(mut self, settings: &str) -> Self {
        self.listener = settings.to_owned();
        self
    }

    /// Top-level settings, such as `node:`.
    pub fn more(mut self, yaml: &str) -> Self {
        self.more = yaml.to_owned();
        self
    }

    /// The configuration, with these addresses of clusters.
    fn yaml(&self, clusters: &[(&str, SocketAddr)]) -> String {
        let mut yaml = String::from("listeners:\n");
        let protocol = if self.tcp { "protocol: tcp, " } else { "" };
        for version in VERSIONS {
            let mut filters = vec![version.listener.to_owned()];
            filters.extend(self.inner.iter().map(|(name, _)| format!("{}-{name}", version.listener)));
            yaml += &format!(
                "  {}: {{ address: '127.0.0.1:0', {protocol}{}filters: [{}], cluster: app }}\n",
                version.listener,
                self.listener,
                filters.join(", ")
            );
        }
        yaml += "filters:\n";
        let grants =
            if self.grants { "allow: { shared_data: true, clusters: [app, callout, grpc, nobody] }, " } else { "" };
        for version in VERSIONS {
            let mut filter = |name: String, script: &str| {
                yaml += &format!(
                    "  {name}: {{ {}{grants}module: {:?}, \
                     environment: {{ SCRIPT: {script:?} }}, config: the configuration }}\n",
                    self.settings, version.module
                );
            };
            filter(version.listener.to_owned(), &self.script);
            for (name, script) in &self.inner {
                filter(format!("{}-{name}", version.listener), script);
            }
        }
        yaml += "clusters:\n";
        for (name, address) in clusters {
            let protocol = if *name == "grpc" { "protocol: http2, " } else { "" };
            yaml += &format!("  {name}: {{ {protocol}endpoints: ['{address}'] }}\n");
        }
        yaml + &self.more
    }

    /// Starts a proxy that is expected to refuse this.
    pub fn refused(self) -> Ended {
        let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxy.yaml");
        let clusters = ["app", "callout", "nobody", "grpc"].map(|name| (name, nobody));
        std::fs::write(&file, format!("workers: 1\nstate: {:?}\n{}", scratch(), self.yaml(&clusters))).unwrap();
        run([OsStr::new("run"), file.as_os_str()])
    }

    pub async fn start(self) -> Running {
        self.with_grpc(None).await
    }

    /// With a server behind the cluster `grpc`.
    pub async fn with_grpc(self, grpc: Option<SocketAddr>) -> Running {
        let app = if self.tcp { talker().await } else { answerer().await };
        let callout = answerer().await;
        let nobody = Refusing::new();
        let clusters = [
            ("app", app.address),
            ("callout", callout.address),
            ("nobody", nobody.address),
            ("grpc", grpc.unwrap_or(nobody.address)),
        ];
        let proxy = Launch::new(self.yaml(&clusters)).start().await;
        Running { tcp: self.tcp, proxy, app, callout, _nobody: nobody }
    }
}

/// A proxy that runs until this is dropped.
pub struct Running {
    tcp: bool,
    pub proxy: Proxy,
    pub app: Upstream,
    pub callout: Upstream,
    _nobody: Refusing,
}

impl Running {
    /// Sends [`REQUEST`].
    pub async fn request(&self, version: Version) -> Option<Message> {
        self.send(version, REQUEST).await
    }

    /// Sends a request on a connection of its own; `None` when there is no answer, or half of one.
    pub async fn send(&self, version: Version, request: &str) -> Option<Message> {
        let mut conn = Conn::to(self.proxy.listener(version.listener)).await;
        conn.send(request).await;
        let head = conn.head().await?;
        conn.body(head).await
    }

    /// One TCP connection: says `ping`, ends its half, and returns what it heard.
    pub async fn dialog(&self, version: Version) -> String {
        let mut conn = Conn::to(self.proxy.listener(version.listener)).await;
        conn.send("ping").await;
        conn.finish().await;
        String::from_utf8_lossy(&conn.rest().await).into_owned()
    }

    /// Lets one stream pass in every version, and checks what the probe has said of it by its end.
    pub async fn shows(&self, expected: &[&str]) {
        for version in VERSIONS {
            if self.tcp {
                self.dialog(version).await;
            } else {
                assert!(self.request(version).await.is_some(), "no answer in version {}", version.name);
            }
            journal::check(version, &self.ended(version).await, expected);
        }
    }

    /// What a filter's probe has said so far.
    pub fn journal(&self, filter: &str) -> Vec<String> {
        let lines = self.proxy.log_lines(&["probe: ", filter]);
        let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter(|line| line["filter"] == filter)
            .filter_map(|line| line["message"].as_str()?.strip_prefix("probe: ").map(str::to_owned))
            .collect()
    }

    /// Waits for a line of a filter's probe, and returns all that it has said.
    #[track_caller]
    pub fn said(&self, filter: &str, pattern: &str) -> impl Future<Output = Vec<String>> {
        let (filter, pattern) = (filter.to_owned(), pattern.to_owned());
        eventually(format!("{pattern:?} of {filter}"), async move || {
            let journal = self.journal(&filter);
            journal.iter().any(|line| journal::matches(&pattern, line)).then_some(journal)
        })
    }

    /// Waits for the first stream of a version to end.
    #[track_caller]
    pub fn ended(&self, version: Version) -> impl Future<Output = Vec<String>> {
        self.said(version.listener, "delete *")
    }
}

/// Answers each request with a field, a body and a trailer; `/slow` never.
async fn answerer() -> Upstream {
    Upstream::scripted(|mut conn, _, recorder| async move {
        while let Some(request) = conn.request().await {
            recorder.saw(&request);
            if request.path().starts_with("/slow") {
                conn.rest().await;
                return;
            }
            let answer = "HTTP/1.1 200 OK\r\nx-up: u\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ntrailer: x-rt\r\ntransfer-encoding: chunked\r\n\r\n\
                5\r\nworld\r\n0\r\nx-rt: rt\r\n\r\n";
            if conn.try_send(answer).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// Says `welcome`, reads to the end, says what it read, and closes.
async fn talker() -> Upstream {
    Upstream::scripted(|mut conn, _, recorder| async move {
        if conn.try_send("welcome;").await.is_err() {
            return;
        }
        let read = conn.rest().await;
        recorder.saw(&Message { body: read.clone(), ..Message::default() });
        let _ = conn.try_send(read).await;
    })
    .await
}

/// One listener whose two filters stand on one instance, and its upstream; each is configured with its own name.
pub async fn shared_vm(names: [&str; 2], script: &str) -> (Proxy, Upstream) {
    let upstream = Upstream::says("up").await;
    let filters: String = names
        .iter()
        .map(|name| {
            format!(
                "  {name}: {{ vm: both, limits: {{ call_time: 2s }}, allow: {{ shared_data: true }}, module: {:?}, config: {name}, \
                 environment: {{ SCRIPT: {script:?} }} }}\n",
                guests::V0_2_1
            )
        })
        .collect();
    let proxy = Launch::new(format!(
        "listeners:\n  web: {{ address: '127.0.0.1:0', filters: [{}], cluster: app }}\nfilters:\n{filters}clusters:\n  app: {{ endpoints: ['{}'] }}\n",
        names.join(", "),
        upstream.address
    ))
    .start()
    .await;
    (proxy, upstream)
}
