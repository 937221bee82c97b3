//! Running scripts.

use std::{cell::RefCell, collections::HashMap};

use crate::{
    hostcalls,
    parse::{self, Action, Argument, Piece, Script, Step},
};

/// What an out cell holds before the call.
const UNTOUCHED: u64 = 0x5EED_5EED_5EED_5EED;

#[derive(Default)]
struct Probe {
    script: Script,
    /// Steps of one stream.
    streams: HashMap<u32, Vec<Step>>,
    variables: HashMap<String, i64>,
    /// How often a context had a callback.
    counts: HashMap<(u32, &'static str), u32>,
}

thread_local! {
    static PROBE: RefCell<Option<Probe>> = const { RefCell::new(None) };
}

/// Memory for the host. It is never given back.
pub fn allocate(size: usize) -> *mut u8 {
    Vec::<u8>::leak(Vec::with_capacity(size.max(1))).as_mut_ptr()
}

/// One callback: logs it, and does what the script says. Returns what the script says, else `default`.
pub fn callback(export: &'static str, parameters: &[u32], default: u32) -> u32 {
    let name = export.strip_prefix("proxy_on_").unwrap_or(export);
    let context = parameters.first().copied().unwrap_or_default();
    PROBE.with_borrow_mut(|probe| {
        let probe = probe.get_or_insert_with(|| {
            let script = parse::script(&std::env::var("SCRIPT").unwrap_or_default());
            Probe { script, ..Probe::default() }
        });
        if !probe.script.quiet {
            say(&parameters.iter().fold(name.to_owned(), |line, parameter| format!("{line} {parameter}")));
        }
        probe.run(name, context, parameters, default)
    })
}

impl Probe {
    fn run(&mut self, name: &'static str, context: u32, parameters: &[u32], default: u32) -> u32 {
        let count = self.counts.entry((context, name)).or_default();
        *count += 1;
        let count = *count;
        self.variables.insert("ctx".to_owned(), i64::from(context));
        for (index, parameter) in parameters.iter().enumerate() {
            self.variables.insert(index.to_string(), i64::from(*parameter));
        }
        if self.script.dynamic && name == "request_headers" {
            self.learn(context);
        }
        let mut result = default;
        let of_stream = self.streams.remove(&context).unwrap_or_default();
        let steps = std::mem::take(&mut self.script.steps);
        for step in steps.iter().chain(&of_stream) {
            if step.callback != name || step.nth.is_some_and(|nth| nth != count) {
                continue;
            }
            match &step.action {
                Action::Call { name: hostcall, arguments } => self.call(name, hostcall, arguments),
                Action::Return(value) => result = *value,
                Action::Trap => trap(),
                Action::Recurse => {
                    std::hint::black_box(recurse(1));
                }
                Action::Grow => grow(),
            }
        }
        self.script.steps = steps;
        if name != "delete" && !of_stream.is_empty() {
            self.streams.insert(context, of_stream);
        }
        result
    }

    /// Takes lines from the request.
    fn learn(&mut self, context: u32) {
        let mut cells = [0_u32; 2];
        let key = b"x-probe";
        let [address, length] = &mut cells;
        let arguments = [0, key.as_ptr() as i64, key.len() as i64, place(address), place(length)];
        if hostcalls::call("get_header_map_value", &arguments) == Some(0) {
            let text = String::from_utf8_lossy(&read(*address, *length)).replace('|', "\n");
            self.streams.insert(context, parse::script(&text).steps);
        }
    }

