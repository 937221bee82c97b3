//! "Did you mean".

/// The choice closest to what was written, if one is close enough to be a slip of the finger.
pub(crate) fn nearest<'a>(written: &str, choices: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Words of a letter or two are all "close" to each other.
    let allowed = match written.chars().count() {
        0 | 1 => 0,
        2..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    let folded = fold(written);
    choices
        .into_iter()
        .map(|choice| (strsim::damerau_levenshtein(&folded, &fold(choice)), choice))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, choice)| choice)
}

/// `did you mean "x"?` if something is near, and what there is to choose from if that is short.
pub(crate) fn help(written: &str, choices: &[&str]) -> String {
    const SHORT: usize = 6;
    match nearest(written, choices.iter().copied()) {
        Some(choice) if choices.len() <= SHORT => {
            format!("did you mean {choice:?}? {}", expected(choices))
        }
        Some(choice) => format!("did you mean {choice:?}?"),
        None => expected(choices),
    }
}

/// `expected one of: a, b, c`
pub(crate) fn expected(choices: &[&str]) -> String {
    match choices {
        [] => "there are none".to_owned(),
        [only] => format!("expected {only:?}"),
        several => format!("expected one of: {}", several.join(", ")),
    }
}

/// Envoy and Kubernetes people write `camelCase` and `kebab-case`.
fn fold(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let choices = ["listeners", "filters", "clusters"];
        assert_eq!(nearest("listners", choices), Some("listeners"));
        assert_eq!(nearest("Clusters", choices), Some("clusters"));
        assert_eq!(nearest("upstreams", choices), None);
        assert_eq!(nearest("connectTimeout", ["connect_timeout"]), Some("connect_timeout"));
        assert_eq!(nearest("", choices), None);
    }

    #[test]
    fn without_a_neighbour_the_choices_are_listed() {
        assert_eq!(help("zzz", &["a", "b"]), "expected one of: a, b");
        assert_eq!(help("opne", &["close", "open"]), "did you mean \"open\"? expected one of: close, open");
        assert_eq!(help("zzz", &[]), "there are none");
    }
}
