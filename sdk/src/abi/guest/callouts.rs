//! Callouts over HTTP and gRPC.

use super::{Returned, Status, raw};

/// `proxy_http_call`: the token of the answer; `headers` are serialized pairs.
///
/// # Errors
/// The host's status.
pub fn http_call(cluster: &str, headers: &[u8], body: &[u8], timeout: u32) -> Result<u32, Status> {
    let trailers = 0_u32.to_le_bytes();
    let mut token = 0;
    // SAFETY: live slices, and a live local that the host writes to.
    let status = unsafe {
        raw::proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            timeout,
            &raw mut token,
        )
    };
    Status(status).ok().map(|()| token)
}

/// Where a gRPC call goes.
#[derive(Debug, Clone, Copy)]
pub struct GrpcTarget<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// The service, with its package.
    pub service: &'a str,
    /// The method.
    pub method: &'a str,
    /// Initial metadata, serialized pairs.
    pub metadata: &'a [u8],
}

/// `proxy_grpc_call`: the token of the answer.
///
/// # Errors
/// The host's status.
pub fn grpc_call(target: GrpcTarget<'_>, message: &[u8], timeout: u32) -> Result<u32, Status> {
    let GrpcTarget { cluster, service, method, metadata } = target;
    let mut token = 0;
    // SAFETY: live slices, and a live local that the host writes to.
    let status = unsafe {
        raw::proxy_grpc_call(
            cluster.as_ptr(),
            cluster.len(),
            service.as_ptr(),
            service.len(),
            method.as_ptr(),
            method.len(),
            metadata.as_ptr(),
            metadata.len(),
            message.as_ptr(),
            message.len(),
            timeout,
            &raw mut token,
        )
    };
    Status(status).ok().map(|()| token)
}

/// `proxy_grpc_stream`: the stream's token.
///
/// # Errors
/// The host's status.
pub fn grpc_stream(target: GrpcTarget<'_>) -> Result<u32, Status> {
    let GrpcTarget { cluster, service, method, metadata } = target;
    let mut token = 0;
    // SAFETY: live slices, and a live local that the host writes to.
    let status = unsafe {
        raw::proxy_grpc_stream(
            cluster.as_ptr(),
            cluster.len(),
            service.as_ptr(),
            service.len(),
            method.as_ptr(),
            method.len(),
            metadata.as_ptr(),
            metadata.len(),
            &raw mut token,
        )
    };
    Status(status).ok().map(|()| token)
}

/// `proxy_grpc_send`: one message, perhaps the last.
///
/// # Errors
/// The host's status.
pub fn grpc_send(token: u32, message: &[u8], end_of_stream: bool) -> Result<(), Status> {
    // SAFETY: a live slice.
    Status(unsafe { raw::proxy_grpc_send(token, message.as_ptr(), message.len(), u32::from(end_of_stream)) }).ok()
}

/// `proxy_grpc_close`: our half is over; what the server still says arrives.
pub fn grpc_close(token: u32) {
    // SAFETY: no pointers.
    unsafe { raw::proxy_grpc_close(token) };
}

/// `proxy_grpc_cancel`: nothing more comes of this call.
pub fn grpc_cancel(token: u32) {
    // SAFETY: no pointers.
    unsafe { raw::proxy_grpc_cancel(token) };
}

/// `proxy_get_status`: code and message of the gRPC call that the callback is about.
#[must_use]
pub fn call_status() -> (u32, String) {
    let mut code = 0;
    let mut message = Returned::new();
    // SAFETY: the host writes to live locals.
    let status = unsafe { raw::proxy_get_status(&raw mut code, &raw mut message.bytes, &raw mut message.length) };
    if Status(status) == Status::OK {
        (code, String::from_utf8_lossy(&message.into_vec()).into_owned())
    } else {
        (0, String::new())
    }
}
