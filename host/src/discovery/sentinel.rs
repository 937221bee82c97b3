//! Redis Sentinel: the primary of a name, whoever that is now.
//!
//! One of them is asked: the one that answered last, and the others where it does not, knows no such name, or names somebody who says of itself that it is a
//! replica, as one does that a partition has kept from the news. Connections to sentinels have no TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};

use super::source::{Said, SourceError};
use crate::config::resolved::{Endpoint, Sentinels};

/// One sentinel, connecting included.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The longest line of an answer.
const LONGEST: u64 = 1024;

/// See the module.
pub struct Sentinel {
    settings: Sentinels,
    /// The place of the one that answered last.
    last: usize,
}

impl Sentinel {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(settings: Sentinels) -> Self {
        Self { settings, last: 0 }
    }

    pub(super) async fn ask(&mut self) -> Result<Said, SourceError> {
        let count = self.settings.servers.len();
        let mut reasons = Vec::new();
        for place in (0..count).map(|next| (self.last + next) % count.max(1)) {
            let Some(server) = self.settings.servers.get(place).copied() else { continue };
            let asked = timeout(TIMEOUT, self.primary(server)).await;
            match asked.unwrap_or_else(|_| Err("it does not answer".to_owned())) {
                Ok(primary) => {
                    self.last = place;
                    let hosts = vec![Arc::new(Endpoint::new(primary))];
                    return Ok(Said { hosts: Some(hosts), version: primary.to_string(), holds: None, lacks: None });
                }
                Err(reason) => reasons.push(format!("{server}: {reason}")),
            }
        }
        Err(SourceError::Unreachable(format!("no sentinel knows {:?}: {}", self.settings.name, reasons.join("; "))))
    }

    async fn primary(&self, server: SocketAddr) -> Result<SocketAddr, String> {
        let failed = |error: io::Error| error.to_string();
        let mut stream = BufReader::new(TcpStream::connect(server).await.map_err(failed)?);
        let Sentinels { name, user, password, .. } = &self.settings;
        let mut asked = Vec::new();
        if !password.is_empty() {
            let login: Vec<&str> = ["AUTH"].into_iter().chain(user.as_deref()).chain([password.as_str()]).collect();
            push(&mut asked, &login);
        }
        push(&mut asked, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]);
        stream.write_all(&asked).await.map_err(failed)?;
        if !password.is_empty() {
            // What is wrong with a login says nothing of the password.
            match line(&mut stream).await?.as_str() {
                "+OK" => {}
                refused => return Err(format!("the login is refused: {}", word(refused))),
            }
        }
        match line(&mut stream).await?.as_str() {
            "*2" => {}
            "*-1" => return Err("it knows no such primary".to_owned()),
            other => return Err(format!("it says {}", word(other))),
        }
        let (address, port) = (bulk(&mut stream).await?, bulk(&mut stream).await?);
        let ip: IpAddr = address.parse().map_err(|_| {
            format!("the primary is {address:?}, which is no IP address (`resolve-hostnames` and `announce-hostnames`)")
        })?;
        let port = port.parse::<u16>().ok().filter(|port| *port > 0);
        let primary = SocketAddr::new(ip, port.ok_or("the primary has no port")?);
        if timeout(TIMEOUT / 2, is_replica(primary)).await.unwrap_or(false) {
            return Err(format!("{primary} is a replica"));
        }
        Ok(primary)
    }
}

/// Whether a server says that it is none. Who wants TLS or a login first, or cannot be reached, says nothing.
async fn is_replica(server: SocketAddr) -> bool {
    let asked = async {
        let mut stream = BufReader::new(TcpStream::connect(server).await.map_err(|error| error.to_string())?);
        stream.write_all(b"*1\r\n$4\r\nROLE\r\n").await.map_err(|error| error.to_string())?;
        line(&mut stream).await?;
        bulk(&mut stream).await
    };
    asked.await.is_ok_and(|role| role == "slave")
}