    #[expect(clippy::panic, reason = "a script with a mistake is a test with a mistake")]
    fn call(&mut self, callback: &str, name: &str, arguments: &[Argument]) {
        let mut texts: Vec<Vec<u8>> = Vec::new();
        let mut cells: Vec<Box<u64>> = Vec::new();
        let mut flat = Vec::new();
        for argument in arguments {
            match argument {
                Argument::Number(number) => flat.push(*number),
                Argument::Variable(name) => flat.push(self.variable(name)),
                Argument::Text(pieces) => {
                    let mut text = Vec::new();
                    for piece in pieces {
                        match piece {
                            Piece::Bytes(bytes) => text.extend_from_slice(bytes),
                            Piece::Variable(name) => {
                                text.extend_from_slice(&(self.variable(name) as u32).to_le_bytes())
                            }
                        }
                    }
                    flat.extend([text.as_ptr() as i64, text.len() as i64]);
                    texts.push(text);
                }
                Argument::Cell(..) | Argument::Bytes | Argument::Pairs => {
                    let count = if matches!(argument, Argument::Cell(..)) { 1 } else { 2 };
                    for _ in 0..count {
                        let mut cell = Box::new(UNTOUCHED);
                        flat.push(place(&mut *cell));
                        cells.push(cell);
                    }
                }
            }
        }
        let Some(status) = hostcalls::call(name, &flat) else {
            panic!("no hostcall {name} with {} parameters", flat.len())
        };
        let mut line = format!("{callback}> {name} = {status}");
        // The host has written to them behind the compiler's back.
        let mut cells = cells.iter().map(|cell| std::hint::black_box(**cell));
        for argument in arguments {
            let shown = match argument {
                Argument::Cell(size, name) => {
                    let value = cells.next().unwrap_or_default();
                    let shown = if *size == 8 { value } else { u64::from(value as u32) };
                    if let Some(name) = name {
                        self.variables.insert(name.clone(), shown as i64);
                    }
                    let untouched = if *size == 8 { UNTOUCHED } else { u64::from(UNTOUCHED as u32) };
                    if shown == untouched { "untouched".to_owned() } else { shown.to_string() }
                }
                Argument::Bytes | Argument::Pairs => {
                    let (address, length) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
                    if address == UNTOUCHED && length == UNTOUCHED {
                        "untouched".to_owned()
                    } else if address as u32 == 0 {
                        format!("null:{}", length as u32)
                    } else {
                        let bytes = read(address as u32, length as u32);
                        if matches!(argument, Argument::Pairs) {
                            pairs(&bytes)
                        } else {
                            format!("\"{}\"", bytes.escape_ascii())
                        }
                    }
                }
                _ => continue,
            };
            line = format!("{line} {shown}");
        }
        if !(self.script.quiet && callback == "context_create") {
            say(&line);
        }
    }

    #[expect(clippy::panic, reason = "a script with a mistake is a test with a mistake")]
    fn variable(&self, name: &str) -> i64 {
        *self.variables.get(name).unwrap_or_else(|| panic!("nothing is kept as {name}"))
    }
}

fn say(line: &str) {
    let line = format!("probe: {line}");
    hostcalls::call("log", &[2, line.as_ptr() as i64, line.len() as i64]);
}

fn place<T>(cell: &mut T) -> i64 {
    std::ptr::from_mut(cell) as i64
}

fn read(address: u32, length: u32) -> Vec<u8> {
    // SAFETY: the host has put that many bytes into memory that `allocate` gave it.
    unsafe { std::slice::from_raw_parts(address as *const u8, length as usize).to_vec() }
}

/// Serialized pairs as text.
fn pairs(bytes: &[u8]) -> String {
    let number =
        |at: usize| bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
    let count = number(0);
    let mut at = 4 + 8 * count;
    let mut shown = Vec::new();
    for pair in 0..count {
        let mut part = |length: usize| {
            let text = bytes.get(at..at + length).unwrap_or(b"?broken?").escape_ascii().to_string();
            at += length + 1;
            text
        };
        let (key, value) = (part(number(4 + 8 * pair)), part(number(8 + 8 * pair)));
        shown.push(format!("{key}={value}"));
    }
    format!("[{}]", shown.join(";"))
}

#[cfg(target_arch = "wasm32")]
fn trap() {
    core::arch::wasm32::unreachable();
}

#[cfg(not(target_arch = "wasm32"))]
fn trap() {
    std::process::abort();
}

#[expect(unconditional_recursion, reason = "the stack is to end")]
fn recurse(depth: u64) -> u64 {
    std::hint::black_box(depth) + recurse(std::hint::black_box(depth + 1))
}

fn grow() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(std::hint::black_box(vec![1; 1 << 20]));
    }
}
