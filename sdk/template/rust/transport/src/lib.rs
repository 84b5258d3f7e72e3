//! {{name}}: carries sealed messages between two daemons by HTTP.
//!
//! Each message is one POST whose body is lines "name value". The other side answers 200 only when its daemon has stored
//! the message (acknowledge), so an accepted message is durable there; anything else is repeated by the sender's outbox.
use claudemesh_plugin::ffi::*;
use claudemesh_plugin::{plugin_of, Error, Host, Listener, Plugin, Request, Timer, Which};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::rc::Rc;

const WINDOW: u64 = 64; // messages on their way; the rest waits in the daemon's outbox
const WAITING_MAX: usize = 256; // messages that wait for the daemon to store them
const STORE_TIMEOUT_MS: u64 = 20_000; // then the sender is told to try again
const RETRY_MS: u64 = 1_000;
const LINK_OPEN: u32 = 2;
const SEND_ACCEPTED: u32 = 1;
const SEND_RETRY: u32 = 3;

/// What the daemon opened: one membership or session.
#[derive(Clone)]
struct Link {
    mesh_id: String,
    /// Who we are on the wire: the session key, or the member's.
    key: String,
    member: String,
    name: String,
    callbacks: cm_link_callbacks,
    user: User,
    in_flight: u64,
}
#[derive(Default)]
struct State {
    links: HashMap<cm_handle, Link>,
    last_link: cm_handle,
    /// Messages that came and are not stored yet; the timer ends when the entry is removed.
    waiting: HashMap<String, (Request, Option<Timer>)>,
}
struct {{Name}} {
    host: Host,
    state: Rc<RefCell<State>>,
    peer_url: String,
    listener: Option<Listener>,
}

/// No value of the wire protocol contains a line end.
fn write_fields(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| format!("{name} {value}\n")).collect()
}
fn field<'a>(body: &'a str, name: &str) -> &'a str {
    body.lines().filter_map(|line| line.split_once(' ')).find(|(found, _)| *found == name).map_or("", |(_, value)| value)
}

fn answer(state: &Rc<RefCell<State>>, id: &str, status: u32) {
    let waiting = state.borrow_mut().waiting.remove(id);
    if let Some((request, _timer)) = waiting {
        request.respond_json(status, "{}");
    }
}
fn came(host: Host, state: &Rc<RefCell<State>>, request: Request) {
    let body = request.body.clone();
    let get = |name| field(&body, name);
    let id = get("id").to_string();
    let found = state.borrow().links.iter().find_map(|(handle, link)| {
        let here = link.mesh_id == get("mesh") && (link.key == get("to") || link.member == get("to"));
        here.then(|| (*handle, link.clone()))
    });
    let (handle, link) = match found {
        Some(found) if !id.is_empty() && !get("ciphertext").is_empty() => found,
        _ => return request.respond_json(404, "{\"error\":\"no such recipient here\"}"),
    };
    let full = state.borrow().waiting.len() >= WAITING_MAX || state.borrow().waiting.contains_key(&id);
    let (late, late_id) = (state.clone(), id.clone());
    // The timer that runs cannot be dropped inside its own function, so the answer comes from a post.
    let timer = host.after_ms(STORE_TIMEOUT_MS, move || host.post(move || answer(&late, &late_id, 503)));
    let timer = match timer {
        Ok(timer) if !full => timer,
        _ => return request.respond_json(503, "{\"error\":\"too much waits to be stored, or this message does already\"}"),
    };
    state.borrow_mut().waiting.insert(id.clone(), (request, Some(timer)));
    let message = cm_inbound {
        size: std::mem::size_of::<cm_inbound>() as u32,
        priority: get("priority").parse().ok().filter(|priority| (1..=3).contains(priority)).unwrap_or(2),
        message_id: View::text(&id),
        client_message_id: View::text(&id),
        sender_pubkey: View::text(get("from")),
        sender_member_pubkey: View::text(get("member")),
        sender_name: View::text(get("name")),
        topic: View::EMPTY,
        reply_to_id: View::text(get("reply_to")),
        subtype: View::EMPTY,
        nonce: View::text(get("nonce")),
        ciphertext: View::text(get("ciphertext")),
        created_at: View::EMPTY,
        event: View::EMPTY,
        event_json: View::EMPTY,
        target: View::EMPTY,
    };
    unsafe { (link.callbacks.inbound)(link.user, handle, &message, 1) }
}
/// Tells what became of a message, unless its link was closed meanwhile.
fn sent(state: &Rc<RefCell<State>>, handle: cm_handle, id: &str, result: Result<(u32, String), Error>) {
    let link = match state.borrow_mut().links.get_mut(&handle) {
        Some(link) => {
            link.in_flight -= 1;
            link.clone()
        }
        None => return,
    };
    let (taken, error) = match result {
        Ok((200, _)) => (true, String::new()),
        Ok((_, body)) => (false, body),
        Err(error) => (false, error.message),
    };
    let told = cm_send_result {
        size: std::mem::size_of::<cm_send_result>() as u32,
        outcome: if taken { SEND_ACCEPTED } else { SEND_RETRY },
        client_message_id: View::text(id),
        message_id: View::text(id),
        code: View::text(if taken { "" } else { "closed" }),
        error: View::text(&error),
        retry_after_ms: RETRY_MS,
    };
    unsafe { (link.callbacks.sent)(link.user, handle, &told, 1) }
}

