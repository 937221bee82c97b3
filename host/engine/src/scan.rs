//! Reads what can be known of a module before it is compiled: version, imports, exports, memory, manifest.
//!
//! Compiling is the expensive part, and refusing is better done before it. The bytes are untrusted. This reads sections and does not
//! validate function bodies; Wasmtime does, when it compiles.

use std::collections::HashMap;
use std::fmt::Write;

use wasmparser::{Encoding, ExternalKind, FuncType, Parser, Payload, TypeRef, ValType};

use crate::callback::{Callback, CallbackSet};
use crate::error::LoadError;
use crate::module::AbiVersion;

/// The name of the custom section that holds a filter's manifest.
const MANIFEST: &str = "fyke.manifest";
/// What the names of the exports begin with that say the ABI version.
const MARKER: &str = "proxy_abi_version_";
const PAGE: u64 = 65536;
/// Imports and exports that a module may have, so that what is said about them stays readable.
const NAMES: usize = 10_000;

/// `module.name` of every hostcall, and its signature as [`signature`] writes it.
pub(crate) type Hostcalls = HashMap<String, String>;

/// What was read.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) abi: AbiVersion,
    pub(crate) callbacks: CallbackSet,
    /// Names of the functions imported from `env`.
    pub(crate) imports: Vec<String>,
    /// Names of the functions that it exports.
    pub(crate) exports: Vec<String>,
    pub(crate) manifest: Option<Vec<u8>>,
    /// Bytes of memory to begin with.
    pub(crate) memory: u64,
    pub(crate) allocator: &'static str,
    pub(crate) start: Start,
}

/// What runs once after instantiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing.
    Nothing,
    /// `_initialize`, then `main` if there is one.
    Reactor(Main),
    /// `_start`.
    Command,
}

/// The `main` of a reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Main {
    None,
    /// `main(argc, argv)`.
    WithArguments,
    /// `__main_void()`.
    Void,
}

/// Reads `bytes` and checks them against the hostcalls that there are.
pub(crate) fn scan(bytes: &[u8], hostcalls: &Hostcalls) -> Result<Facts, LoadError> {
    let sections = Sections::read(bytes)?;
    sections.check_imports(hostcalls)?;
    let abi = sections.abi()?;
    let callbacks = sections.callbacks(abi)?;
    let allocator = sections.allocator()?;
    Ok(Facts {
        abi,
        callbacks,
        imports: sections.env_imports(),
        exports: sections.exported_functions(),
        memory: sections.memory()?,
        allocator,
        start: sections.start()?,
        manifest: sections.manifest,
    })
}

/// The contents of a module's custom section `fyke.manifest`, without compiling the module.
///
/// # Errors
/// When it is no WebAssembly module.
pub fn manifest(bytes: &[u8]) -> Result<Option<Vec<u8>>, LoadError> {
    Ok(Sections::read(bytes)?.manifest)
}

