//! The ABI's callbacks, as methods.
//!
//! Each is the same three lines: the export if it is there, the call, the meaning of its result.

use wasmtime::Store;

use crate::callback::Callback;
use crate::enter::call;
use crate::error::Trap;
use crate::exports::{Export, Headers};
use crate::host::Host;
use crate::instance::Instance;
use crate::state::{Readable, State};
use crate::types::{ContextId, DataAction, HeadersAction, PeerKind};

impl Instance {
    /// `proxy_on_request_headers`: `count` entries are in the map. Neutral: `Continue`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_request_headers(
        &mut self,
        host: &mut dyn Host,
        cx: ContextId,
        count: usize,
        end_of_stream: bool,
    ) -> Result<HeadersAction, Trap> {
        let export = &self.exports.request_headers;
        headers(&mut self.store, host, Callback::RequestHeaders, cx, export, count, end_of_stream)
    }

    /// `proxy_on_request_body`: `size` bytes are held, those of earlier calls included. Neutral: `Continue`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_request_body(
        &mut self,
        host: &mut dyn Host,
        cx: ContextId,
        size: usize,
        end_of_stream: bool,
    ) -> Result<DataAction, Trap> {
        let export = &self.exports.request_body;
        data(&mut self.store, host, Callback::RequestBody, cx, export, size, end_of_stream)
    }

    /// `proxy_on_request_trailers`: `Continue` (also neutral) or `Pause`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_request_trailers(
        &mut self,
        host: &mut dyn Host,
        cx: ContextId,
        count: usize,
    ) -> Result<HeadersAction, Trap> {
        let Some(export) = &self.exports.request_trailers else { return Ok(HeadersAction::Continue) };
        let action = call(&mut self.store, host, Callback::RequestTrailers, cx, export, (cx.0, size_u32(count)))?;
        Ok(HeadersAction::from_trailers_abi(action))
    }

    /// `proxy_on_response_headers`: `count` entries are in the map. Neutral: `Continue`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_response_headers(
        &mut self,
        host: &mut dyn Host,
        cx: ContextId,
        count: usize,
        end_of_stream: bool,
    ) -> Result<HeadersAction, Trap> {
        let export = &self.exports.response_headers;
        headers(&mut self.store, host, Callback::ResponseHeaders, cx, export, count, end_of_stream)
    }

    /// `proxy_on_response_body`: `size` bytes are held, those of earlier calls included. Neutral: `Continue`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_response_body(
        &mut self,
        host: &mut dyn Host,
        cx: ContextId,
        size: usize,
        end_of_stream: bool,
    ) -> Result<DataAction, Trap> {
        let export = &self.exports.response_body;
        data(&mut self.store, host, Callback::ResponseBody, cx, export, size, end_of_stream)
    }

    /// `proxy_on_response_trailers`: `Continue` (also neutral) or `Pause`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_response_trailers(
        &mut self,
        host: &mut dyn Host,
        cx: ContextId,
        count: usize,
    ) -> Result<HeadersAction, Trap> {
        let Some(export) = &self.exports.response_trailers else { return Ok(HeadersAction::Continue) };
        let action = call(&mut self.store, host, Callback::ResponseTrailers, cx, export, (cx.0, size_u32(count)))?;
        Ok(HeadersAction::from_trailers_abi(action))
    }

    /// `proxy_on_new_connection`. Neutral: `Continue`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_new_connection(&mut self, host: &mut dyn Host, cx: ContextId) -> Result<DataAction, Trap> {
        let Some(export) = &self.exports.new_connection else { return Ok(DataAction::Continue) };
        call(&mut self.store, host, Callback::NewConnection, cx, export, cx.0).map(DataAction::from_abi)
    }

    /// `proxy_on_downstream_data`: `size` bytes are held. Neutral: `Continue`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_downstream_data(
        &mut self,
        host: &mut dyn Host,
        cx: ContextId,
        size: usize,
        end_of_stream: bool,
    ) -> Result<DataAction, Trap> {
        let export = &self.exports.downstream_data;
        data(&mut self.store, host, Callback::DownstreamData, cx, export, size, end_of_stream)
    }

    /// `proxy_on_downstream_connection_close`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_downstream_connection_close(
        &mut self,
        host: &mut dyn Host,
        cx: ContextId,
        peer: PeerKind,
    ) -> Result<(), Trap> {
        let Some(export) = &self.exports.downstream_connection_close else { return Ok(()) };
        call(&mut self.store, host, Callback::DownstreamConnectionClose, cx, export, (cx.0, peer as u32))
    }

    /// `proxy_on_upstream_data`: `size` bytes are held. Neutral: `Continue`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_upstream_data(
        &mut self,
        host: &mut dyn Host,
        cx: ContextId,
        size: usize,
        end_of_stream: bool,
    ) -> Result<DataAction, Trap> {
        let export = &self.exports.upstream_data;
        data(&mut self.store, host, Callback::UpstreamData, cx, export, size, end_of_stream)
    }

    /// `proxy_on_upstream_connection_close`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_upstream_connection_close(
        &mut self,
        host: &mut dyn Host,
        cx: ContextId,
        peer: PeerKind,
    ) -> Result<(), Trap> {
        let Some(export) = &self.exports.upstream_connection_close else { return Ok(()) };
        call(&mut self.store, host, Callback::UpstreamConnectionClose, cx, export, (cx.0, peer as u32))
    }

    /// `proxy_on_http_call_response`, on the root of whoever called; `headers` 0 means that there was no answer.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_http_call_response(
        &mut self,
        host: &mut dyn Host,
        root: ContextId,
        token: u32,
        headers: usize,
        body: usize,
        trailers: usize,
    ) -> Result<(), Trap> {
        let Some(export) = &self.exports.http_call_response else { return Ok(()) };
        let params = (root.0, token, size_u32(headers), size_u32(body), size_u32(trailers));
        call(&mut self.store, host, Callback::HttpCallResponse, root, export, params)
    }

    /// `proxy_on_grpc_receive_initial_metadata`, on the root of whoever called.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_grpc_receive_initial_metadata(
        &mut self,
        host: &mut dyn Host,
        root: ContextId,
        token: u32,
        count: usize,
    ) -> Result<(), Trap> {
        let Some(export) = &self.exports.grpc_receive_initial_metadata else { return Ok(()) };
        call(
            &mut self.store,
            host,
            Callback::GrpcReceiveInitialMetadata,
            root,
            export,
            (root.0, token, size_u32(count)),
        )
    }

    /// `proxy_on_grpc_receive`, on the root of whoever called.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_grpc_receive(
        &mut self,
        host: &mut dyn Host,
        root: ContextId,
        token: u32,
        size: usize,
    ) -> Result<(), Trap> {
        let Some(export) = &self.exports.grpc_receive else { return Ok(()) };
        call(&mut self.store, host, Callback::GrpcReceive, root, export, (root.0, token, size_u32(size)))
    }

    /// `proxy_on_grpc_receive_trailing_metadata`, on the root of whoever called.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_grpc_receive_trailing_metadata(
        &mut self,
        host: &mut dyn Host,
        root: ContextId,
        token: u32,
        count: usize,
    ) -> Result<(), Trap> {
        let Some(export) = &self.exports.grpc_receive_trailing_metadata else { return Ok(()) };
        call(
            &mut self.store,
            host,
            Callback::GrpcReceiveTrailingMetadata,
            root,
            export,
            (root.0, token, size_u32(count)),
        )
    }

    /// `proxy_on_grpc_close`, on the root of whoever called.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_grpc_close(&mut self, host: &mut dyn Host, root: ContextId, token: u32, status: u32) -> Result<(), Trap> {
        let Some(export) = &self.exports.grpc_close else { return Ok(()) };
        call(&mut self.store, host, Callback::GrpcClose, root, export, (root.0, token, status))
    }

    /// `proxy_on_tick`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_tick(&mut self, host: &mut dyn Host, root: ContextId) -> Result<(), Trap> {
        let Some(export) = &self.exports.tick else { return Ok(()) };
        call(&mut self.store, host, Callback::Tick, root, export, root.0)
    }

    /// `proxy_on_queue_ready`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_queue_ready(&mut self, host: &mut dyn Host, root: ContextId, queue: u32) -> Result<(), Trap> {
        let Some(export) = &self.exports.queue_ready else { return Ok(()) };
        call(&mut self.store, host, Callback::QueueReady, root, export, (root.0, queue))
    }

    /// `proxy_on_foreign_function`: an event of the host's own, with arguments in buffer 8.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_foreign_function(
        &mut self,
        host: &mut dyn Host,
        cx: ContextId,
        function: u32,
        arguments: &[u8],
    ) -> Result<(), Trap> {
        let Some(export) = &self.exports.foreign_function else { return Ok(()) };
        let state = self.store.data_mut();
        state.arguments.clear();
        state.arguments.extend_from_slice(arguments);
        state.readable = Readable::Arguments;
        let params = (cx.0, function, size_u32(arguments.len()));
        let result = call(&mut self.store, host, Callback::ForeignFunction, cx, export, params);
        self.store.data_mut().readable = Readable::Nothing;
        result
    }

    /// `proxy_on_done`: whether the context may end now (also neutral), or waits for `proxy_done`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_done(&mut self, host: &mut dyn Host, cx: ContextId) -> Result<bool, Trap> {
        let Some(export) = &self.exports.done else { return Ok(true) };
        call(&mut self.store, host, Callback::Done, cx, export, cx.0).map(|done| done != 0)
    }

    /// `proxy_on_log`.
    ///
    /// # Errors
    /// When the guest traps or has trapped before.
    pub fn on_log(&mut self, host: &mut dyn Host, cx: ContextId) -> Result<(), Trap> {
        let Some(export) = &self.exports.log else { return Ok(()) };
        call(&mut self.store, host, Callback::Log, cx, export, cx.0)
    }
}

#[inline]
fn headers(
    store: &mut Store<State>,
    host: &mut dyn Host,
    callback: Callback,
    cx: ContextId,
    export: &Headers,
    count: usize,
    end_of_stream: bool,
) -> Result<HeadersAction, Trap> {
    let count = size_u32(count);
    let action = match export {
        Headers::Absent => return Ok(HeadersAction::Continue),
        Headers::Short(export) => call(store, host, callback, cx, export, (cx.0, count))?,
        Headers::Long(export) => call(store, host, callback, cx, export, (cx.0, count, u32::from(end_of_stream)))?,
    };
    Ok(HeadersAction::from_abi(action))
}

#[inline]
fn data(
    store: &mut Store<State>,
    host: &mut dyn Host,
    callback: Callback,
    cx: ContextId,
    export: &Export<(u32, u32, u32), i32>,
    size: usize,
    end_of_stream: bool,
) -> Result<DataAction, Trap> {
    let Some(export) = export else { return Ok(DataAction::Continue) };
    let params = (cx.0, size_u32(size), u32::from(end_of_stream));
    call(store, host, callback, cx, export, params).map(DataAction::from_abi)
}

/// Nothing that a guest is told the size of has more than 4 GiB.
fn size_u32(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
