//! Why a route matches a request or does not, in words.

use crate::action::{Action, Destination};
use crate::matching::{Chance, shown};
use crate::subject::Subject;
use crate::table::{Route, Table};

/// Routes that do not match and are told of one by one.
const TOLD: usize = 500;

impl Table {
    /// What [`Table::find`] goes through, a line for each step, up to what it finds. It looks at every route in order, not only at those
    /// that the index leaves, and draws no lots.
    pub fn explain(&self, subject: &Subject<'_>) -> Vec<String> {
        let authority = shown(Some(subject.request.authority()));
        let Some((_, host)) = self.host(subject) else {
            return vec![format!("no virtual host has a domain for {authority}: 404 (route_not_found)")];
        };
        let mut lines = vec![format!("virtual host {:?} takes the host {authority}", host.name)];
        if host.needs_tls(subject.request) {
            lines.push("it wants TLS (`require_tls`): the request is redirected to https".to_owned());
            return lines;
        }
        let mut untold = 0_usize;
        for (number, route) in host.routes.iter().enumerate() {
            let verdict = route.matcher.explain(subject);
            if verdict.is_err() && number >= TOLD {
                untold += 1;
                continue;
            }
            let untold = std::mem::take(&mut untold);
            if untold > 0 {
                lines.push(format!("{untold} more routes do not match"));
            }
            match verdict {
                Err(why) => lines.push(format!("route {:?} does not match: {why}", route.name)),
                Ok(Chance::Share(share)) => {
                    let percent = share.fraction() * 100.0;
                    lines.push(format!("route {:?} matches {percent}% of such requests, by lot", route.name));
                }
                Ok(Chance::Certain) => {
                    lines.push(format!("route {:?} matches: {}", route.name, route.consequence()));
                    lines.extend(refusal(subject));
                    return lines;
                }
            }
        }
        if untold > 0 {
            lines.push(format!("{untold} more routes do not match"));
        }
        lines.push("no route matches for certain: 404 (route_not_found)".to_owned());
        lines.extend(refusal(subject));
        lines
    }
}

impl Route {
    fn consequence(&self) -> String {
        match &self.action {
            Action::Redirect(redirect, _) => format!("a redirect with {}", redirect.code),
            Action::Respond(respond, _) => format!("an answer with {}", respond.status),
            Action::Forward(forward) => match &forward.to {
                Destination::Header(name) => format!("to the cluster that the header {name} names"),
                Destination::Defined | Destination::Weighted(_) => "to a cluster".to_owned(),
            },
        }
    }
}

fn refusal(subject: &Subject<'_>) -> Option<String> {
    let reply = subject.scan.refusal()?;
    Some(format!("but a text is too long for an expression: {}", reply.status()))
}
