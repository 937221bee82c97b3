//! A socket that connects two processes, and what was read from it before its time.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::AsFd,
    path::PathBuf,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::{line::Line, outbox};

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A socket in the file system.
    Unix(UnixStream),
}

/// Where an end of a connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// IP address and port.
    Ip(SocketAddr),
    /// A socket in the file system; `None`: without a name, as clients are.
    Unix(Option<PathBuf>),
}

impl End {
    /// The IP address and port, where there are some.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for End {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<tokio::net::unix::SocketAddr> for End {
    fn from(address: tokio::net::unix::SocketAddr) -> Self {
        Self::Unix(address.as_pathname().map(PathBuf::from))
    }
}

/// `10.0.0.1:80`, `[::1]:80`, the path of a socket in the file system, or nothing.
impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(Some(path)) => path.display().fmt(f),
            Self::Unix(None) => Ok(()),
        }
    }
}

/// A socket; what was read from it before anybody wanted it comes first.
#[derive(Debug)]
pub struct Wire {
    line: Arc<Line>,
    prefix: Bytes,
    watch: Option<Watch>,
    /// It is to end like an accident.
    cut: AtomicBool,
}

/// Waits for a socket to break while the socket itself is written to: by a descriptor of its own, because who waits would hold it.
struct Watch(Pin<Box<dyn Future<Output = ()> + Send + Sync>>);

impl Watch {
    fn new(socket: &Socket) -> io::Result<Self> {
        let again = Wire::from(match socket {
            Socket::Tcp(stream) => Socket::Tcp(TcpStream::from_std(stream.as_fd().try_clone_to_owned()?.into())?),
            Socket::Unix(stream) => Socket::Unix(UnixStream::from_std(stream.as_fd().try_clone_to_owned()?.into())?),
        });
        Ok(Self(Box::pin(async move {
            // An error means that the runtime ends.
            let _ = again.broken().await;
        })))
    }

    /// Where there is no descriptor to be had: whoever writes will find out.
    fn blind() -> Self {
        Self(Box::pin(std::future::pending()))
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl From<TcpStream> for Wire {
    fn from(stream: TcpStream) -> Self {
        Self::from(Socket::Tcp(stream))
    }
}

impl From<Socket> for Wire {
    fn from(socket: Socket) -> Self {
        Self { line: Arc::new(Line::new(socket)), prefix: Bytes::new(), watch: None, cut: AtomicBool::new(false) }
    }
}

impl Wire {
    /// Puts bytes back that were read from it. Whatever was put back before and not read since follows them.
    pub fn put_back(&mut self, bytes: Bytes) {
        if self.prefix.is_empty() {
            self.prefix = bytes;
        } else if !bytes.is_empty() {
            self.prefix = [bytes, std::mem::take(&mut self.prefix)].concat().into();
        }
    }

    /// Waits until there is something to read, an end or an error included. Cancel safe.
    ///
    /// # Errors
    /// When the runtime ends.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.line.socket {
            _ if !self.prefix.is_empty() => Ok(()),
            Socket::Tcp(stream) => stream.readable().await,
            Socket::Unix(stream) => stream.readable().await,
        }
    }

    /// Waits until the connection is broken. Cancel safe.
    ///
    /// # Errors
    /// When the runtime ends.
    pub async fn broken(&self) -> io::Result<()> {
        let error = async {
            match &self.line.socket {
                Socket::Tcp(stream) => stream.ready(Interest::ERROR).await.map(drop),
                Socket::Unix(stream) => stream.ready(Interest::ERROR).await.map(drop),
            }
        };
        let mut error = pin!(error);
        poll_fn(|cx| match self.line.poll_lost(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => error.as_mut().poll(cx),
        })
        .await
    }

    /// Waits until the connection is broken, as [`broken`](Self::broken) does, for whoever reads and writes meanwhile. It costs a descriptor
    /// from the first call on.
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.line.poll_lost(cx).is_ready() {
            return Poll::Ready(());
        }
        let socket = &self.line.socket;
        let watch = self.watch.get_or_insert_with(|| Watch::new(socket).unwrap_or_else(|_| Watch::blind()));
        ready!(watch.0.as_mut().poll(cx));
        // It has told all it can.
        self.watch = Some(Watch(Box::pin(std::future::ready(()))));
        Poll::Ready(())
    }

    /// Waits until the socket has all that was written.
    fn poll_delivered(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.line.is_posted() {
            outbox::deliver();
        }
        self.line.poll_clear(cx)
    }

    /// Makes its end look like the accident that it is: dropped, it is reset. A socket in the file system knows no reset.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        if let Socket::Tcp(stream) = &self.line.socket {
            let _ = stream.set_zero_linger();
        }
    }

    /// Makes its end an ordinary close again.
    pub fn spare(&self) {
        self.cut.store(false, Ordering::Relaxed);
        if let Socket::Tcp(stream) = &self.line.socket {
            let _ = socket2::SockRef::from(stream).set_linger(None);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.line.leave(self.cut.load(Ordering::Relaxed)) {
            outbox::left();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let count = self.prefix.len().min(buffer.remaining());
            buffer.put_slice(self.prefix.get(..count).unwrap_or_default());
            self.prefix.advance(count);
            if self.prefix.is_empty() {
                // What it was a part of need not stay.
                self.prefix = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        self.line.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.line.poll_clear(cx))?;
        if let Some(count) = outbox::put(&self.line, slices) {
            return Poll::Ready(Ok(count));
        }
        ready!(self.poll_delivered(cx))?;
        self.line.poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What lies in the outbox goes by itself.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.poll_clear(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_delivered(cx))?;
        Poll::Ready(self.line.shut_down())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_reset_behind_an_end_is_told_without_reading_or_writing() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let mut wire = Wire::from(socket.accept().await.unwrap().0);
        far.shutdown().await.unwrap();
        assert_eq!(wire.read(&mut [0]).await.unwrap(), 0);
        assert!(std::future::poll_fn(|cx| Poll::Ready(wire.poll_broken(cx))).await.is_pending());
        // Meanwhile it is written to.
        wire.write_all(b"x").await.unwrap();
        far.set_zero_linger().unwrap();
        drop(far);
        for _ in 0..2 {
            std::future::poll_fn(|cx| wire.poll_broken(cx)).await;
        }
    }

    #[tokio::test]
    async fn what_is_put_back_is_read_first() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut wire = Wire::from(Socket::Unix(near));
        far.write_all(b"abcdef").await.unwrap();
        let mut first = [0; 4];
        wire.read_exact(&mut first).await.unwrap();
        wire.put_back(Bytes::from_static(b"cd"));
        wire.put_back(Bytes::from_static(b"ab"));
        wire.readable().await.unwrap();
        drop(far);
        let mut all = String::new();
        wire.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "abcdef");
    }
}
