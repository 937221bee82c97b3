//! Scripts.

/// One line.
pub struct Step {
    pub callback: String,
    pub nth: Option<u32>,
    pub action: Action,
}

pub enum Action {
    Call { name: String, arguments: Vec<Argument> },
    Return(u32),
    Trap,
    Recurse,
    Grow,
}

pub enum Argument {
    Number(i64),
    Variable(String),
    Text(Vec<Piece>),
    /// Four or eight bytes, kept under a name.
    Cell(usize, Option<String>),
    Bytes,
    Pairs,
}

pub enum Piece {
    Bytes(Vec<u8>),
    Variable(String),
}

/// A script, and what it says of itself.
#[derive(Default)]
pub struct Script {
    pub steps: Vec<Step>,
    /// Requests may add steps for their streams.
    pub dynamic: bool,
    /// Callbacks are not logged, only results.
    pub quiet: bool,
}

pub fn script(text: &str) -> Script {
    let mut script = Script::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line {
            "dynamic" => script.dynamic = true,
            "quiet" => script.quiet = true,
            line => script.steps.push(step(line)),
        }
    }
    script
}

#[expect(clippy::panic, reason = "a script with a mistake is a test with a mistake")]
fn step(line: &str) -> Step {
    let Some((place, rest)) = line.split_once(": ") else { panic!("no callback in {line:?}") };
    let (callback, nth) = match place.split_once('@') {
        Some((callback, nth)) => (callback, nth.parse().ok()),
        None => (place, None),
    };
    let mut words = words(rest).into_iter();
    let name = words.next().unwrap_or_default();
    let action = match name.as_str() {
        "return" => Action::Return(number(&words.next().unwrap_or_default()) as u32),
        "trap" => Action::Trap,
        "recurse" => Action::Recurse,
        "grow" => Action::Grow,
        _ => Action::Call { name, arguments: words.map(|word| argument(&word)).collect() },
    };
    Step { callback: callback.to_owned(), nth, action }
}

/// Splits at spaces outside of quotes and brackets.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut quoted, mut bracketed, mut escaped) = (false, false, false);
    for letter in line.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '[' if !quoted => bracketed = true,
            ']' if !quoted => bracketed = false,
            ' ' if !quoted && !bracketed => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
                continue;
            }
            _ => {}
        }
        word.push(letter);
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

fn argument(word: &str) -> Argument {
    if let Some(name) = word.strip_prefix('$') {
        return Argument::Variable(name.to_owned());
    }
    if let Some(text) = word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) {
        return Argument::Text(pieces(text));
    }
    if let Some(list) = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')) {
        let pairs = list.split(';').filter(|pair| !pair.is_empty());
        // The last `=` of a pair would be one of its value; names have none.
        let pairs: Vec<_> = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
        return Argument::Text(vec![Piece::Bytes(serialize(&pairs))]);
    }
    match word.strip_prefix('&') {
        Some("b") => Argument::Bytes,
        Some("p") => Argument::Pairs,
        Some(cell) => {
            let (size, name) = cell.split_once('=').map_or((cell, None), |(size, name)| (size, Some(name.to_owned())));
            Argument::Cell(if size == "8" { 8 } else { 4 }, name)
        }
        None => Argument::Number(number(word)),
    }
}

#[expect(clippy::panic, reason = "a script with a mistake is a test with a mistake")]
fn number(word: &str) -> i64 {
    let parsed = match word.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("{word:?} is no argument"))
}

fn pieces(text: &str) -> Vec<Piece> {
    let (mut pieces, mut bytes) = (Vec::new(), Vec::new());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match letters.next() {
            Some('n') => bytes.push(b'\n'),
            Some('r') => bytes.push(b'\r'),
            Some('0') => bytes.push(0),
            Some('x') => {
                let digits: String = letters.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or_default());
            }
            Some('{') => {
                let name: String = letters.by_ref().take_while(|letter| *letter != '}').collect();
                pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
                pieces.push(Piece::Variable(name));
            }
            other => bytes.extend(other.map(|letter| letter as u8)),
        }
    }
    pieces.push(Piece::Bytes(bytes));
    pieces
}

fn serialize(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = (pairs.len() as u32).to_le_bytes().to_vec();
    for (key, value) in pairs {
        out.extend_from_slice(&(key.len() as u32).to_le_bytes());
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    }
    for (key, value) in pairs {
        for part in [key, value] {
            out.extend_from_slice(part.as_bytes());
            out.push(0);
        }
    }
    out
}
