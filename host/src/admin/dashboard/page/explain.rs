//! The route tester: which way a request would take, and why the others did not match.

use maud::{Markup, html};

use super::{Context, Page, Region, Section, widget};
use crate::admin::dashboard::{
    link,
    model::{Explanation, Finding, Question, Step, StepKind, Subject, Verdict},
};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const STEPS: usize = 500;
const HEADERS: usize = 50;

pub(super) fn page(context: &Context<'_>) -> Page {
    let question = question(context);
    let listeners = context.source.listeners();
    let answer = (!question.url.is_empty()).then(|| context.source.explain(&question));
    let regions = vec![
        Region { id: "question", html: form(context, &question, &listeners) },
        Region { id: "answer", html: answer.as_ref().map_or_else(hint, explained) },
    ];
    // What is asked once is answered once.
    Page { title: "Route tester".to_owned(), section: Section::Explain, tools: None, regions, live: false }
}

fn question(context: &Context<'_>) -> Question {
    let query = context.query;
    let lines = query.value("headers").lines().filter_map(|line| line.split_once(':'));
    let method = query.value("method");
    Question {
        method: METHODS.iter().find(|known| **known == method).unwrap_or(&"GET").to_string(),
        url: query.value("url").trim().to_owned(),
        listener: query.value("listener").to_owned(),
        headers: lines.take(HEADERS).map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect(),
    }
}

fn form(context: &Context<'_>, question: &Question, listeners: &[String]) -> Markup {
    html! {
        h2.hidden { "Question" }
        form.question action=(link::page("explain")) data-soft="" {
            div.row {
                label { span { "Method" }
                    select name="method" { @for method in METHODS { option selected[method == question.method] { (method) } } }
                }
                label.grow { span { "URL or path" }
                    input name="url" type="text" required maxlength="8000" data-filter="off" autocomplete="off" spellcheck="false" placeholder="https://api.example.com/users/7?v=2" value=(question.url);
                }
                label { span { "Listener" }
                    select name="listener" {
                        option value="" { "whichever fits" }
                        @for listener in listeners { option value=(listener) selected[*listener == question.listener] { (listener) } }
                    }
                }
                button.primary type="submit" { "Explain" }
            }
            label.block { span { "Headers, one in a line" }
                textarea name="headers" rows="2" maxlength="8000" spellcheck="false" placeholder="x-beta: 1" { (context.query.value("headers")) }
            }
        }
    }
}

fn hint() -> Markup {
    html! { p.lead { "Ask which listener, route, filters and cluster a request would meet, and why the others did not match. Nothing is sent anywhere." } }
}

fn explained(answer: &Explanation) -> Markup {
    html! {
        @match &answer.verdict {
            Verdict::Nothing => {},
            Verdict::Invalid(why) => { p.verdict role="status" { (widget::state("bad", "No answer")) " " (why) } },
            Verdict::Reply(status, details) => {
                p.verdict role="status" { (widget::state("warn", "The proxy answers")) " " b.num { (status) } " " span.code { (details) } }
            },
            Verdict::Cluster(cluster) => {
                p.verdict role="status" { (widget::state("ok", "It goes to")) " " b { (widget::subject(&Subject::Cluster(cluster.clone()))) } }
            },
        }
        @if !answer.steps.is_empty() {
            h2 { "Why" }
            ol.steps { @for step in answer.steps.iter().take(STEPS) { (draw(step)) } }
            @if answer.steps.len() > STEPS { p.muted { "and " (answer.steps.len() - STEPS) " more steps" } }
        }
    }
}

fn draw(step: &Step) -> Markup {
    let (class, tone, word) = match (step.finding, step.kind) {
        (Finding::Taken, StepKind::Filter) => ("taken", "ok", "meets it"),
        (Finding::Taken, StepKind::Cluster) => ("taken", "ok", "is asked"),
        (Finding::Taken, StepKind::Endpoint) => ("taken", "ok", "can take it"),
        (Finding::Taken, _) => ("taken", "ok", "matches"),
        (Finding::Passed, StepKind::Endpoint) => ("passed", "none", "left out"),
        (Finding::Passed, _) => ("passed", "none", "does not match"),
        (Finding::Unseen, _) => ("unseen", "none", "not looked at"),
    };
    html! {
        li class=(class) {
            span.kind { (step.kind.word()) }
            span.name { @match &step.subject { Some(subject) => { a href=(link::subject(subject)) { (step.name) } }, None => { (step.name) } } }
            (widget::state(tone, word))
            span.why { (step.why) }
            @if let Some(origin) = &step.origin { span.origin title=(origin) { (widget::short(origin)) } }
        }
    }
}