/// The sections of a module that matter here, decoded.
#[derive(Default)]
struct Sections<'a> {
    types: Vec<FuncType>,
    /// Indices of types, imported functions first.
    functions: Vec<u32>,
    /// Initial pages, imported memories first.
    memories: Vec<u64>,
    /// Module, name, and the signature of a function or the kind of anything else.
    imports: Vec<(&'a str, &'a str, Result<u32, &'static str>)>,
    exports: Vec<(&'a str, ExternalKind, u32)>,
    manifest: Option<Vec<u8>>,
}

impl<'a> Sections<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, LoadError> {
        if !bytes.starts_with(b"\0asm") {
            return Err(LoadError::Invalid("it does not begin as one".to_owned()));
        }
        let mut sections = Sections::default();
        for payload in Parser::new(0).parse_all(bytes) {
            sections.take(payload.map_err(invalid)?)?;
            if sections.imports.len().max(sections.exports.len()) > NAMES {
                return Err(LoadError::Invalid(format!("it has more than {NAMES} imports or exports")));
            }
        }
        Ok(sections)
    }

    fn take(&mut self, payload: Payload<'a>) -> Result<(), LoadError> {
        match payload {
            Payload::Version { encoding: Encoding::Component, .. } => {
                let message = "this is a component; filters are core modules (target wasm32-wasip1)";
                return Err(LoadError::Invalid(message.to_owned()));
            }
            Payload::TypeSection(types) => {
                for ty in types.into_iter_err_on_gc_types() {
                    self.types.push(ty.map_err(invalid)?);
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.map_err(invalid)?;
                    let what = match import.ty {
                        TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                            self.functions.push(ty);
                            Ok(ty)
                        }
                        TypeRef::Memory(memory) => {
                            self.memories.push(memory.initial);
                            Err("memory")
                        }
                        TypeRef::Table(_) => Err("table"),
                        TypeRef::Global(_) => Err("global"),
                        TypeRef::Tag(_) => Err("tag"),
                    };
                    self.imports.push((import.module, import.name, what));
                }
            }
            Payload::FunctionSection(functions) => {
                for ty in functions {
                    self.functions.push(ty.map_err(invalid)?);
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    self.memories.push(memory.map_err(invalid)?.initial);
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export.map_err(invalid)?;
                    self.exports.push((export.name, export.kind, export.index));
                }
            }
            Payload::CustomSection(section) if section.name() == MANIFEST => {
                self.manifest = Some(section.data().to_vec());
            }
            _ => {}
        }
        Ok(())
    }

    fn exported_functions(&self) -> Vec<String> {
        let functions = self.exports.iter().filter(|(_, kind, _)| *kind == ExternalKind::Func);
        functions.map(|(name, _, _)| (*name).to_owned()).collect()
    }

    fn signature(&self, ty: u32) -> Option<String> {
        let ty = self.types.get(usize::try_from(ty).ok()?)?;
        Some(signature(ty.params().iter().map(value_name), ty.results().iter().map(value_name)))
    }

    /// The signature of an exported function.
    fn export(&self, name: &str) -> Option<String> {
        let (_, _, index) = self.exports.iter().find(|(export, kind, _)| {
            *export == name && matches!(kind, ExternalKind::Func | ExternalKind::FuncExact)
        })?;
        self.signature(*self.functions.get(usize::try_from(*index).ok()?)?)
    }

    /// Whether a function of that name is exported; its signature has to be of so many `i32`.
    fn expect(&self, name: &str, parameters: usize, result: bool) -> Result<bool, LoadError> {
        let Some(found) = self.export(name) else { return Ok(false) };
        let expected = signature(std::iter::repeat_n("i32", parameters), result.then_some("i32"));
        if found == expected {
            Ok(true)
        } else {
            Err(LoadError::ExportSignature { export: name.to_owned(), found, expected })
        }
    }

    fn check_imports(&self, hostcalls: &Hostcalls) -> Result<(), LoadError> {
        let mut unknown = Vec::new();
        let mut mismatch = None;
        for (module, name, what) in &self.imports {
            let import = format!("{module}.{name}");
            let found = match what {
                Ok(ty) => self.signature(*ty).ok_or_else(|| LoadError::Invalid(format!("{import} has no type")))?,
                Err(kind) => {
                    unknown.push(format!("{import} (a {kind})"));
                    continue;
                }
            };
            match hostcalls.get(&import) {
                None => unknown.push(format!("{import} {found}")),
                Some(expected) if *expected != found && mismatch.is_none() => {
                    mismatch = Some(LoadError::ImportSignature { import, found, expected: expected.clone() });
                }
                Some(_) => {}
            }
        }
        if !unknown.is_empty() {
            return Err(LoadError::UnknownImports(unknown));
        }
        mismatch.map_or(Ok(()), Err)
    }

    fn abi(&self) -> Result<AbiVersion, LoadError> {
        let markers = || {
            self.exports
                .iter()
                .filter(|(_, kind, _)| matches!(kind, ExternalKind::Func | ExternalKind::FuncExact))
                .filter_map(|(name, _, _)| name.strip_prefix(MARKER))
        };
        if let Some(version) = markers().find_map(AbiVersion::from_marker) {
            return Ok(version);
        }
        Err(match markers().next() {
            Some(version) => LoadError::UnknownAbi(format!("{MARKER}{version}")),
            None => LoadError::NoAbiMarker,
        })
    }

    fn callbacks(&self, abi: AbiVersion) -> Result<CallbackSet, LoadError> {
        let mut callbacks = CallbackSet::EMPTY;
        for callback in Callback::ALL.iter().copied() {
            let (parameters, result) = callback.signature(abi);
            if self.expect(callback.export(), parameters, result)? {
                callbacks.insert(callback);
            }
        }
        Ok(callbacks)
    }

    /// The specification's order: `malloc` is the fallback.
    fn allocator(&self) -> Result<&'static str, LoadError> {
        for name in ["proxy_on_memory_allocate", "malloc"] {
            if self.expect(name, 1, true)? {
                return Ok(name);
            }
        }
        Err(LoadError::NoAllocator)
    }

    fn start(&self) -> Result<Start, LoadError> {
        if self.expect("_initialize", 0, false)? {
            let main = if self.expect("main", 2, true)? {
                Main::WithArguments
            } else if self.expect("__main_void", 0, true)? {
                Main::Void
            } else {
                Main::None
            };
            Ok(Start::Reactor(main))
        } else if self.expect("_start", 0, false)? {
            Ok(Start::Command)
        } else {
            Ok(Start::Nothing)
        }
    }

    fn memory(&self) -> Result<u64, LoadError> {
        self.exports
            .iter()
            .find(|(name, kind, _)| *name == "memory" && *kind == ExternalKind::Memory)
            .and_then(|(_, _, index)| self.memories.get(usize::try_from(*index).ok()?))
            .map(|pages| pages.saturating_mul(PAGE))
            .ok_or(LoadError::NoMemory)
    }

    fn env_imports(&self) -> Vec<String> {
        let env = self.imports.iter().filter(|(module, _, what)| *module == "env" && what.is_ok());
        env.map(|(_, name, _)| (*name).to_owned()).collect()
    }
}

/// Writes a signature the same way for both sides of a comparison: `(i32, i64) -> i32`.
pub(crate) fn signature<'s>(
    parameters: impl Iterator<Item = &'s str>,
    results: impl IntoIterator<Item = &'s str>,
) -> String {
    let mut text = String::from("(");
    for (index, parameter) in parameters.enumerate() {
        let _ = write!(text, "{}{parameter}", if index == 0 { "" } else { ", " });
    }
    text.push(')');
    for (index, result) in results.into_iter().enumerate() {
        let _ = write!(text, "{}{result}", if index == 0 { " -> " } else { ", " });
    }
    text
}

fn value_name(value: &ValType) -> &'static str {
    match value {
        ValType::I32 => "i32",
        ValType::I64 => "i64",
        ValType::F32 => "f32",
        ValType::F64 => "f64",
        ValType::V128 => "v128",
        ValType::Ref(_) => "ref",
    }
}

fn invalid(error: wasmparser::BinaryReaderError) -> LoadError {
    LoadError::Invalid(error.to_string())
}
