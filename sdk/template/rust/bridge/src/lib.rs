//! {{name}}: joins channels of a remote service, spoken to over HTTP, with targets of a mesh.
//!
//! The SDK's `bridge` module decides what crosses; here is how each of the two sides is spoken to.
use claudemesh_plugin::bridge::{self, Bridge, Crossing, HasBridge, Mapping, Message, FROM_SELF, TO_MESH, TO_REMOTE};
use claudemesh_plugin::ffi::{CM_INVALID, CM_OK};
use claudemesh_plugin::{json, Error, Host, Level, Listener, Peer, Plugin, Which};
use std::cell::RefCell;
use std::ffi::c_void;
use std::rc::Rc;

const NETWORK: &str = "http";

struct {{Name}} {
    host: Host,
    bridge: Bridge,
    peer: Rc<RefCell<Option<Peer>>>,
    listener: Option<Listener>,
}

/// "CHANNEL=TARGET". A channel may stand in several mappings, so the id is the number of the line.
fn parse_mapping(index: usize, text: &str) -> Option<Mapping> {
    let (remote, target) = text.split_once('=')?;
    let directions = TO_MESH | TO_REMOTE;
    Some(Mapping { id: format!("m{index}"), remote: remote.into(), mesh: String::new(), target: target.into(), directions })
}

/// What the remote service posts.
fn remote_message(body: &str) -> Option<Message> {
    let author = json::text(body, "author")?;
    Some(Message {
        channel: json::text(body, "channel")?,
        message_id: json::text(body, "id").filter(|id| !id.is_empty())?,
        author_id: author.clone(),
        author_name: author,
        text: json::text(body, "text")?,
        trail: json::text(body, "trail").unwrap_or_default(),
        ..Default::default()
    })
}

/// An event "message" of the daemon.
fn mesh_message(event: &str) -> Option<Message> {
    let member = |name| json::text(event, name);
    let sender = member("sender_pubkey")?;
    let own = member("recipient_pubkey").as_ref() == Some(&sender);
    let name = member("sender_name").unwrap_or_default();
    Some(Message {
        flags: if own { FROM_SELF } else { 0 },
        channel: member("topic").map_or_else(|| name.clone(), |topic| format!("#{topic}")),
        mesh: member("mesh").unwrap_or_default(),
        message_id: member("client_message_id").or_else(|| member("id"))?,
        author_id: sender,
        author_name: name,
        text: member("body")?,
        trail: String::new(),
    })
}

/// What the remote service gets.
fn remote_json(crossing: &Crossing) -> String {
    format!(
        "{{\"channel\":{},\"author\":{},\"text\":{},\"trail\":{}}}",
        json::quote(&crossing.channel),
        json::quote(&crossing.author_name),
        json::quote(&crossing.text),
        json::quote(&crossing.trail)
    )
}

impl Plugin for {{Name}} {
    fn create(host: Host) -> Self {
        {{Name}} { host, bridge: Bridge::new(host, NETWORK, "{{name}}"), peer: Rc::default(), listener: None }
    }

    fn configure(&mut self) -> Result<(), Error> {
        for (index, text) in self.host.option_list("mappings", Which::Active).iter().enumerate() {
            let mapped = parse_mapping(index, text).map(|mapping| self.bridge.map(mapping));
            if mapped != Some(CM_OK) {
                return Err(Error::new(CM_INVALID, format!("found the mapping \"{text}\"; expected CHANNEL=TARGET, each pair once")));
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), Error> {
        *self.peer.borrow_mut() = Some(self.host.peer(&self.host.option_text("daemon", Which::Active))?);
        let (host, peer) = (self.host, self.peer.clone());
        let url = host.option_text("remote_url", Which::Active);
        self.bridge.start(
            Rc::new(move |crossing, done| {
                let finished = move |status, json: String| done(if status == 202 { Ok(String::new()) } else { Err(json) });
                match &*peer.borrow() {
                    Some(peer) => peer.send(&crossing.mesh, &crossing.channel, &crossing.text, &crossing.new_id, finished),
                    None => finished(0, String::from("the bridge is stopping")),
                }
            }),
            Rc::new(move |crossing, done| {
                host.http_send("POST", &url, &remote_json(&crossing), move |result| match result {
                    Ok((status, body)) if (200..300).contains(&status) => done(Ok(json::text(&body, "id").unwrap_or_default())),
                    Ok((status, _)) => done(Err(format!("the remote service answered {status}"))),
                    Err(error) => done(Err(error.message)),
                })
            }),
        );
        let bridge = self.bridge.clone();
        if let Some(peer) = &mut *self.peer.borrow_mut() {
            peer.subscribe(move |kind, event| {
                if let (true, Some(message)) = (kind == "message", mesh_message(event)) {
                    bridge.deliver(TO_REMOTE, &message, |_| {});
                }
            })?;
        }
        let mut listener = self.host.listen(&self.host.option_text("listen", Which::Active))?;
        let bridge = self.bridge.clone();
        listener.route("POST", "/messages", move |request| match remote_message(&request.body) {
            Some(message) => {
                let waiting = RefCell::new(Some(request)); // the first mapping's outcome is the answer
                bridge.deliver(TO_MESH, &message, move |crossing| {
                    if let Some(request) = waiting.take() {
                        let status = if crossing.outcome == bridge::FAILED { 503 } else { 200 };
                        let text = format!("{{\"outcome\":{},\"reason\":{}}}", crossing.outcome, json::quote(&crossing.reason));
                        request.respond_json(status, &text);
                    }
                });
            }
            None => request.respond_json(400, "{\"error\":\"expected id, channel, author and text\"}"),
        });
        self.host.log(Level::Info, &format!("bridging, listening on {}", listener.local_address()));
        self.listener = Some(listener);
        Ok(())
    }

    fn stop(&mut self) {
        self.listener = None;
        self.bridge.stop();
        *self.peer.borrow_mut() = None;
    }

    fn extension(&mut self, id: &str) -> *const c_void {
        if id == "cm.bridge/1" {
            bridge::table::<Self>()
        } else {
            std::ptr::null()
        }
    }
}

impl HasBridge for {{Name}} {
    fn bridge(&self) -> &Bridge {
        &self.bridge
    }
}

claudemesh_plugin::plugin!({{Name}});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_understood() {
        let remote = remote_message("{\"id\":\"1\",\"channel\":\"general\",\"author\":\"bob\",\"text\":\"hi\"}").unwrap();
        assert_eq!((remote.channel.as_str(), remote.text.as_str()), ("general", "hi"));
        assert!(remote_message("{\"id\":\"\",\"channel\":\"general\",\"author\":\"bob\",\"text\":\"hi\"}").is_none());
        let event = "{\"id\":\"7\",\"sender_pubkey\":\"ab\",\"sender_name\":\"alice\",\"recipient_pubkey\":\"cd\",\"topic\":null,\"body\":\"yo\"}";
        let mesh = mesh_message(event).unwrap();
        assert_eq!((mesh.channel.as_str(), mesh.flags), ("alice", 0));
        assert_eq!(mesh_message(&event.replace("cd", "ab")).unwrap().flags, FROM_SELF);
    }

    #[test]
    fn mappings_are_pairs() {
        assert_eq!(parse_mapping(0, "general=#team").map(|mapping| mapping.target), Some(String::from("#team")));
        assert!(parse_mapping(0, "general").is_none());
    }
}
