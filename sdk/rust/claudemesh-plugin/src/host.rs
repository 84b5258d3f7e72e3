//! What the host gives to one instance: log, options, counters, posts and timers.
use crate::ffi::*;
use crate::{Error, Level, Which};
use std::ffi::CString;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// The host, as one instance sees it. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Host {
    raw: *const cm_host,
}
/// Stops a panic at the boundary: it is logged as misbehaviour, which the host counts, and its text is set.
pub(crate) fn caught<R>(host: Host, otherwise: R, function: impl FnOnce() -> R) -> R {
    match catch_unwind(AssertUnwindSafe(function)) {
        Ok(answer) => answer,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            host.write_line(CM_LOG_PLUGIN_MISBEHAVING, &format!("a panic ended at the plugin's boundary: {text}"));
            host.set_error(&text);
            otherwise
        }
    }
}

impl Host {
    pub(crate) fn new(raw: *const cm_host) -> Host {
        Host { raw }
    }
    /// cm_host.self: the first argument of the host's tables.
    pub fn this(&self) -> cm_handle {
        unsafe { (*self.raw).this }
    }
    /// A table by id, or None: not in the manifest's `requires`, not granted, not offered, or of an older host and
    /// shorter.
    ///
    /// # Safety
    /// `T` must be the type of that table.
    pub unsafe fn table<T>(&self, id: &str) -> Option<&'static T> {
        let id = CString::new(id).ok()?;
        let table = ((*self.raw).get)(self.this(), id.as_ptr());
        // Every table begins with its size.
        let whole = !table.is_null() && *table.cast::<u32>() as usize >= std::mem::size_of::<T>();
        if whole {
            table.cast::<T>().as_ref()
        } else {
            None
        }
    }
    /// The same, or an error that says what to do.
    ///
    /// # Safety
    /// `T` must be the type of that table.
    pub unsafe fn required<T>(&self, id: &str) -> Result<&'static T, Error> {
        self.need(id)
    }
    pub(crate) fn need<T>(&self, id: &str) -> Result<&'static T, Error> {
        let missing = || {
            Error::new(CM_DENIED, format!("the table {id} was not granted; name it in `requires` and `permissions`"))
        };
        unsafe { self.table(id) }.ok_or_else(missing)
    }
    pub fn set_error(&self, text: &str) {
        unsafe { ((*self.raw).set_error)(self.this(), View::text(text)) }
    }
    pub fn log(&self, level: Level, message: &str) {
        self.write_line(level as u32, message)
    }
    fn write_line(&self, level: u32, message: &str) {
        if let Some(log) = unsafe { self.table::<cm_log_v1>("cm.log/1") } {
            unsafe { (log.write)(self.this(), level, View::text(message), std::ptr::null(), 0) }
        }
    }
    pub fn unix_ms(&self) -> i64 {
        unsafe { self.table::<cm_clock_v1>("cm.clock/1").map_or(0, |clock| (clock.unix_ms)(self.this())) }
    }

    // --- options; asking for one that the manifest does not declare gives the default of the type ---
    pub fn option_text(&self, name: &str, which: Which) -> String {
        let mut value = View::EMPTY;
        unsafe {
            if let Some(config) = self.table::<cm_config_v1>("cm.config/1") {
                (config.get_text)(self.this(), which as u32, View::text(name), &mut value);
            }
            value.string()
        }
    }
    pub fn option_int(&self, name: &str, which: Which) -> i64 {
        let mut value = 0;
        if let Some(config) = unsafe { self.table::<cm_config_v1>("cm.config/1") } {
            unsafe { (config.get_int)(self.this(), which as u32, View::text(name), &mut value) };
        }
        value
    }
    pub fn option_list(&self, name: &str, which: Which) -> Vec<String> {
        let mut result = Vec::new();
        if let Some(config) = unsafe { self.table::<cm_config_v1>("cm.config/1") } {
            let mut size = 0;
            unsafe { (config.list_size)(self.this(), which as u32, View::text(name), &mut size) };
            for index in 0..size {
                let mut value = View::EMPTY;
                if unsafe { (config.list_text)(self.this(), which as u32, View::text(name), index, &mut value) }
                    == CM_OK
                {
                    result.push(unsafe { value.string() });
                }
            }
        }
        result
    }

    /// A counter; only while configuring. Does nothing when cm.metrics/1 was not granted.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let mut id = 0;
        let table = unsafe { self.table::<cm_metrics_v1>("cm.metrics/1") };
        let table = table.filter(|metrics| unsafe {
            (metrics.define)(self.this(), 1, View::text(name), View::EMPTY, View::text(help), &mut id) == CM_OK
        });
        Counter { host: *self, table, id }
    }

    /// Runs the function on this instance's loop, after what runs now. Dropped without a call if it is stopped
    /// before.
    pub fn post(&self, function: impl FnOnce() + 'static) {
        let table = match unsafe { self.table::<cm_loop_v1>("cm.loop/1") } {
            Some(table) => table,
            None => return,
        };
        let slot: *mut PostSlot = Box::into_raw(Box::new((*self, Box::new(function))));
        let status = unsafe { (table.post)(self.this(), self.this(), Some(post_run), Some(post_drop), slot.cast()) };
        if status != CM_OK {
            drop(unsafe { Box::from_raw(slot) });
        }
    }

    /// Calls the function once, `delay_ms` from now, unless the timer is dropped before.
    pub fn after_ms(&self, delay_ms: u64, function: impl FnOnce() + 'static) -> Result<Timer, Error> {
        let table = self.need::<cm_timer_v1>("cm.timer/1")?;
        let slot = Box::into_raw(Box::new(TimerSlot { host: *self, function: Some(Box::new(function)) }));
        let mut handle = 0;
        let status =
            unsafe { (table.start)(self.this(), delay_ms * 1000, 0, Some(timer_fired), slot.cast(), &mut handle) };
        let timer = Timer { host: *self, table, handle, slot };
        if status == CM_OK {
            Ok(timer)
        } else {
            Err(Error::new(status, "the host started no timer"))
        }
    }
}

/// A metric that was defined while configuring.
pub struct Counter {
    host: Host,
    table: Option<&'static cm_metrics_v1>,
    id: u32,
}
impl Counter {
    pub fn add(&self, amount: i64) {
        if let Some(table) = self.table {
            unsafe { (table.add)(self.host.this(), self.id, amount) }
        }
    }
}

type PostSlot = (Host, Box<dyn FnOnce()>);
unsafe extern "C" fn post_run(user: User) {
    let (host, function) = *Box::from_raw(user.cast::<PostSlot>());
    caught(host, (), function);
}
unsafe extern "C" fn post_drop(user: User) {
    drop(Box::from_raw(user.cast::<PostSlot>()));
}

struct TimerSlot {
    host: Host,
    function: Option<Box<dyn FnOnce()>>,
}
unsafe extern "C" fn timer_fired(user: User) {
    let slot = &mut *user.cast::<TimerSlot>();
    let host = slot.host;
    if let Some(function) = slot.function.take() {
        caught(host, (), function);
    }
}
/// Stops the timer when dropped. Do not drop it inside its own function; take it out and drop it later.
pub struct Timer {
    host: Host,
    table: &'static cm_timer_v1,
    handle: cm_handle,
    slot: *mut TimerSlot,
}
impl Drop for Timer {
    fn drop(&mut self) {
        unsafe {
            (self.table.cancel)(self.host.this(), self.handle);
            drop(Box::from_raw(self.slot));
        }
    }
}
