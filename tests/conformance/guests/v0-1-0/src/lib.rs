//! The probe, as a module of this ABI version.

#![allow(unsafe_code, missing_docs, reason = "this is the ABI, bare")]

conformance_probe::exports!(proxy_abi_version_0_1_0, headers());
