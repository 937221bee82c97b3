//! How processor time per request is told.

use anyhow::Context as _;

use super::{Options, Sample};
use crate::{
    contestant::{Candidate, Contestant},
    process, report,
    stats::Spread,
    upstream::ANSWER,
};

const PEERS: [(Contestant, &str); 3] =
    [(Contestant::Haproxy, "HAProxy"), (Contestant::Nginx, "nginx"), (Contestant::Envoy, "Envoy")];

/// Tables for people.
pub fn markdown(
    options: &Options,
    candidates: &[Candidate],
    samples: &[Sample],
    notes: &[String],
) -> anyhow::Result<String> {
    let mut out = format!(
        "Small keep-alive GET ({ANSWER} bytes of body from nginx), {} connections, {} rounds of {} s each in rotating order, the proxy alone on core {}, upstream and load on core {}. \
         Medians over the rounds, least and most in brackets; ratios are medians of the ratios within each round.\n\n",
        options.connections,
        options.rounds,
        options.duration.as_secs(),
        options.common.proxy_core,
        options.common.load_core,
    );
    out.push_str(&report::facts(candidates.iter().map(|found| found.version.as_str()))?);
    let takes_part = |peer: Contestant| candidates.iter().any(|candidate| candidate.contestant == peer);
    let peers: Vec<_> = PEERS.into_iter().filter(|(peer, _)| takes_part(*peer)).collect();
    let names: String = peers.iter().map(|(_, name)| format!(" against {name} |")).collect();
    out.push_str(&format!(
        "\n| Proxy | CPU us per request |{names} resident after load |\n|---|---|---|{}\n",
        "---|".repeat(peers.len())
    ));
    for candidate in candidates {
        let own = || samples.iter().filter(|sample| sample.contestant == candidate.contestant);
        let cost = Spread::of(own().map(Sample::cost)).context("no samples")?;
        let resident = Spread::of(own().map(|sample| process::precise(sample.resident) / 1e6)).context("no samples")?;
        let ratios: String = peers
            .iter()
            .map(|(peer, _)| {
                ratio(samples, candidate.contestant, *peer).map_or_else(
                    || " - |".to_owned(),
                    |ratio| format!(" {:.2} ({:.2}-{:.2}) |", ratio.median, ratio.min, ratio.max),
                )
            })
            .collect();
        out.push_str(&format!(
            "| {} | {:.1} ({:.1}-{:.1}) |{ratios} {:.0} MB |\n",
            candidate.contestant.title(),
            cost.median,
            cost.min,
            cost.max,
            resident.median,
        ));
    }
    out.push_str(&isolation(samples));
    out.push_str(&limits(samples));
    out.push_str("\n| Proxy | p50 us | p90 us | p99 us | p99.9 us | requests/s | proxy's share of its core | others' share of it |\n|---|---|---|---|---|---|---|---|\n");
    for candidate in candidates {
        let own = || samples.iter().filter(|sample| sample.contestant == candidate.contestant);
        let median =
            |value: &dyn Fn(&Sample) -> f64| Spread::of(own().map(value)).map_or(f64::NAN, |spread| spread.median);
        let latency = |index: usize| median(&|sample| sample.load.latency.get(index).copied().unwrap_or(f64::NAN));
        out.push_str(&format!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0}% | {:.0}% |\n",
            candidate.contestant.title(),
            latency(0),
            latency(1),
            latency(2),
            latency(3),
            median(&|sample| process::precise(sample.load.requests) / sample.load.duration.as_secs_f64()),
            median(&|sample| 100.0 * sample.cpu.as_secs_f64() / sample.elapsed.as_secs_f64()),
            median(&|sample| 100.0 * sample.disturbance.as_secs_f64() / sample.elapsed.as_secs_f64()),
        ));
    }
    for note in notes {
        out.push_str(&format!("\nNote: {note}\n"));
    }
    Ok(out)
}

/// What an instance for every stream costs beside one for the worker: within each round, like the ratios.
fn isolation(samples: &[Sample]) -> String {
    let mut out = String::new();
    for (what, filters, stream, worker) in [
        ("one filter", 1.0, Contestant::Fyke1Stream, Contestant::Fyke1),
        ("five filters", 5.0, Contestant::Fyke5Stream, Contestant::Fyke5Sdk),
    ] {
        let (Some(more), Some(ratio)) = (difference(samples, stream, worker), ratio(samples, stream, worker)) else {
            continue;
        };
        out.push_str(&format!(
            "\n`isolation: stream` in place of `worker`, {what}: {:+.1} us ({:+.1} to {:+.1}) per request, {:+.1} us per filter, {:.2} times \
             as much.\n",
            more.median,
            more.min,
            more.max,
            more.median / filters,
            ratio.median,
        ));
    }
    out
}

