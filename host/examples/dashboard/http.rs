//! As much of HTTP/1.1 as a browser on the same machine needs.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use fyke::admin::dashboard::{action, route::Response};

const LINE: u64 = 64 << 10;
const HEADERS: usize = 100;

/// A request, whole.
pub struct Request {
    pub method: String,
    pub target: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// Requests of a connection.
pub struct Reader<'a> {
    inner: BufReader<&'a TcpStream>,
}

impl<'a> Reader<'a> {
    pub fn new(stream: &'a TcpStream) -> Self {
        Self { inner: BufReader::new(stream) }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.inner.by_ref().take(LINE).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// `None`: there are no more.
    pub fn next_request(&mut self) -> io::Result<Option<Request>> {
        let line = self.line()?;
        let mut words = line.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
        let (method, target) = (method.to_owned(), target.to_owned());
        let mut headers = Vec::new();
        for _ in 0..HEADERS {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        let mut request = Request { method, target, headers, body: Vec::new() };
        let length: usize = request.header("content-length").parse().unwrap_or(0);
        if length > action::UPLOAD {
            return Ok(None);
        }
        request.body.resize(length, 0);
        self.inner.read_exact(&mut request.body)?;
        Ok(Some(request))
    }
}

/// Writes an answer.
pub fn write(mut stream: &TcpStream, response: &Response, with_body: bool) -> io::Result<()> {
    write_head(stream, response, Some(response.body.len()))?;
    if with_body {
        stream.write_all(&response.body)?;
    }
    stream.flush()
}

/// Writes the head of an answer; without a length, its body ends with the connection.
pub fn write_head(mut stream: &TcpStream, response: &Response, length: Option<usize>) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} -\r\n", response.status);
    if !response.content_type.is_empty() {
        head.push_str(&format!("content-type: {}\r\n", response.content_type));
    }
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match length {
        Some(length) => head.push_str(&format!("content-length: {length}\r\n")),
        None => head.push_str("connection: close\r\n"),
    }
    stream.write_all(format!("{head}\r\n").as_bytes())
}
