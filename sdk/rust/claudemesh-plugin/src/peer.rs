//! The mesh through a local identity of the daemon (cm.peer/1).
use crate::ffi::*;
use crate::host::{caught, Host};
use crate::Error;

impl Host {
    /// cm.peer/1 of the instance `name` (an option of type `plugin`), for sending and receiving on the mesh.
    pub fn peer(&self, name: &str) -> Result<Peer, Error> {
        let registry = self.need::<cm_registry_v1>("cm.registry/1")?;
        let gone = Box::new(std::cell::Cell::new(false));
        let mut extension =
            cm_extension { instance: std::ptr::null_mut(), table: std::ptr::null(), provider: 0, reference: 0 };
        let user = &*gone as *const std::cell::Cell<bool> as User;
        let status = unsafe {
            (registry.acquire)(
                self.this(),
                View::text(name),
                View::text("cm.peer/1"),
                Some(going_away),
                user,
                &mut extension,
            )
        };
        if status != CM_OK {
            return Err(Error::new(status, format!("the plugin \"{name}\" offers no cm.peer/1")));
        }
        Ok(Peer { host: *self, registry, extension, gone, subscription: None })
    }
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
