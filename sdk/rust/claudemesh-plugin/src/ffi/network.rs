//! HTTP both ways (claudemesh/ext/http.h).
use super::*;

#[repr(C)]
pub struct cm_http_header {
    pub name: View,
    pub value: View,
}
#[repr(C)]
pub struct cm_http_listen_options {
    pub size: u32,
    pub unix_mode: u32,
    pub address: View,
    pub tls_cert_file: View,
    pub tls_key_file: View,
    pub limits: [u64; 5],
}
#[repr(C)]
pub struct cm_http_request_info {
    pub size: u32,
    pub flags: u32,
    pub method: View,
    pub target: View,
    pub path: View,
    pub query: View,
    pub body: View,
    pub remote_address: View,
    pub peer: [i64; 3],
}
pub type cm_http_handler = Option<unsafe extern "C" fn(User, cm_handle, *const cm_http_request_info)>;
#[repr(C)]
pub struct cm_http_server_v1 {
    pub size: u32,
    pub reserved: u32,
    pub listen: unsafe extern "C" fn(cm_handle, *const cm_http_listen_options, *mut cm_handle) -> cm_status,
    pub local_address: unsafe extern "C" fn(cm_handle, cm_handle, *mut View) -> cm_status,
    pub route: unsafe extern "C" fn(cm_handle, cm_handle, View, View, cm_http_handler, User) -> cm_status,
    pub fallback: unsafe extern "C" fn(cm_handle, cm_handle, cm_http_handler, User) -> cm_status,
    pub close: unsafe extern "C" fn(cm_handle, cm_handle) -> cm_status,
    pub header: unsafe extern "C" fn(cm_handle, cm_handle, View) -> View,
    pub path_parameter: unsafe extern "C" fn(cm_handle, cm_handle, View) -> View,
    pub query_parameter: unsafe extern "C" fn(cm_handle, cm_handle, View, *mut bool) -> View,
    pub respond: unsafe extern "C" fn(cm_handle, cm_handle, u32, *const cm_http_header, u64, View) -> cm_status,
    pub stream_begin: Option<unsafe extern "C" fn()>, // not used from Rust
    pub stream_write: Option<unsafe extern "C" fn()>,
    pub stream_end: Option<unsafe extern "C" fn()>,
}
#[repr(C)]
pub struct cm_http_call {
    pub size: u32,
    pub retries: u32,
    pub method: View,
    pub url: View,
    pub headers: *const cm_http_header,
    pub header_count: u64,
    pub body: View,
    pub connect_timeout_ms: u64,
    pub total_timeout_ms: u64,
    pub response_bytes_max: u64,
}
#[repr(C)]
pub struct cm_http_result {
    pub size: u32,
    pub status: cm_status,
    pub http_status: u32,
    pub reserved: u32,
    pub error: View,
    pub headers: View,
    pub body: View,
}
pub type cm_http_callback = Option<unsafe extern "C" fn(User, cm_handle, *const cm_http_result)>;
#[repr(C)]
pub struct cm_http_client_v1 {
    pub size: u32,
    pub reserved: u32,
    pub send: unsafe extern "C" fn(cm_handle, *const cm_http_call, cm_http_callback, User, *mut cm_handle) -> cm_status,
    pub cancel: unsafe extern "C" fn(cm_handle, cm_handle) -> cm_status,
}

layout! {
    cm_http_header = 32, cm_http_listen_options = 96, cm_http_request_info = 128, cm_http_server_v1 = 104,
    cm_http_call = 96, cm_http_result = 64, cm_http_client_v1 = 24,
}