/// The first word of an answer, which is Redis' word for what is wrong.
fn word(line: &str) -> String {
    let word = line.split_whitespace().next().unwrap_or("nothing");
    format!("{word:?}")
}

fn push(bytes: &mut Vec<u8>, words: &[&str]) {
    bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Result<String, String> {
    let mut bytes = Vec::new();
    stream.take(LONGEST).read_until(b'\n', &mut bytes).await.map_err(|error| error.to_string())?;
    let line = bytes.strip_suffix(b"\r\n").ok_or("it breaks off, or is no Redis")?;
    String::from_utf8(line.to_vec()).map_err(|_| "it is no Redis".to_owned())
}

async fn bulk(stream: &mut BufReader<TcpStream>) -> Result<String, String> {
    let head = line(stream).await?;
    let text = line(stream).await?;
    if head.strip_prefix('$').and_then(|length| length.parse().ok()) == Some(text.len()) {
        Ok(text)
    } else {
        Err("it is no Redis".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, task::JoinHandle};

    use super::*;

    /// Answers one connection with this, and says what it was asked.
    async fn answers(answer: &'static str) -> (SocketAddr, JoinHandle<String>) {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = socket.accept().await.unwrap();
            let mut asked = vec![0; 1024];
            let count = stream.read(&mut asked).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&asked[..count]).into_owned()
        });
        (address, asked)
    }

    fn sentinels(servers: Vec<SocketAddr>, password: &str) -> Sentinel {
        let user = (!password.is_empty()).then(|| "fyke".to_owned());
        Sentinel::new(Sentinels { name: "main".to_owned(), servers, user, password: password.to_owned() })
    }

    const PRIMARY: &str = "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6379\r\n";

    #[tokio::test]
    async fn the_next_one_is_asked_where_one_does_not_know_and_stays() {
        let (ignorant, _asked) = answers("*-1\r\n").await;
        let (knows, asked) = answers(PRIMARY).await;
        let mut source = sentinels(vec![ignorant, knows], "");
        let said = source.ask().await.unwrap();
        assert_eq!(said.hosts.unwrap()[0].address, "127.0.0.1:6379".parse().unwrap());
        assert_eq!((said.version.as_str(), source.last), ("127.0.0.1:6379", 1));
        assert!(asked.await.unwrap().ends_with("\r\nSENTINEL\r\n$23\r\nGET-MASTER-ADDR-BY-NAME\r\n$4\r\nmain\r\n"));
    }

    #[tokio::test]
    async fn it_logs_in_and_says_nothing_of_the_password() {
        let (address, asked) = answers("+OK\r\n*2\r\n$3\r\n::1\r\n$2\r\n80\r\n").await;
        let said = sentinels(vec![address], "secret").ask().await.unwrap();
        assert_eq!(said.version, "[::1]:80");
        assert!(asked.await.unwrap().starts_with("*3\r\n$4\r\nAUTH\r\n$4\r\nfyke\r\n$6\r\nsecret\r\n*3\r\n"));
        let (address, _asked) = answers("-WRONGPASS invalid username-password pair\r\n").await;
        let error = sentinels(vec![address], "secret").ask().await.unwrap_err().to_string();
        assert!(error.contains("WRONGPASS") && !error.contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_answer_changes_nothing() {
        for answer in [
            "",
            "*2\r\n",
            "HTTP/1.1 400 Bad\r\n",
            "*2\r\n$9\r\nredis.lan\r\n$4\r\n6379\r\n",
            "*2\r\n$7\r\n1.2.3.4\r\n$1\r\n0\r\n",
        ] {
            let (address, _asked) = answers(answer).await;
            let error = sentinels(vec![address], "").ask().await.unwrap_err();
            assert!(matches!(error, SourceError::Unreachable(_)), "{answer:?}: {error}");
        }
    }
}
