//! The tables of the C headers, field by field (include/claudemesh). The asserts at the end hold them to the C layout.
#![allow(non_camel_case_types)]
use std::ffi::c_void;
use std::os::raw::c_char;

pub type cm_status = u32;
pub type cm_handle = u64;
pub type User = *mut c_void;
pub type cm_callback = Option<unsafe extern "C" fn(User)>;

pub const CM_OK: cm_status = 0;
pub const CM_INVALID: cm_status = 1;
pub const CM_UNSUPPORTED: cm_status = 2;
pub const CM_DENIED: cm_status = 3;
pub const CM_BUSY: cm_status = 4;
pub const CM_GONE: cm_status = 5;
pub const CM_IO: cm_status = 6;
pub const CM_INTERNAL: cm_status = 7;
pub const CM_ABI_VERSION_1_0: u32 = 0x0001_0000;
pub const CM_PLUGIN_MAGIC: u64 = 0x3130_4d43_5355_4c43;

/// Bytes or text with a length: `cm_text_hview`, `cm_text_pview`, `cm_bytes_hview` and `cm_bytes_pview`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct View {
    pub data: *const u8,
    pub size: u64,
}
impl View {
    pub const EMPTY: View = View { data: std::ptr::null(), size: 0 };
    pub fn of(bytes: &[u8]) -> View {
        View { data: bytes.as_ptr(), size: bytes.len() as u64 }
    }
    pub fn text(text: &str) -> View {
        View::of(text.as_bytes())
    }
    /// # Safety
    /// The memory must live as long as the answer is used.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.size == 0 || self.data.is_null() {
            &[]
        } else {
            std::slice::from_raw_parts(self.data, self.size as usize)
        }
    }
    /// # Safety
    /// As `bytes`. The host's text is UTF-8; a copy is made, so nothing is kept.
    pub unsafe fn string(self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

#[repr(C)]
pub struct cm_host {
    pub size: u32,
    pub abi_version: u32,
    pub this: cm_handle,
    pub get: unsafe extern "C" fn(cm_handle, *const c_char) -> *const c_void,
    pub set_error: unsafe extern "C" fn(cm_handle, View),
    pub complete: unsafe extern "C" fn(cm_handle, cm_handle, cm_status, View) -> cm_status,
}
#[repr(C)]
pub struct cm_instance_table_v1 {
    pub size: u32,
    pub reserved: u32,
    pub configure: unsafe extern "C" fn(User) -> cm_status,
    pub start: unsafe extern "C" fn(User, cm_handle) -> cm_status,
    pub drain: unsafe extern "C" fn(User, cm_handle, u64) -> cm_status,
    pub stop: unsafe extern "C" fn(User),
    pub destroy: unsafe extern "C" fn(User),
    pub get_extension: unsafe extern "C" fn(User, *const c_char) -> *const c_void,
    pub reload_prepare: Option<unsafe extern "C" fn(User) -> cm_status>,
    pub reload_finish: Option<unsafe extern "C" fn(User, bool)>,
}
#[repr(C)]
pub struct cm_factory_v1 {
    pub size: u32,
    pub reserved: u32,
    pub create: unsafe extern "C" fn(*const cm_host, *mut User, *mut *const cm_instance_table_v1) -> cm_status,
}
#[repr(C)]
pub struct cm_plugin_entry_v1 {
    pub magic: u64,
    pub size: u32,
    pub abi_min: u32,
    pub abi_built_with: u32,
    pub reserved: u32,
    pub init: unsafe extern "C" fn(*const u32, u32, *mut u32) -> cm_status,
    pub deinit: Option<unsafe extern "C" fn()>,
    pub get_factory: unsafe extern "C" fn(*const c_char) -> *const c_void,
}
// Constant tables of functions may be shared.
unsafe impl Sync for cm_plugin_entry_v1 {}
unsafe impl Sync for cm_factory_v1 {}
unsafe impl Sync for cm_instance_table_v1 {}

#[repr(C)]
pub struct cm_log_field {
    pub key: View,
    pub value: View,
}
#[repr(C)]
pub struct cm_log_v1 {
    pub size: u32,
    pub reserved: u32,
    pub write: unsafe extern "C" fn(cm_handle, u32, View, *const cm_log_field, u64),
    pub enabled: unsafe extern "C" fn(cm_handle, u32) -> bool,
}
#[repr(C)]
pub struct cm_loop_v1 {
    pub size: u32,
    pub reserved: u32,
    pub post: unsafe extern "C" fn(cm_handle, cm_handle, cm_callback, cm_callback, User) -> cm_status,
    pub on_loop: unsafe extern "C" fn(cm_handle) -> bool,
}
#[repr(C)]
pub struct cm_timer_v1 {
    pub size: u32,
    pub reserved: u32,
    pub start: unsafe extern "C" fn(cm_handle, u64, u64, cm_callback, User, *mut cm_handle) -> cm_status,
    pub cancel: unsafe extern "C" fn(cm_handle, cm_handle) -> cm_status,
}
#[repr(C)]
pub struct cm_clock_v1 {
    pub size: u32,
    pub reserved: u32,
    pub monotonic_us: unsafe extern "C" fn(cm_handle) -> u64,
    pub unix_ms: unsafe extern "C" fn(cm_handle) -> i64,
}
#[repr(C)]
pub struct cm_metrics_v1 {
    pub size: u32,
    pub reserved: u32,
    pub define: unsafe extern "C" fn(cm_handle, u32, View, View, View, *mut u32) -> cm_status,
    pub add: unsafe extern "C" fn(cm_handle, u32, i64),
    pub set: unsafe extern "C" fn(cm_handle, u32, i64),
    pub observe: unsafe extern "C" fn(cm_handle, u32, u64),
}
#[repr(C)]
pub struct cm_config_v1 {
    pub size: u32,
    pub reserved: u32,
    pub instance_name: unsafe extern "C" fn(cm_handle) -> View,
    pub get_bool: unsafe extern "C" fn(cm_handle, u32, View, *mut bool) -> cm_status,
    pub get_int: unsafe extern "C" fn(cm_handle, u32, View, *mut i64) -> cm_status,
    pub get_float: unsafe extern "C" fn(cm_handle, u32, View, *mut f64) -> cm_status,
    pub get_text: unsafe extern "C" fn(cm_handle, u32, View, *mut View) -> cm_status,
    pub list_size: unsafe extern "C" fn(cm_handle, u32, View, *mut u64) -> cm_status,
    pub list_text: unsafe extern "C" fn(cm_handle, u32, View, u64, *mut View) -> cm_status,
}
#[repr(C)]
pub struct cm_extension {
    pub instance: User,
    pub table: *const c_void,
    pub provider: cm_handle,
    pub reference: cm_handle,
}
#[repr(C)]
pub struct cm_registry_v1 {
    pub size: u32,
    pub reserved: u32,
    pub acquire: unsafe extern "C" fn(cm_handle, View, View, cm_callback, User, *mut cm_extension) -> cm_status,
    pub release: unsafe extern "C" fn(cm_handle, cm_handle),
}

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

#[repr(C)]
pub struct cm_peer_message {
    pub size: u32,
    pub priority: u32,
    pub mesh: View,
    pub to: View,
    pub text: View,
    pub client_message_id: View,
}
pub type cm_peer_sent = Option<unsafe extern "C" fn(User, u32, View)>;
pub type cm_peer_event = Option<unsafe extern "C" fn(User, View, View)>;
#[repr(C)]
pub struct cm_peer_v1 {
    pub size: u32,
    pub reserved: u32,
    pub send: unsafe extern "C" fn(User, *const cm_peer_message, cm_peer_sent, User) -> cm_status,
    pub subscribe: unsafe extern "C" fn(User, cm_peer_event, User, *mut cm_handle) -> cm_status,
    pub unsubscribe: unsafe extern "C" fn(User, cm_handle),
}

#[repr(C)]
pub struct cm_hook_event {
    pub size: u32,
    pub reserved: u32,
    pub ticket: cm_handle,
    pub point: View,
    pub json: View,
    pub payload: View,
}
#[repr(C)]
pub struct cm_hook_reply {
    pub size: u32,
    pub reserved: u32,
    pub context: User,
    pub set_payload: unsafe extern "C" fn(User, cm_handle, View),
    pub finish: unsafe extern "C" fn(User, cm_handle, u32, View) -> cm_status,
}
#[repr(C)]
pub struct cm_hook_v1 {
    pub size: u32,
    pub kind: u32,
    pub order: i32,
    pub timeout_ms: u32,
    pub invoke: unsafe extern "C" fn(User, *const cm_hook_event, *const cm_hook_reply) -> u32,
}

#[repr(C)]
pub struct cm_bridge_status {
    pub size: u32,
    pub state: u32,
    pub mark: View,
    pub detail: View,
    /// mappings, to_mesh, to_remote, dropped unmapped, echo, duplicate, loop, filtered, failed, waiting
    pub counts: [u64; 10],
}
#[repr(C)]
pub struct cm_bridge_mapping {
    pub size: u32,
    pub directions: u32,
    pub id: View,
    pub remote: View,
    pub mesh: View,
    pub target: View,
    pub options_json: View,
}
#[repr(C)]
pub struct cm_bridge_message {
    pub size: u32,
    pub flags: u32,
    pub channel: View,
    pub mesh: View,
    pub message_id: View,
    pub author_id: View,
    pub author_name: View,
    pub text: View,
    pub trail: View,
    pub reply_to: View,
    pub unix_ms: i64,
}
#[repr(C)]
pub struct cm_bridge_crossing {
    pub size: u32,
    pub outcome: u32,
    pub direction: u32,
    pub flags: u32,
    pub mapping_id: View,
    pub message_id: View,
    pub reason: View,
    pub channel: View,
    pub mesh: View,
    pub author_name: View,
    pub text: View,
    pub trail: View,
    pub new_id: View,
}
pub type cm_bridge_mapping_row = Option<unsafe extern "C" fn(User, *const cm_bridge_mapping)>;
pub type cm_bridge_crossed = Option<unsafe extern "C" fn(User, *const cm_bridge_crossing)>;
#[repr(C)]
pub struct cm_bridge_v1 {
    pub size: u32,
    pub reserved: u32,
    pub network: unsafe extern "C" fn(User) -> View,
    pub status: unsafe extern "C" fn(User, *mut cm_bridge_status) -> cm_status,
    pub mappings: unsafe extern "C" fn(User, cm_bridge_mapping_row, User) -> cm_status,
    pub map: unsafe extern "C" fn(User, *const cm_bridge_mapping) -> cm_status,
    pub unmap: unsafe extern "C" fn(User, View) -> cm_status,
    pub deliver_remote: unsafe extern "C" fn(User, *const cm_bridge_message, cm_bridge_crossed, User) -> cm_status,
    pub deliver_mesh: unsafe extern "C" fn(User, *const cm_bridge_message, cm_bridge_crossed, User) -> cm_status,
    pub observe: unsafe extern "C" fn(User, cm_bridge_crossed, User, *mut cm_handle) -> cm_status,
    pub unobserve: unsafe extern "C" fn(User, cm_handle),
}
unsafe impl Sync for cm_bridge_v1 {}

#[repr(C)]
pub struct cm_worker_v1 {
    pub size: u32,
    pub reserved: u32,
    pub create_queue: unsafe extern "C" fn(cm_handle, View, *mut cm_handle) -> cm_status,
    pub close_queue: unsafe extern "C" fn(cm_handle, cm_handle) -> cm_status,
    pub submit: unsafe extern "C" fn(cm_handle, cm_handle, cm_callback, User) -> cm_status,
}

#[repr(C)]
pub struct cm_link_identity {
    pub size: u32,
    pub kind: u32,
    pub url: View,
    pub mesh_id: View,
    pub member_id: View,
    pub member_pubkey: View,
    pub session_pubkey: View,
    pub session_id: View,
    pub display_name: View,
    pub cwd: View,
    pub role: View,
    pub groups_json: View,
    pub features_json: View,
    pub pid: i64,
}
#[repr(C)]
pub struct cm_outbound {
    pub size: u32,
    pub priority: u32,
    pub client_message_id: View,
    pub request_fingerprint: View,
    pub target: View,
    pub nonce: View,
    pub ciphertext: View,
    pub reply_to_id: View,
}
#[repr(C)]
pub struct cm_send_result {
    pub size: u32,
    pub outcome: u32,
    pub client_message_id: View,
    pub message_id: View,
    pub code: View,
    pub error: View,
    pub retry_after_ms: u64,
}
#[repr(C)]
pub struct cm_inbound {
    pub size: u32,
    pub priority: u32,
    pub message_id: View,
    pub client_message_id: View,
    pub sender_pubkey: View,
    pub sender_member_pubkey: View,
    pub sender_name: View,
    pub topic: View,
    pub reply_to_id: View,
    pub subtype: View,
    pub nonce: View,
    pub ciphertext: View,
    pub created_at: View,
    pub event: View,
    pub event_json: View,
    pub target: View,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cm_link_callbacks {
    pub size: u32,
    pub reserved: u32,
    pub state: unsafe extern "C" fn(User, cm_handle, u32, View),
    pub inbound: unsafe extern "C" fn(User, cm_handle, *const cm_inbound, u64),
    pub sent: unsafe extern "C" fn(User, cm_handle, *const cm_send_result, u64),
    pub sign: Option<unsafe extern "C" fn(User, cm_handle, u32, View, *mut u8) -> cm_status>,
}
pub type cm_reply_callback = Option<unsafe extern "C" fn(User, cm_status, View)>;
#[repr(C)]
pub struct cm_transport_v1 {
    pub size: u32,
    pub reserved: u32,
    pub name: unsafe extern "C" fn(User) -> View,
    pub open: unsafe extern "C" fn(User, *const cm_link_identity, *const cm_link_callbacks, User, *mut cm_handle) -> cm_status,
    pub close: unsafe extern "C" fn(User, cm_handle),
    pub send: unsafe extern "C" fn(User, cm_handle, *const cm_outbound, u64, *mut u64) -> cm_status,
    pub acknowledge: unsafe extern "C" fn(User, cm_handle, View, View) -> cm_status,
    pub request: unsafe extern "C" fn(User, cm_handle, View, u64, cm_reply_callback, User) -> cm_status,
}
unsafe impl Sync for cm_transport_v1 {}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cm_value {
    pub kind: u32,
    pub reserved: u32,
    pub integer: i64,
    pub real: f64,
    pub data: View,
}
pub type cm_row_callback = Option<unsafe extern "C" fn(User, *const cm_value, u32) -> bool>;
#[repr(C)]
pub struct cm_storage_sql_v1 {
    pub size: u32,
    pub reserved: u32,
    pub execute: unsafe extern "C" fn(User, u32, *const cm_value, u32, *mut u64) -> cm_status,
    pub query: unsafe extern "C" fn(User, u32, *const cm_value, u32, cm_row_callback, User) -> cm_status,
    pub last_error: unsafe extern "C" fn(User) -> View,
}
unsafe impl Sync for cm_storage_sql_v1 {}
pub type cm_storage_work = unsafe extern "C" fn(User, User, *const cm_storage_sql_v1) -> cm_status;
pub type cm_storage_done = unsafe extern "C" fn(User, cm_status, View);
#[repr(C)]
pub struct cm_migration {
    pub number: u32,
    pub reserved: u32,
    pub name: View,
    pub sql: View,
}
#[repr(C)]
pub struct cm_storage_v1 {
    pub size: u32,
    pub reserved: u32,
    pub statement: unsafe extern "C" fn(User, View, *mut u32) -> cm_status,
    pub migrate: unsafe extern "C" fn(User, cm_handle, View, *const cm_migration, u32, cm_storage_done, User) -> cm_status,
    pub submit: unsafe extern "C" fn(User, cm_handle, cm_storage_work, cm_storage_done, User) -> cm_status,
    pub read: unsafe extern "C" fn(User, cm_handle, cm_storage_work, cm_storage_done, User) -> cm_status,
    pub backup: unsafe extern "C" fn(User, cm_handle, View, cm_storage_done, User) -> cm_status,
    pub dialect: unsafe extern "C" fn(User, View) -> View,
}
unsafe impl Sync for cm_storage_v1 {}

macro_rules! layout {
    ($($type:ty = $size:expr),* $(,)?) => { $(const _: () = assert!(std::mem::size_of::<$type>() == $size);)* };
}
layout! {
    View = 16, cm_host = 40, cm_instance_table_v1 = 72, cm_factory_v1 = 16, cm_plugin_entry_v1 = 48, cm_log_field = 32,
    cm_log_v1 = 24, cm_loop_v1 = 24, cm_timer_v1 = 24, cm_clock_v1 = 24, cm_metrics_v1 = 40, cm_config_v1 = 64, cm_extension = 32,
    cm_registry_v1 = 24, cm_http_header = 32, cm_http_listen_options = 96, cm_http_request_info = 128,
    cm_http_server_v1 = 104, cm_http_call = 96, cm_http_result = 64, cm_http_client_v1 = 24, cm_peer_message = 72,
    cm_peer_v1 = 32, cm_hook_event = 64, cm_hook_reply = 32, cm_hook_v1 = 24, cm_bridge_status = 120,
    cm_bridge_mapping = 88, cm_bridge_message = 144, cm_bridge_crossing = 160, cm_bridge_v1 = 80,
    cm_worker_v1 = 32, cm_link_identity = 192, cm_outbound = 104, cm_send_result = 80, cm_inbound = 232, cm_link_callbacks = 40,
    cm_transport_v1 = 56, cm_value = 40, cm_storage_sql_v1 = 32, cm_migration = 40, cm_storage_v1 = 56,
}
