//! A client that writes bytes.

use bson::{Document, doc};
use fyke_mongo_server::MongoServer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::PATIENCE;

pub struct Raw {
    pub stream: TcpStream,
    next: i32,
}

/// An OP_MSG that came.
#[derive(Debug)]
pub struct Reply {
    pub request_id: i32,
    pub response_to: i32,
    pub opcode: i32,
    pub flags: u32,
    pub body: Document,
    /// What follows the document.
    pub rest: Vec<u8>,
}

/// A message with its header.
pub fn framed(request_id: i32, opcode: i32, body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(16 + body.len()).unwrap();
    let mut bytes = Vec::new();
    for field in [length, request_id, 0, opcode] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(body);
    bytes
}

/// The body of an OP_MSG with one section.
pub fn message(flags: u32, command: &Document) -> Vec<u8> {
    let mut body = flags.to_le_bytes().to_vec();
    body.push(0);
    body.extend(command.to_vec().unwrap());
    body
}

fn int32(bytes: &[u8], at: usize) -> i32 {
    i32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

impl Raw {
    pub async fn connect(server: &MongoServer) -> Self {
        Self { stream: TcpStream::connect(server.address()).await.unwrap(), next: 100 }
    }

    pub async fn bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends an OP_MSG and returns its requestID.
    pub async fn send(&mut self, flags: u32, command: &Document) -> i32 {
        self.next += 1;
        let bytes = framed(self.next, 2013, &message(flags, command));
        self.bytes(&bytes).await;
        self.next
    }

    /// The next reply, or `None` if the connection was closed.
    pub async fn receive(&mut self) -> Option<Reply> {
        let frame = self.frame().await?;
        let opcode = int32(&frame, 12);
        let (flags, start) =
            if opcode == 2013 { (int32(&frame, 16) as u32, 21) } else { (int32(&frame, 16) as u32, 36) };
        let size = usize::try_from(int32(&frame, start)).unwrap();
        let body = Document::from_reader(&frame[start..start + size]).unwrap();
        let rest = frame[start + size..].to_vec();
        Some(Reply { request_id: int32(&frame, 4), response_to: int32(&frame, 8), opcode, flags, body, rest })
    }

    /// The next whole message.
    pub async fn frame(&mut self) -> Option<Vec<u8>> {
        let reading = async {
            let mut frame = vec![0; 16];
            self.stream.read_exact(&mut frame).await.ok()?;
            frame.resize(usize::try_from(int32(&frame, 0)).unwrap(), 0);
            self.stream.read_exact(&mut frame[16..]).await.ok()?;
            Some(frame)
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("no reply came")
    }

    /// Sends a command and returns the reply.
    pub async fn ask(&mut self, command: Document) -> Document {
        let request = self.send(0, &command).await;
        let reply = self.receive().await.expect("the connection was closed");
        assert_eq!(reply.response_to, request);
        reply.body
    }

    /// Succeeds if the server closes the connection.
    pub async fn expect_closed(mut self) {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("it stays open");
        assert!(read.is_err() || rest.is_empty(), "{rest:?}");
    }

    pub async fn number(&mut self) -> i64 {
        self.ask(doc! { "connectionStatus": 1, "$db": "admin" }).await.get_i64("connectionId").unwrap()
    }
}
