//! HTTP/1.1 byte by byte, for both ends.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::soon;

/// Anything that bytes go through.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A connection, and what was read from it but not yet asked for.
pub struct Conn {
    io: Box<dyn Transport>,
    buffer: Vec<u8>,
    /// An upstream waits for its next request for as long as it takes.
    patient: bool,
}

/// A request or a response as it was on the wire.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// First line.
    pub start: String,
    /// Fields in order, names as they were written.
    pub headers: Vec<(String, String)>,
    /// Body, without its framing.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Vec<(String, String)>,
    /// Which connection of its upstream it came over, from 1.
    pub connection: usize,
}

impl Message {
    /// Status of a response.
    #[track_caller]
    pub fn status(&self) -> u16 {
        self.start
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("no status in {self:?}"))
    }

    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap()
    }

    /// Target of a request.
    pub fn path(&self) -> &str {
        self.start.split(' ').nth(1).unwrap()
    }

    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Conn {
    pub async fn to(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    pub fn over(io: impl Transport + 'static) -> Self {
        Self { io: Box::new(io), buffer: Vec::new(), patient: false }
    }

    /// For connections that end with their test.
    pub fn patient(io: impl Transport + 'static) -> Self {
        Self { patient: true, ..Self::over(io) }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// For peers that may close the connection meanwhile.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        soon("the peer to read", async {
            self.io.write_all(bytes.as_ref()).await?;
            self.io.flush().await
        })
        .await
    }

    /// For peers that may not read for a long time.
    pub async fn patient_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.io.write_all(bytes).await
    }

    /// Ends the sending direction.
    pub async fn finish(&mut self) {
        self.io.shutdown().await.unwrap();
    }

    /// Reads some more; `false` at the end. A reset is an end, too.
    async fn fill(&mut self) -> bool {
        let read = self.io.read_buf(&mut self.buffer);
        let read = if self.patient { read.await } else { soon("bytes from the peer", read).await };
        read.is_ok_and(|count| count > 0)
    }

    /// Whether the peer has closed the connection without sending anything more.
    pub async fn closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill().await
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Exactly so many bytes.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill().await, "the connection ended after {} of {count} bytes", self.buffer.len());
        }
        self.buffer.drain(..count).collect()
    }

    /// Some bytes, at least one; none at the end.
    pub async fn some(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.fill().await;
        }
        std::mem::take(&mut self.buffer)
    }

    /// Sends back what comes, until the peer ends or reads no more.
    pub async fn echo(&mut self) {
        loop {
            let bytes = self.some().await;
            if bytes.is_empty() || self.try_send(bytes).await.is_err() {
                return;
            }
        }
    }

    /// Whether nothing comes for a while. Only ever a lower bound.
    pub async fn silent(&mut self, time: std::time::Duration) -> bool {
        self.buffer.is_empty() && tokio::time::timeout(time, self.io.read_buf(&mut self.buffer)).await.is_err()
    }

    /// One line, without its end.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn fields(&mut self) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(fields);
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a field: {line:?}"));
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// A head. `None` when the connection ends before it is complete.
    pub async fn head(&mut self) -> Option<Message> {
        let start = self.line().await?;
        let headers = self.fields().await?;
        Some(Message { start, headers, ..Message::default() })
    }

    /// The rest of a message after its head. `None` when it is broken off.
    pub async fn body(&mut self, mut message: Message) -> Option<Message> {
        if message.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            loop {
                let chunk = self.chunk().await?;
                if chunk.is_empty() {
                    message.trailers = self.fields().await?;
                    return Some(message);
                }
                message.body.extend_from_slice(&chunk);
            }
        }
        let length = match message.header("content-length") {
            Some(length) => length.parse().unwrap(),
            None if message.start.starts_with("HTTP/") => {
                message.body = self.rest().await;
                return Some(message);
            }
            None => 0,
        };
        while self.buffer.len() < length {
            if !self.fill().await {
                return None;
            }
        }
        message.body = self.buffer.drain(..length).collect();
        Some(message)
    }

    /// One chunk's data; empty for the last one, whose trailers and empty line are still to be read.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.line().await?;
        let size = usize::from_str_radix(size.split(';').next().unwrap(), 16).unwrap();
        if size == 0 {
            return Some(Vec::new());
        }
        while self.buffer.len() < size + 2 {
            if !self.fill().await {
                return None;
            }
        }
        let chunk: Vec<u8> = self.buffer.drain(..size).collect();
        assert_eq!(self.buffer.drain(..2).collect::<Vec<_>>(), b"\r\n");
        Some(chunk)
    }

    /// A whole request.
    pub async fn request(&mut self) -> Option<Message> {
        let head = self.head().await?;
        self.body(head).await
    }

    /// A whole response to a request with this method.
    #[track_caller]
    pub fn response(&mut self, method: &str) -> impl Future<Output = Message> {
        let place = std::panic::Location::caller();
        let empty = method == "HEAD";
        async move {
            let head = self.head().await.unwrap_or_else(|| panic!("{place}: the connection ended before an answer"));
            if empty || matches!(head.status(), 100..=199 | 204 | 304) {
                return head;
            }
            self.body(head).await.unwrap_or_else(|| panic!("{place}: the answer broke off"))
        }
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub fn exchange(&mut self, request: &str) -> impl Future<Output = Message> {
        let place = std::panic::Location::caller();
        let method = request.split(' ').next().unwrap().to_owned();
        async move {
            self.try_send(request).await.unwrap_or_else(|error| panic!("{place}: cannot send: {error}"));
            self.response(&method).await
        }
    }
}
