//! Which listener and chain of a configuration a request takes, and why not the others.

use serde_json::{Value, json};

use super::{
    asked::{Asked, Wish},
    explain::{Unexplained, place},
    run::destination,
};
use crate::{
    config::{
        Config,
        resolved::{Address, Listener, ListenerProtocol, Rest},
    },
    listener::chain::{Connection, Transport},
};

/// All listeners with why they take the request or not, and the one that does.
pub(super) fn listener<'c>(
    config: &'c Config,
    asked: &Asked,
    wish: &Wish,
) -> Result<(Value, Option<&'c Listener>), Unexplained> {
    if let Some(name) = &asked.listener
        && !config.listeners.iter().any(|listener| listener.name == *name)
    {
        let names: Vec<&str> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
        let message = format!("there is no listener {name:?}; {}", crate::config::suggest::help(name, &names));
        return Err(Unexplained::Request(message));
    }
    let mut verdicts: Vec<(&Listener, Result<String, String>)> =
        config.listeners.iter().map(|listener| (listener, takes(listener, asked, wish))).collect();
    let none = verdicts.iter().all(|(_, verdict)| verdict.is_err());
    if none && asked.listener.is_none() && !wish.written_port {
        // Behind a balancer or a service the ports that clients see are others.
        let mut able = verdicts.iter_mut().filter(|(listener, _)| speaks(listener, wish).is_ok());
        if let (Some((_, verdict)), None) = (able.next(), able.next()) {
            *verdict = Ok("it is the only one that could, and the URL names no port".to_owned());
        }
    }
    let taken = verdicts.iter().find(|(_, verdict)| verdict.is_ok()).map(|(listener, _)| *listener);
    let told = verdicts.iter().map(|(listener, verdict)| {
        let is_taken = taken.is_some_and(|taken| taken.name == listener.name);
        let why = match verdict {
            Ok(_) if !is_taken => "another one takes it before",
            Ok(why) | Err(why) => why,
        };
        json!({ "listener": listener.name, "origin": place(&listener.origin), "taken": is_taken, "why": why })
    });
    Ok((told.collect(), taken))
}

/// Whether a listener could take it at all.
fn speaks(listener: &Listener, wish: &Wish) -> Result<(), String> {
    if listener.protocol == ListenerProtocol::Tcp {
        return Err("it has `protocol: tcp`: it takes bytes, not requests".to_owned());
    }
    let encrypts = listener.tls.is_some() || listener.chains.iter().any(|chain| chain.tls.is_some());
    let only = listener.tls.is_some() && listener.chains.iter().all(|chain| chain.tls.is_some());
    match (wish.tls, encrypts, only) {
        (true, false, _) => Err("it has no certificates, and the URL is of https".to_owned()),
        (false, _, true) => Err("it speaks TLS only, and the URL is of http".to_owned()),
        _ => Ok(()),
    }
}

fn takes(listener: &Listener, asked: &Asked, wish: &Wish) -> Result<String, String> {
    if let Some(name) = &asked.listener {
        if *name != listener.name {
            return Err("another one was named".to_owned());
        }
        return speaks(listener, wish).map(|()| "it was named".to_owned());
    }
    match &listener.address {
        Address::Unix(_) => return Err("it is a socket in the file system, and no URL leads there; name it".to_owned()),
        Address::Tcp(address) => {
            if address.port() != wish.port {
                return Err(format!("its port is {}, not {}", address.port(), wish.port));
            }
            let host = wish.host.host().trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            if let Ok(host) = host
                && !address.ip().is_unspecified()
                && address.ip() != host
            {
                return Err(format!("its address is {}, not {host}", address.ip()));
            }
        }
    }
    speaks(listener, wish).map(|()| format!("it listens on {}", listener.address))
}

/// The chains of a listener with why they take the connection or not, and the name of the one that does.
pub(super) fn chains(listener: &Listener, wish: &Wish) -> (Value, Option<String>) {
    let alpn: &[&[u8]] = match (wish.tls, wish.http2) {
        (false, _) => &[],
        (true, true) => &[b"h2"],
        (true, false) => &[b"http/1.1"],
    };
    let connection = Connection {
        source: Some(wish.from),
        destination: Some(destination(listener)),
        transport: if wish.tls { Transport::Tls } else { Transport::Plain },
        sni: wish.name().filter(|_| wish.tls),
        alpn,
        application: None,
    };
    let mut taken = None;
    let mut told = Vec::new();
    for (index, chain) in listener.chains.iter().enumerate() {
        let verdict = if taken.is_some() {
            Err("an earlier one takes it".to_owned())
        } else {
            chain.matcher.check(&connection).map_err(|mismatch| mismatch.to_string())
        };
        let name = format!("chains[{index}]");
        told.push(json!({
            "chain": name,
            "origin": place(&chain.origin),
            "taken": verdict.is_ok(),
            "why": verdict.clone().err().unwrap_or_else(|| "all of its conditions hold".to_owned()),
        }));
        if verdict.is_ok() {
            taken = Some(name);
        }
    }
    if taken.is_none() && listener.rest == Rest::Own {
        taken = Some("the listener's own".to_owned());
    }
    (told.into(), taken)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod unit {
    use super::*;
    use crate::config::{Format, load_text};

    fn config(text: &str) -> Config {
        load_text("p.yaml", text, Format::Yaml, std::path::Path::new("")).unwrap()
    }

    fn taken(text: &str, url: &str) -> (Option<String>, Value) {
        let config = config(text);
        let asked = Asked { url: url.to_owned(), ..Asked::default() };
        let (told, taken) = listener(&config, &asked, &Wish::read(&asked).unwrap()).unwrap();
        (taken.map(|taken| taken.name.clone()), told)
    }

    const TWO: &str = "listeners:\n  a: { address: 127.0.0.1:8080, cluster: c }\n  b: { address: 127.0.0.2:8080, cluster: c }\n  t: { address: 0.0.0.0:9000, protocol: tcp, cluster: c }\nclusters: { c: { endpoints: [] } }\n";

    #[test]
    fn a_listener_is_found_by_port_and_address() {
        assert_eq!(taken(TWO, "http://127.0.0.2:8080/").0.as_deref(), Some("b"));
        assert_eq!(taken(TWO, "http://name.example:8080/").0.as_deref(), Some("a"));
        let (none, told) = taken(TWO, "http://name.example:9000/");
        assert_eq!(none, None);
        assert!(told.to_string().contains("takes bytes, not requests"), "{told}");
        assert_eq!(taken(TWO, "https://name.example:8080/").0, None);
    }

    #[test]
    fn the_only_listener_takes_what_names_no_port() {
        let one = "listeners: { a: { address: 127.0.0.1:8080, cluster: c } }\nclusters: { c: { endpoints: [] } }\n";
        assert_eq!(taken(one, "http://name.example/x").0.as_deref(), Some("a"));
        assert_eq!(taken(one, "http://name.example:81/x").0, None);
    }
}
