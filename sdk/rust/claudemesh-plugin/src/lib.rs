//! Plugins of claudemesh in Rust, with nothing but the standard library.
//!
//! ```ignore
//! struct Hello { host: Host }
//! impl Plugin for Hello {
//!     fn create(host: Host) -> Self { Hello { host } }
//!     fn configure(&mut self) -> Result<(), Error> { Ok(()) }
//!     fn start(&mut self) -> Result<(), Error> { self.host.log(Level::Info, "hello"); Ok(()) }
//! }
//! claudemesh_plugin::plugin!(Hello);
//! ```
//!
//! Everything is called on the instance's loop, one call at a time, and nothing here may be used on another thread (the
//! types are not `Send`). State that callbacks share lives in an `Rc<RefCell<...>>`. A panic ends at the boundary and
//! is logged as misbehaviour: a step answers CM_INTERNAL with its text, an HTTP request gets 500, a guard hook refuses.
pub mod bridge;
pub mod ffi;
mod hook;
mod host;
mod http;
mod instance;
pub mod json;
mod peer;

pub use hook::{Decision, Hook, HookTable};
pub use host::{Counter, Host, Timer};
pub use http::{Listener, Request};
pub use instance::{entry, plugin_of, Instance};
pub use peer::Peer;

use ffi::*;
use std::ffi::c_void;

/// A failure: its class (CM_INVALID ...) and a text that says what was found, what was expected, what to do next.
#[derive(Debug, Clone)]
pub struct Error {
    pub status: cm_status,
    pub message: String,
}
impl Error {
    pub fn new(status: cm_status, message: impl Into<String>) -> Error {
        Error { status, message: message.into() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u32)]
pub enum Level {
    Trace = 0,
    Debug,
    Info,
    Warn,
    Error,
}

/// One configured use of the plugin, through its life: create, configure, start, drain, stop, drop.
pub trait Plugin: Sized + 'static {
    fn create(host: Host) -> Self;
    /// Reads options, defines metrics, acquires other plugins' extensions. Nothing runs yet.
    fn configure(&mut self) -> Result<(), Error>;
    fn start(&mut self) -> Result<(), Error>;
    fn drain(&mut self, _deadline_ms: u64) -> Result<(), Error> {
        Ok(())
    }
    /// Releases listeners, timers and extensions.
    fn stop(&mut self) {}
    /// A table that this plugin provides, like `bridge::table::<Self>()`; it must live as long as the plugin.
    fn extension(&mut self, _id: &str) -> *const c_void {
        std::ptr::null()
    }
    /// Whether the new options (`Which::Candidate`) could be used. The default accepts those that `configure` will read
    /// later.
    fn reload_prepare(&mut self) -> Result<(), Error> {
        Ok(())
    }
    fn reload_finish(&mut self, _commit: bool) {}
}
/// Which options are meant: those in force, or those of a reload that is being prepared.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Which {
    Active = 0,
    Candidate = 1,
}
/// Makes the library a plugin: the one exported symbol, and the manifest that build.rs compiled from plugin.toml.
#[macro_export]
macro_rules! plugin {
    ($type:ty) => {
        #[no_mangle]
        #[allow(non_upper_case_globals)]
        pub static cm_plugin_entry: $crate::ffi::cm_plugin_entry_v1 = $crate::entry::<$type>();
        include!(concat!(env!("OUT_DIR"), "/manifest.rs"));
    };
}
