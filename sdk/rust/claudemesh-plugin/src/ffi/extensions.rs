//! What plugins offer to each other: peers, hooks, bridges, transports, storage.
use super::*;

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
    pub open: unsafe extern "C" fn(
        User,
        *const cm_link_identity,
        *const cm_link_callbacks,
        User,
        *mut cm_handle,
    ) -> cm_status,
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
    pub migrate:
        unsafe extern "C" fn(User, cm_handle, View, *const cm_migration, u32, cm_storage_done, User) -> cm_status,
    pub submit: unsafe extern "C" fn(User, cm_handle, cm_storage_work, cm_storage_done, User) -> cm_status,
    pub read: unsafe extern "C" fn(User, cm_handle, cm_storage_work, cm_storage_done, User) -> cm_status,
    pub backup: unsafe extern "C" fn(User, cm_handle, View, cm_storage_done, User) -> cm_status,
    pub dialect: unsafe extern "C" fn(User, View) -> View,
}
unsafe impl Sync for cm_storage_v1 {}

layout! {
    cm_peer_message = 72, cm_peer_v1 = 32, cm_hook_event = 64, cm_hook_reply = 32, cm_hook_v1 = 24,
    cm_bridge_status = 120, cm_bridge_mapping = 88, cm_bridge_message = 144, cm_bridge_crossing = 160,
    cm_bridge_v1 = 80, cm_link_identity = 192, cm_outbound = 104, cm_send_result = 80, cm_inbound = 232,
    cm_link_callbacks = 40, cm_transport_v1 = 56, cm_value = 40, cm_storage_sql_v1 = 32, cm_migration = 40,
    cm_storage_v1 = 56,
}
