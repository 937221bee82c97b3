//! The client over real sockets, against a server that does what each test says.

mod load_reports;
mod server;
mod transport;