/// What rate limits cost: within each round, like the ratios.
fn limits(samples: &[Sample]) -> String {
    use Contestant::{Fyke1, FykeEmpty, FykeLimit, FykeLimitRedis, FykeLimitSilent};
    let mut out = String::new();
    for (what, one, peer, limit) in [
        ("A local decision beyond a filter that does nothing", FykeLimitSilent, FykeEmpty, "; at most 1.0"),
        ("The same, and what is left told in each answer", FykeLimit, FykeEmpty, ""),
        ("A local rate limit beyond none", FykeLimitSilent, Fyke1, ""),
        ("A filter that does nothing beyond none", FykeEmpty, Fyke1, ""),
        ("A decision of Redis beyond a local one", FykeLimitRedis, FykeLimitSilent, "; at most 15"),
    ] {
        if let Some(more) = difference(samples, one, peer) {
            out.push_str(&format!(
                "\n{what}: {:+.2} us ({:+.2} to {:+.2}) per request{limit}.\n",
                more.median, more.min, more.max
            ));
        }
    }
    let alone = pairs(samples, FykeLimitRedis, FykeLimitSilent, |sample| sample.alone);
    if let Some(more) = Spread::of(alone.map(|(one, peer)| one - peer)) {
        out.push_str(&format!(
            "\nLatency that Redis adds, p50 of one connection that asks again as soon as it is answered: {:+.0} us ({:+.0} to {:+.0}).\n",
            more.median, more.min, more.max
        ));
    }
    out
}

/// The cost of one beyond a peer's in the same round, in microseconds.
fn difference(samples: &[Sample], one: Contestant, peer: Contestant) -> Option<Spread> {
    Spread::of(pairs(samples, one, peer, |sample| Some(sample.cost())).map(|(one, peer)| one - peer))
}

/// The cost of one against a peer's in the same round.
fn ratio(samples: &[Sample], one: Contestant, peer: Contestant) -> Option<Spread> {
    Spread::of(pairs(samples, one, peer, |sample| Some(sample.cost())).map(|(one, peer)| one / peer))
}

/// The values of two in each round that both have been in.
fn pairs(
    samples: &[Sample],
    one: Contestant,
    peer: Contestant,
    value: impl Fn(&Sample) -> Option<f64>,
) -> impl Iterator<Item = (f64, f64)> {
    let own = samples.iter().filter(move |sample| sample.contestant == one);
    own.filter_map(move |own| {
        let other = samples.iter().find(|other| other.contestant == peer && other.round == own.round)?;
        Some((value(own)?, value(other)?))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::Load;

    fn sample(contestant: Contestant, round: u32, cpu: u64) -> Sample {
        let load = Load { requests: 1_000, duration: Duration::from_secs(1), latency: [0.0; 4] };
        Sample {
            contestant,
            round,
            load,
            alone: None,
            cpu: Duration::from_millis(cpu),
            disturbance: Duration::ZERO,
            elapsed: Duration::from_secs(1),
            resident: 0,
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let samples = [
            sample(Contestant::Fyke0, 0, 20),
            sample(Contestant::Haproxy, 0, 20),
            sample(Contestant::Haproxy, 1, 40),
            sample(Contestant::Fyke0, 1, 60),
        ];
        let ratio = ratio(&samples, Contestant::Fyke0, Contestant::Haproxy).unwrap();
        assert!((ratio.median - 1.25).abs() < 1e-9 && (ratio.max - 1.5).abs() < 1e-9);
        assert!((samples[0].cost() - 20.0).abs() < 1e-9);
        assert_eq!(super::ratio(&samples, Contestant::Fyke0, Contestant::Envoy), None);
    }

    #[test]
    fn what_isolation_costs_is_the_median_of_the_differences() {
        let samples = [
            sample(Contestant::Fyke1, 0, 20),
            sample(Contestant::Fyke1Stream, 0, 25),
            sample(Contestant::Fyke1Stream, 1, 50),
            sample(Contestant::Fyke1, 1, 40),
            sample(Contestant::Fyke1Stream, 2, 99),
        ];
        let text = isolation(&samples);
        assert!(
            text.contains("one filter: +7.5 us (+5.0 to +10.0) per request, +7.5 us per filter, 1.25 times"),
            "{text}"
        );
        assert!(!text.contains("five filters"), "{text}");
        assert_eq!(isolation(&samples[..1]), "");
    }

    #[test]
    fn a_limit_is_compared_with_a_filter_that_does_nothing() {
        let mut samples = [
            sample(Contestant::FykeEmpty, 0, 20),
            sample(Contestant::FykeLimitSilent, 0, 21),
            sample(Contestant::FykeLimitRedis, 0, 31),
        ];
        samples[1].alone = Some(100.0);
        samples[2].alone = Some(150.0);
        let text = limits(&samples);
        assert!(text.contains("does nothing: +1.00 us (+1.00 to +1.00) per request; at most 1.0."), "{text}");
        assert!(text.contains("beyond a local one: +10.00 us"), "{text}");
        assert!(text.contains("asks again as soon as it is answered: +50 us"), "{text}");
        assert!(!text.contains("beyond none"), "{text}");
    }
}
