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
//! Everything is called on the instance's loop, one call at a time, and nothing here may be used on another thread (the types
//! are not `Send`). State that callbacks share lives in an `Rc<RefCell<...>>`. A panic ends at the boundary: a step answers
//! CM_INTERNAL with its text, a callback is logged and dropped, a guard hook refuses.
pub mod bridge;
pub mod ffi;
pub mod json;

use ffi::*;
use std::ffi::{c_void, CStr, CString};
use std::os::raw::c_char;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::rc::Rc;

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
    /// Whether the new options (`Which::Candidate`) could be used. The default accepts those that `configure` will read later.
    fn reload_prepare(&mut self) -> Result<(), Error> {
        Ok(())
    }
    fn reload_finish(&mut self, _commit: bool) {}
}

/// The host, as one instance sees it. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Host {
    raw: *const cm_host,
}
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Which {
    Active = 0,
    Candidate = 1,
}

fn caught<R>(host: Host, otherwise: R, function: impl FnOnce() -> R) -> R {
    match catch_unwind(AssertUnwindSafe(function)) {
        Ok(answer) => answer,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            host.log(Level::Error, &format!("a panic ended at the plugin's boundary: {text}"));
            host.set_error(&text);
            otherwise
        }
    }
}

impl Host {
    /// cm_host.self: the first argument of the host's tables.
    pub fn this(&self) -> cm_handle {
        unsafe { (*self.raw).this }
    }
    /// A table by id, or None: not in the manifest's `requires`, not granted, not offered, or of an older host and shorter.
    ///
    /// # Safety
    /// `T` must be the type of that table.
    pub unsafe fn table<T>(&self, id: &str) -> Option<&'static T> {
        let id = CString::new(id).ok()?;
        let table = ((*self.raw).get)(self.this(), id.as_ptr());
        // Every table begins with its size.
        let whole = !table.is_null() && *table.cast::<u32>() as usize >= std::mem::size_of::<T>();
        if whole { table.cast::<T>().as_ref() } else { None }
    }
    /// The same, or an error that says what to do.
    ///
    /// # Safety
    /// `T` must be the type of that table.
    pub unsafe fn required<T>(&self, id: &str) -> Result<&'static T, Error> {
        self.need(id)
    }
    fn need<T>(&self, id: &str) -> Result<&'static T, Error> {
        let missing = || Error::new(CM_DENIED, format!("the table {id} was not granted; name it in `requires` and `permissions`"));
        unsafe { self.table(id) }.ok_or_else(missing)
    }
    pub fn set_error(&self, text: &str) {
        unsafe { ((*self.raw).set_error)(self.this(), View::text(text)) }
    }
    pub fn log(&self, level: Level, message: &str) {
        if let Some(log) = unsafe { self.table::<cm_log_v1>("cm.log/1") } {
            unsafe { (log.write)(self.this(), level as u32, View::text(message), std::ptr::null(), 0) }
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
                if unsafe { (config.list_text)(self.this(), which as u32, View::text(name), index, &mut value) } == CM_OK {
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

    /// Runs the function on this instance's loop, after what runs now. Dropped without a call if the instance is stopped before.
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
        let status = unsafe { (table.start)(self.this(), delay_ms * 1000, 0, Some(timer_fired), slot.cast(), &mut handle) };
        let timer = Timer { host: *self, table, handle, slot };
        if status == CM_OK {
            Ok(timer)
        } else {
            Err(Error::new(status, "the host started no timer"))
        }
    }

    /// Sends one HTTP request; `done` is called once, unless the instance is stopped before.
    pub fn http_send(&self, method: &str, url: &str, body: &str, done: impl FnOnce(Result<(u32, String), Error>) + 'static) {
        let table = match self.need::<cm_http_client_v1>("cm.http.client/1") {
            Ok(table) => table,
            Err(error) => return done(Err(error)),
        };
        let kind = cm_http_header { name: View::text("content-type"), value: View::text("application/json") };
        let call = cm_http_call {
            size: std::mem::size_of::<cm_http_call>() as u32,
            retries: 0,
            method: View::text(method),
            url: View::text(url),
            headers: &kind,
            header_count: 1,
            body: View::text(body),
            connect_timeout_ms: 0,
            total_timeout_ms: 0,
            response_bytes_max: 0,
        };
        let slot: *mut HttpSlot = Box::into_raw(Box::new((*self, Box::new(done))));
        let mut handle = 0;
        let status = unsafe { (table.send)(self.this(), &call, Some(http_done), slot.cast(), &mut handle) };
        if status != CM_OK {
            let (_, done) = *unsafe { Box::from_raw(slot) };
            done(Err(Error::new(status, format!("the host refused the request to {url}"))));
        }
    }

    pub fn listen(&self, address: &str) -> Result<Listener, Error> {
        let table = self.need::<cm_http_server_v1>("cm.http.server/1")?;
        let options = cm_http_listen_options {
            size: std::mem::size_of::<cm_http_listen_options>() as u32,
            unix_mode: 0,
            address: View::text(address),
            tls_cert_file: View::EMPTY,
            tls_key_file: View::EMPTY,
            limits: [0; 5],
        };
        let mut handle = 0;
        match unsafe { (table.listen)(self.this(), &options, &mut handle) } {
            CM_OK => Ok(Listener { host: *self, table, handle, routes: Vec::new() }),
            status => Err(Error::new(status, format!("cannot listen on {address}; the host's log says why"))),
        }
    }

    /// cm.peer/1 of the instance `name` (an option of type `plugin`), for sending and receiving on the mesh.
    pub fn peer(&self, name: &str) -> Result<Peer, Error> {
        let registry = self.need::<cm_registry_v1>("cm.registry/1")?;
        let gone = Box::new(std::cell::Cell::new(false));
        let mut extension = cm_extension { instance: std::ptr::null_mut(), table: std::ptr::null(), provider: 0, reference: 0 };
        let user = &*gone as *const std::cell::Cell<bool> as User;
        let status = unsafe {
            (registry.acquire)(self.this(), View::text(name), View::text("cm.peer/1"), Some(going_away), user, &mut extension)
        };
        if status != CM_OK {
            return Err(Error::new(status, format!("the plugin \"{name}\" offers no cm.peer/1")));
        }
        Ok(Peer { host: *self, registry, extension, gone, subscription: None })
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

type HttpSlot = (Host, Box<dyn FnOnce(Result<(u32, String), Error>)>);
unsafe extern "C" fn http_done(user: User, _call: cm_handle, result: *const cm_http_result) {
    let (host, done) = *Box::from_raw(user.cast::<HttpSlot>());
    let result = &*result;
    let answer = match result.status {
        CM_OK => Ok((result.http_status, result.body.string())),
        status => Err(Error::new(status, result.error.string())),
    };
    caught(host, (), || done(answer));
}

type Handler = Rc<dyn Fn(Request)>;
/// A request that waits for its answer.
pub struct Request {
    host: Host,
    table: &'static cm_http_server_v1,
    handle: cm_handle,
    pub body: String,
}
impl Request {
    pub fn respond_json(self, status: u32, json: &str) {
        let kind = cm_http_header { name: View::text("content-type"), value: View::text("application/json") };
        unsafe { (self.table.respond)(self.host.this(), self.handle, status, &kind, 1, View::text(json)) };
    }
}
struct Route {
    host: Host,
    table: &'static cm_http_server_v1,
    handler: Handler,
}
/// Closes when dropped.
pub struct Listener {
    host: Host,
    table: &'static cm_http_server_v1,
    handle: cm_handle,
    routes: Vec<Box<Route>>,
}
impl Listener {
    pub fn route(&mut self, method: &str, pattern: &str, handler: impl Fn(Request) + 'static) {
        self.routes.push(Box::new(Route { host: self.host, table: self.table, handler: Rc::new(handler) }));
        let user = &**self.routes.last().expect("just pushed") as *const Route as User;
        let handler = Some(request_came as unsafe extern "C" fn(User, cm_handle, *const cm_http_request_info));
        unsafe { (self.table.route)(self.host.this(), self.handle, View::text(method), View::text(pattern), handler, user) };
    }
    pub fn local_address(&self) -> String {
        let mut address = View::EMPTY;
        unsafe {
            (self.table.local_address)(self.host.this(), self.handle, &mut address);
            address.string()
        }
    }
}
impl Drop for Listener {
    fn drop(&mut self) {
        unsafe { (self.table.close)(self.host.this(), self.handle) };
    }
}
unsafe extern "C" fn request_came(user: User, handle: cm_handle, info: *const cm_http_request_info) {
    let route = &*user.cast::<Route>();
    let handler = route.handler.clone(); // the handler may close the listener
    let request = Request { host: route.host, table: route.table, handle, body: (*info).body.string() };
    caught(route.host, (), || handler(request));
}

unsafe extern "C" fn going_away(user: User) {
    (*user.cast::<std::cell::Cell<bool>>()).set(true);
}
type SentSlot = (Host, Box<dyn FnOnce(u32, String)>);
unsafe extern "C" fn peer_sent(user: User, http_status: u32, json: View) {
    let (host, done) = *Box::from_raw(user.cast::<SentSlot>());
    let json = json.string();
    caught(host, (), || done(http_status, json));
}
type EventSlot = (Host, Box<dyn Fn(&str, &str)>);
unsafe extern "C" fn peer_event(user: User, kind: View, json: View) {
    let (host, function) = &*user.cast::<EventSlot>();
    let (kind, json) = (kind.string(), json.string());
    caught(*host, (), || function(&kind, &json));
}
/// A local identity of the daemon. Released when dropped.
pub struct Peer {
    host: Host,
    registry: &'static cm_registry_v1,
    extension: cm_extension,
    gone: Box<std::cell::Cell<bool>>,
    subscription: Option<(cm_handle, Box<EventSlot>)>,
}
impl Peer {
    fn table(&self) -> &cm_peer_v1 {
        unsafe { &*self.extension.table.cast::<cm_peer_v1>() }
    }
    /// `done(202, ...)`: durable in the outbox. An idempotency key makes a repetition harmless.
    pub fn send(&self, mesh: &str, to: &str, text: &str, key: &str, done: impl FnOnce(u32, String) + 'static) {
        if self.gone.get() {
            return done(0, String::from("the daemon is going away"));
        }
        let message = cm_peer_message {
            size: std::mem::size_of::<cm_peer_message>() as u32,
            priority: 2,
            mesh: View::text(mesh),
            to: View::text(to),
            text: View::text(text),
            client_message_id: View::text(key),
        };
        let slot: *mut SentSlot = Box::into_raw(Box::new((self.host, Box::new(done))));
        let status = unsafe { (self.table().send)(self.extension.instance, &message, Some(peer_sent), slot.cast()) };
        if status != CM_OK {
            let (_, done) = *unsafe { Box::from_raw(slot) };
            done(0, format!("the daemon answered the status {status}"));
        }
    }
    /// Replaces an earlier subscription. Do not call it from inside its own function.
    pub fn subscribe(&mut self, function: impl Fn(&str, &str) + 'static) -> Result<(), Error> {
        self.unsubscribe();
        let slot: Box<EventSlot> = Box::new((self.host, Box::new(function)));
        let user = &*slot as *const EventSlot as User;
        let mut handle = 0;
        match unsafe { (self.table().subscribe)(self.extension.instance, Some(peer_event), user, &mut handle) } {
            CM_OK => {
                self.subscription = Some((handle, slot));
                Ok(())
            }
            status => Err(Error::new(status, "the daemon gave no subscription")),
        }
    }
    fn unsubscribe(&mut self) {
        if let Some((handle, _slot)) = self.subscription.take() {
            if !self.gone.get() {
                unsafe { (self.table().unsubscribe)(self.extension.instance, handle) };
            }
        }
    }
}
impl Drop for Peer {
    fn drop(&mut self) {
        self.unsubscribe();
        unsafe { (self.registry.release)(self.host.this(), self.extension.reference) };
    }
}

/// What a hook answers.
pub enum Decision {
    Continue,
    Deny(String),
    Replace(Vec<u8>),
}
/// A plugin that offers cm.hook/1: keep a `HookTable` and give `table.raw()` for "cm.hook/1".
pub trait Hook: Plugin {
    fn decide(&mut self, point: &str, facts_json: &str, payload: &[u8]) -> Decision;
}
pub struct HookTable(Box<cm_hook_v1>);
impl HookTable {
    pub fn new<P: Hook>(guard: bool, order: i32) -> HookTable {
        let size = std::mem::size_of::<cm_hook_v1>() as u32;
        HookTable(Box::new(cm_hook_v1 { size, kind: guard as u32, order, timeout_ms: 0, invoke: hook_invoke::<P> }))
    }
    pub fn raw(&self) -> *const c_void {
        (&*self.0 as *const cm_hook_v1).cast()
    }
}
unsafe extern "C" fn hook_invoke<P: Hook>(instance: User, event: *const cm_hook_event, reply: *const cm_hook_reply) -> u32 {
    let instance = &mut *instance.cast::<Instance<P>>();
    let (event, reply) = (&*event, &*reply);
    let point = event.point.string();
    let facts = event.json.string();
    let refusal = Decision::Deny(String::from("the hook failed; its log says why"));
    let plugin = &mut instance.plugin;
    match caught(instance.host, refusal, || plugin.decide(&point, &facts, event.payload.bytes())) {
        Decision::Continue => 0,
        Decision::Deny(text) => {
            (reply.set_payload)(reply.context, event.ticket, View::text(&text));
            2
        }
        Decision::Replace(payload) => {
            (reply.set_payload)(reply.context, event.ticket, View::of(&payload));
            3
        }
    }
}

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
unsafe fn step_after<P: Plugin>(raw: User, before: Life, function: impl FnOnce(&mut P) -> Result<(), Error>) -> cm_status {
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
    let host = Host { raw: host };
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
    let offered = std::slice::from_raw_parts(offered, count as usize);
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