impl {{Name}} {
    fn send_one(&self, handle: cm_handle, link: &Link, message: &cm_outbound) {
        let text = |view: View| unsafe { view.string() };
        let id = text(message.client_message_id);
        let body = write_fields(&[
            ("mesh", &link.mesh_id),
            ("from", &link.key),
            ("member", &link.member),
            ("name", &link.name),
            ("to", &text(message.target)),
            ("id", &id),
            ("priority", &message.priority.to_string()),
            ("nonce", &text(message.nonce)),
            ("ciphertext", &text(message.ciphertext)),
            ("reply_to", &text(message.reply_to_id)),
        ]);
        let (host, state) = (self.host, self.state.clone());
        self.host.http_send("POST", &format!("{}/message", self.peer_url), &body, move |result| {
            // Later: a refused request is told from inside `send`.
            host.post(move || sent(&state, handle, &id, result));
        });
    }
}

impl Plugin for {{Name}} {
    fn create(host: Host) -> Self {
        {{Name}} { host, state: Rc::default(), peer_url: String::new(), listener: None }
    }
    fn configure(&mut self) -> Result<(), Error> {
        self.peer_url = self.host.option_text("peer_url", Which::Active);
        unsafe {
            self.host.required::<cm_loop_v1>("cm.loop/1")?;
            self.host.required::<cm_timer_v1>("cm.timer/1")?;
            self.host.required::<cm_http_client_v1>("cm.http.client/1")?;
        }
        Ok(())
    }
    fn start(&mut self) -> Result<(), Error> {
        let (host, state) = (self.host, self.state.clone());
        let mut listener = host.listen(&host.option_text("listen", Which::Active))?;
        listener.route("POST", "/message", move |request| came(host, &state, request));
        self.listener = Some(listener);
        Ok(())
    }
    fn stop(&mut self) {
        self.listener = None;
        let state = std::mem::take(&mut *self.state.borrow_mut());
        drop(state);
    }
    fn extension(&mut self, id: &str) -> *const c_void {
        if id == "cm.transport/1" {
            (&TABLE as *const cm_transport_v1).cast()
        } else {
            std::ptr::null()
        }
    }
}

// --- cm.transport/1; callbacks come later, never from inside these functions ---

unsafe extern "C" fn name(_: User) -> View {
    View::text("{{name}}")
}
unsafe extern "C" fn open(raw: User, identity: *const cm_link_identity, callbacks: *const cm_link_callbacks, user: User, out: *mut cm_handle) -> cm_status {
    let plugin = plugin_of::<{{Name}}>(raw);
    let (identity, callbacks) = (&*identity, *callbacks);
    let member = identity.member_pubkey.string();
    let session = identity.session_pubkey.string();
    let key = if session.is_empty() { member.clone() } else { session };
    let (mesh_id, name) = (identity.mesh_id.string(), identity.display_name.string());
    let mut state = plugin.state.borrow_mut();
    state.last_link += 1;
    let handle = state.last_link;
    state.links.insert(handle, Link { mesh_id, key, member, name, callbacks, user, in_flight: 0 });
    *out = handle;
    let later = plugin.state.clone();
    plugin.host.post(move || {
        let link = later.borrow().links.get(&handle).cloned();
        if let Some(link) = link {
            (link.callbacks.state)(link.user, handle, LINK_OPEN, View::text("{}"));
        }
    });
    CM_OK
}
unsafe extern "C" fn close(raw: User, link: cm_handle) {
    plugin_of::<{{Name}}>(raw).state.borrow_mut().links.remove(&link);
}
unsafe extern "C" fn send(raw: User, handle: cm_handle, messages: *const cm_outbound, count: u64, out_taken: *mut u64) -> cm_status {
    let plugin = plugin_of::<{{Name}}>(raw);
    let (link, taken) = match plugin.state.borrow_mut().links.get_mut(&handle) {
        Some(link) => {
            let taken = count.min(WINDOW - link.in_flight);
            link.in_flight += taken;
            (link.clone(), taken)
        }
        None => return CM_GONE,
    };
    if taken == 0 && count != 0 {
        return CM_BUSY;
    }
    for index in 0..taken as usize {
        plugin.send_one(handle, &link, &*messages.add(index));
    }
    *out_taken = taken;
    CM_OK
}
unsafe extern "C" fn acknowledge(raw: User, link: cm_handle, message_id: View, _client_message_id: View) -> cm_status {
    let plugin = plugin_of::<{{Name}}>(raw);
    if !plugin.state.borrow().links.contains_key(&link) {
        return CM_GONE;
    }
    answer(&plugin.state, &message_id.string(), 200);
    CM_OK
}
// There is no broker on this way, so nobody to ask.
unsafe extern "C" fn request(_: User, _: cm_handle, _: View, _: u64, _: cm_reply_callback, _: User) -> cm_status {
    CM_UNSUPPORTED
}
static TABLE: cm_transport_v1 =
    cm_transport_v1 { size: std::mem::size_of::<cm_transport_v1>() as u32, reserved: 0, name, open, close, send, acknowledge, request };

claudemesh_plugin::plugin!({{Name}});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_out_as_they_went_in() {
        let body = write_fields(&[("to", "aa"), ("name", "two words"), ("reply_to", "")]);
        assert_eq!(body, "to aa\nname two words\nreply_to \n");
        assert_eq!((field(&body, "to"), field(&body, "name")), ("aa", "two words"));
        assert_eq!((field(&body, "reply_to"), field(&body, "nothing")), ("", ""));
        assert_eq!(field("no_space\n", "no_space"), "");
    }
}
