//! The life of an instance as the host drives it, and the entry that the library exports.
use crate::ffi::*;
use crate::host::{caught, Host};
use crate::{Error, Plugin};
use std::ffi::{c_void, CStr};
use std::os::raw::c_char;

/// What stands behind the host's pointer to an instance.
#[doc(hidden)]
pub struct Instance<P> {
    pub host: Host,
    pub plugin: P,
    pub(crate) life: Life,
}
/// The last step that was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    Created,
    Configured,
    Started,
}
/// The plugin behind the first argument of a function of one of its tables; for tables that this crate does not write.
///
/// # Safety
/// `raw` must come from the host, as that argument; the answer must not outlive the call.
pub unsafe fn plugin_of<'a, P: Plugin>(raw: User) -> &'a mut P {
    &mut instance::<P>(raw).plugin
}
/// # Safety
/// `raw` must come from the host, as the first argument of a function of one of P's tables.
pub(crate) unsafe fn instance<'a, P>(raw: User) -> &'a mut Instance<P> {
    &mut *raw.cast::<Instance<P>>()
}
unsafe fn step<P: Plugin>(raw: User, function: impl FnOnce(&mut P) -> Result<(), Error>) -> cm_status {
    let instance = instance::<P>(raw);
    let plugin = &mut instance.plugin;
    match caught(instance.host, Err(Error::new(CM_INTERNAL, "the step panicked")), || function(plugin)) {
        Ok(()) => CM_OK,
        Err(error) => {
            instance.host.set_error(&error.message);
            error.status
        }
    }
}
// Refuses a step that comes too early or twice.
unsafe fn step_after<P: Plugin>(
    raw: User,
    before: Life,
    function: impl FnOnce(&mut P) -> Result<(), Error>,
) -> cm_status {
    let instance = instance::<P>(raw);
    if instance.life == before {
        return step::<P>(raw, function);
    }
    let text = "a host creates, configures, starts and drains an instance in this order";
    instance.host.set_error(&format!("found an instance that is {:?}; expected {:?}: {}", instance.life, before, text));
    CM_INVALID
}
unsafe extern "C" fn configure<P: Plugin>(raw: User) -> cm_status {
    let status = step_after::<P>(raw, Life::Created, P::configure);
    if status == CM_OK {
        instance::<P>(raw).life = Life::Configured;
    }
    status
}
unsafe extern "C" fn start<P: Plugin>(raw: User, _ticket: cm_handle) -> cm_status {
    let status = step_after::<P>(raw, Life::Configured, P::start);
    if status == CM_OK {
        instance::<P>(raw).life = Life::Started;
    }
    status
}
unsafe extern "C" fn drain<P: Plugin>(raw: User, _ticket: cm_handle, deadline_ms: u64) -> cm_status {
    step_after::<P>(raw, Life::Started, |plugin| plugin.drain(deadline_ms))
}
unsafe extern "C" fn stop<P: Plugin>(raw: User) {
    let instance = instance::<P>(raw);
    let plugin = &mut instance.plugin;
    caught(instance.host, (), || plugin.stop());
}
unsafe extern "C" fn destroy<P: Plugin>(raw: User) {
    let host = instance::<P>(raw).host;
    caught(host, (), || drop(Box::from_raw(raw.cast::<Instance<P>>())));
}
unsafe extern "C" fn get_extension<P: Plugin>(raw: User, id: *const c_char) -> *const c_void {
    let instance = instance::<P>(raw);
    let id = CStr::from_ptr(id).to_string_lossy().into_owned();
    let plugin = &mut instance.plugin;
    caught(instance.host, std::ptr::null(), || plugin.extension(&id))
}
unsafe extern "C" fn reload_prepare<P: Plugin>(raw: User) -> cm_status {
    step::<P>(raw, P::reload_prepare)
}
unsafe extern "C" fn reload_finish<P: Plugin>(raw: User, commit: bool) {
    let instance = instance::<P>(raw);
    let plugin = &mut instance.plugin;
    caught(instance.host, (), || plugin.reload_finish(commit));
}
struct Tables<P>(std::marker::PhantomData<P>);
impl<P: Plugin> Tables<P> {
    const TABLE: &'static cm_instance_table_v1 = &cm_instance_table_v1 {
        size: std::mem::size_of::<cm_instance_table_v1>() as u32,
        reserved: 0,
        configure: configure::<P>,
        start: start::<P>,
        drain: drain::<P>,
        stop: stop::<P>,
        destroy: destroy::<P>,
        get_extension: get_extension::<P>,
        reload_prepare: Some(reload_prepare::<P>),
        reload_finish: Some(reload_finish::<P>),
    };
    const FACTORY: &'static cm_factory_v1 =
        &cm_factory_v1 { size: std::mem::size_of::<cm_factory_v1>() as u32, reserved: 0, create: create::<P> };
}
unsafe extern "C" fn create<P: Plugin>(
    host: *const cm_host,
    out_instance: *mut User,
    out_table: *mut *const cm_instance_table_v1,
) -> cm_status {
    let host = Host::new(host);
    match caught(host, None, || Some(Box::new(Instance { host, plugin: P::create(host), life: Life::Created }))) {
        Some(instance) => {
            *out_instance = Box::into_raw(instance).cast();
            *out_table = Tables::<P>::TABLE;
            CM_OK
        }
        None => CM_INTERNAL,
    }
}
unsafe extern "C" fn init(offered: *const u32, count: u32, out_picked: *mut u32) -> cm_status {
    // A slice is never made of a null pointer, not even an empty one.
    let offered = if count == 0 { &[] } else { std::slice::from_raw_parts(offered, count as usize) };
    match offered.iter().filter(|&&version| version >> 16 == CM_ABI_VERSION_1_0 >> 16).max() {
        Some(&version) => {
            *out_picked = version;
            CM_OK
        }
        None => CM_UNSUPPORTED,
    }
}
unsafe extern "C" fn get_factory<P: Plugin>(id: *const c_char) -> *const c_void {
    if CStr::from_ptr(id).to_bytes() == b"cm.factory/1" {
        (Tables::<P>::FACTORY as *const cm_factory_v1).cast()
    } else {
        std::ptr::null()
    }
}
#[doc(hidden)]
pub const fn entry<P: Plugin>() -> cm_plugin_entry_v1 {
    cm_plugin_entry_v1 {
        magic: CM_PLUGIN_MAGIC,
        size: std::mem::size_of::<cm_plugin_entry_v1>() as u32,
        abi_min: CM_ABI_VERSION_1_0,
        abi_built_with: CM_ABI_VERSION_1_0,
        reserved: 0,
        init,
        deinit: None,
        get_factory: get_factory::<P>,
    }
}
