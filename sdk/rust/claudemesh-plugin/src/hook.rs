//! Plugins that offer cm.hook/1.
use crate::ffi::*;
use crate::host::caught;
use crate::instance::Instance;
use crate::Plugin;
use std::ffi::c_void;

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
unsafe extern "C" fn hook_invoke<P: Hook>(
    instance: User,
    event: *const cm_hook_event,
    reply: *const cm_hook_reply,
) -> u32 {
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
