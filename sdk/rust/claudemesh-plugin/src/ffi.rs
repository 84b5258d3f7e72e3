//! The tables of the C headers, field by field (include/claudemesh).
#![allow(non_camel_case_types)]
use std::ffi::c_void;
use std::os::raw::c_char;

// Sizes are held here, at every build; offsets of all members by the test `rust_layout` of the project.
macro_rules! layout {
    ($($type:ty = $size:expr),* $(,)?) => { $(const _: () = assert!(std::mem::size_of::<$type>() == $size);)* };
}
mod extensions;
mod network;
pub use extensions::*;
pub use network::*;

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
pub const CM_LOG_PLUGIN_MISBEHAVING: u32 = 7;
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
pub struct cm_worker_v1 {
    pub size: u32,
    pub reserved: u32,
    pub create_queue: unsafe extern "C" fn(cm_handle, View, *mut cm_handle) -> cm_status,
    pub close_queue: unsafe extern "C" fn(cm_handle, cm_handle) -> cm_status,
    pub submit: unsafe extern "C" fn(cm_handle, cm_handle, cm_callback, User) -> cm_status,
}

layout! {
    View = 16, cm_host = 40, cm_instance_table_v1 = 72, cm_factory_v1 = 16, cm_plugin_entry_v1 = 48,
    cm_log_field = 32, cm_log_v1 = 24, cm_loop_v1 = 24, cm_timer_v1 = 24, cm_clock_v1 = 24, cm_metrics_v1 = 40,
    cm_config_v1 = 64, cm_extension = 32, cm_registry_v1 = 24, cm_worker_v1 = 32,
}
