//! Announces what is behind this proxy (`register:`), and takes it back before it drains.

mod busy;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fyke_registry::{Clock, client::Registration};
use tokio::{sync::watch, task::JoinHandle};

use crate::config::resolved::{Register, RegisterLoad};

/// How long a registry may take to hear that the service leaves.
const FAREWELL: Duration = Duration::from_secs(2);

/// What is announced now, if anything.
#[derive(Debug, Default)]
pub struct Announced(Mutex<Option<Announcer>>);

/// Dropped, nothing is announced any more, and nothing taken back: a successor may say the same.
#[derive(Debug)]
struct Announcer {
    wanted: watch::Sender<Option<Arc<Register>>>,
    task: JoinHandle<()>,
}

impl Announced {
    /// From now on this is announced; what was before and is no longer is taken back. Must be called inside the control plane's runtime.
    pub fn follow(&self, register: Option<&Arc<Register>>) {
        let mut announcer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if announcer.is_none() && register.is_none() {
            return;
        }
        let announcer = announcer.get_or_insert_with(|| {
            let (wanted, asked) = watch::channel(None);
            Announcer { wanted, task: tokio::spawn(announce(asked)) }
        });
        announcer.wanted.send_if_modified(|now| {
            let changed = now.as_ref().map(|known| &known.written) != register.map(|register| &register.written);
            if changed {
                *now = register.cloned();
            }
            changed
        });
    }

    /// Takes it back. Others stop coming before the door closes.
    pub async fn withdraw(&self) {
        let announcer = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Announcer { wanted, task }) = announcer {
            wanted.send_replace(None);
            drop(wanted);
            let _ = task.await;
        }
    }
}

/// Announces what is asked for, one after the other: a farewell that came after its successor's first words would take that one back.
async fn announce(mut asked: watch::Receiver<Option<Arc<Register>>>) {
    let mut now: Option<(Arc<Register>, Registration)> = None;
    while asked.changed().await.is_ok() {
        let next = asked.borrow_and_update().clone();
        if let Some((before, registration)) = now.take() {
            match &next {
                // What it says takes the place of what was said before; in between the host must not be gone.
                Some(next) if next.settings.is_of_same_host(&before.settings) => registration.end(FAREWELL).await,
                _ => withdraw(&before.settings.service, registration).await,
            }
        }
        let Some(register) = next else { continue };
        let load = busy::source(register.load);
        if load.is_none() && register.load != RegisterLoad::None {
            tracing::warn!(
                "how busy the host is cannot be read, and is not reported: there is no control group of version 2"
            );
        }
        match Registration::start(&register.settings, load, Clock::system()) {
            Ok(registration) => now = Some((register, registration)),
            // It was checked when it was read.
            Err(error) => tracing::error!("the service is not announced: {error}"),
        }
    }
}

async fn withdraw(service: &str, registration: Registration) {
    match registration.deregister(FAREWELL).await {
        Ok(()) => tracing::info!(service, "no longer registered"),
        Err(error) => tracing::warn!(service, "the registry was not told that the service leaves: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::mpsc,
    };

    use super::*;
    use crate::config::{Format, load_text};

    /// Hears everything in the order in which it comes, as `METHOD PATH` and the body, and takes its time for each answer.
    async fn registry() -> (String, mpsc::UnboundedReceiver<(String, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                let (head, body) = loop {
                    assert!(stream.read_buf(&mut request).await.unwrap() > 0);
                    let text = String::from_utf8(request.clone()).unwrap();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                    if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                        break (head.to_owned(), body.to_owned());
                    }
                };
                let _ = told.send((head.split(" HTTP").next().unwrap().to_owned(), body));
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            }
        });
        (format!("http://{address}"), heard)
    }

    fn register(registry: &str, service: &str, zone: &str) -> Arc<Register> {
        let text = format!(
            "register: {{ service: {service}, address: '10.0.0.1:80', registry: '{registry}', tags: {{ az: {zone} }} }}\nlisteners: {{ web: {{ address: '127.0.0.1:0', protocol: tcp, cluster: app }} }}\nclusters: {{ app: {{ endpoints: ['127.0.0.1:1'] }} }}\n"
        );
        let config = load_text("test.yaml", &text, Format::Yaml, std::path::Path::new(".")).unwrap();
        config.register.unwrap()
    }

    #[tokio::test]
    async fn a_host_whose_settings_change_is_never_gone() {
        let (url, mut heard) = registry().await;
        let announced = Announced::default();
        announced.follow(Some(&register(&url, "users", "a")));
        let first = heard.recv().await.unwrap();
        assert!(first.0 == "POST /v1/registration/users" && first.1.contains("\"az\":\"a\""), "{first:?}");
        announced.follow(Some(&register(&url, "users", "b")));
        let second = heard.recv().await.unwrap();
        assert!(second.0 == "POST /v1/registration/users" && second.1.contains("\"az\":\"b\""), "{second:?}");
        // Another host: the one before has left when it comes.
        announced.follow(Some(&register(&url, "orders", "b")));
        assert_eq!(heard.recv().await.unwrap().0, "DELETE /v1/registration/users/10.0.0.1:80");
        assert_eq!(heard.recv().await.unwrap().0, "POST /v1/registration/orders");
        announced.withdraw().await;
        assert_eq!(heard.recv().await.unwrap().0, "DELETE /v1/registration/orders/10.0.0.1:80");
        assert!(heard.try_recv().is_err());
    }
}
