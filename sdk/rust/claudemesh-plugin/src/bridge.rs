//! cm.bridge/1: the rules of every bridge (mapping, echo, once, loops; see claudemesh/ext/bridge.h), and its table.
use crate::ffi::*;
use crate::instance::instance;
use crate::{Host, Plugin};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::c_void;
use std::rc::Rc;

pub const TO_MESH: u32 = 1;
pub const TO_REMOTE: u32 = 2;
pub const REHEARSAL: u32 = 1;
pub const FROM_SELF: u32 = 2;
pub const FORWARDED: u32 = 1;
pub const REHEARSED: u32 = 2;
pub const UNMAPPED: u32 = 3;
pub const ECHO: u32 = 4;
pub const DUPLICATE: u32 = 5;
pub const LOOP: u32 = 6;
pub const FILTERED: u32 = 7;
pub const FAILED: u32 = 8;
const HOPS_MAX: usize = 4;
const REMEMBERED: usize = 1024;
const MAPPINGS_MAX: usize = 4096;
const TEXT_BYTES_MAX: usize = 49_152;
const TRAIL_LINE: &str = "\n-- via ";

#[derive(Clone, Default, Debug)]
pub struct Mapping {
    pub id: String,
    pub remote: String,
    pub mesh: String,
    pub target: String,
    pub directions: u32,
}
#[derive(Clone, Default, Debug)]
pub struct Message {
    pub flags: u32,
    pub channel: String,
    pub mesh: String,
    pub message_id: String,
    pub author_id: String,
    pub author_name: String,
    pub text: String,
    pub trail: String,
}
#[derive(Clone, Default, Debug)]
pub struct Crossing {
    pub outcome: u32,
    pub direction: u32,
    pub flags: u32,
    pub mapping_id: String,
    pub message_id: String,
    pub reason: String,
    pub channel: String,
    pub mesh: String,
    pub author_name: String,
    pub text: String,
    pub trail: String,
    pub new_id: String,
}

/// The text without its last line, and the marks of that line.
pub fn split_trail(text: &str) -> (String, Vec<String>) {
    if let Some(at) = text.rfind(TRAIL_LINE) {
        let marks = &text[at + TRAIL_LINE.len()..];
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._:- ".contains(c);
        if !marks.is_empty() && marks.chars().all(allowed) {
            return (text[..at].to_string(), marks.split(' ').map(String::from).collect());
        }
    }
    (text.to_string(), Vec::new())
}

/// Decides what crosses. Pure but for what it remembers.
pub struct Rules {
    mark: String,
    mappings: BTreeMap<String, Mapping>,
    seen: [(HashSet<String>, VecDeque<String>); 2],
}
impl Rules {
    pub fn new(mark: &str) -> Rules {
        Rules { mark: mark.to_string(), mappings: BTreeMap::new(), seen: Default::default() }
    }
    pub fn map(&mut self, mapping: Mapping) -> cm_status {
        let id_char = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let good = !mapping.id.is_empty() && mapping.id.len() <= 64 && mapping.id.chars().all(id_char);
        let twin = |other: &Mapping| {
            other.id != mapping.id
                && other.remote == mapping.remote
                && other.mesh == mapping.mesh
                && other.target == mapping.target
        };
        let directions = (1..=TO_MESH | TO_REMOTE).contains(&mapping.directions);
        if !good
            || !directions
            || mapping.remote.is_empty()
            || mapping.target.is_empty()
            || self.mappings.values().any(twin)
        {
            return CM_INVALID;
        }
        if self.mappings.len() >= MAPPINGS_MAX && !self.mappings.contains_key(&mapping.id) {
            return CM_BUSY;
        }
        self.mappings.insert(mapping.id.clone(), mapping);
        CM_OK
    }
    /// One crossing for each mapping; those with the outcome FORWARDED are still to be handed over.
    pub fn decide(&mut self, direction: u32, message: &Message) -> Vec<Crossing> {
        let (text, mut marks) = split_trail(&message.text);
        marks.splice(0..0, message.trail.split(' ').filter(|mark| !mark.is_empty()).map(String::from));
        let base = Crossing {
            direction,
            flags: message.flags & REHEARSAL,
            message_id: message.message_id.clone(),
            ..Default::default()
        };
        let dropped = |outcome, reason: &str, mapping: &str| Crossing {
            outcome,
            reason: reason.to_string(),
            mapping_id: mapping.to_string(),
            ..base.clone()
        };
        let matching: Vec<Mapping> =
            self.mappings.values().filter(|m| matches(m, direction, message)).cloned().collect();
        if matching.is_empty() {
            return vec![dropped(UNMAPPED, "no mapping names this channel", "")];
        }
        let mut crossings = Vec::new();
        for mapping in &matching {
            let id = mapping.id.as_str();
            if message.flags & FROM_SELF != 0 {
                crossings.push(dropped(ECHO, "the bridge itself wrote it", id));
            } else if marks.contains(&self.mark) || marks.len() >= HOPS_MAX {
                crossings.push(dropped(LOOP, "it has come through this bridge, or through too many", id));
            } else if mapping.directions & direction == 0 {
                crossings.push(dropped(FILTERED, "this direction is off", id));
            } else if text.is_empty() || message.text.len() > TEXT_BYTES_MAX {
                crossings.push(dropped(FILTERED, "the text is empty or too long", id));
            } else if !self.remember(direction, format!("{id} {}", message.message_id)) {
                crossings.push(dropped(DUPLICATE, "it has crossed before", id));
            } else {
                crossings.push(self.crossing(&base, mapping, message, &text, &marks));
            }
        }
        crossings
    }
    fn crossing(
        &self,
        base: &Crossing,
        mapping: &Mapping,
        message: &Message,
        text: &str,
        marks: &[String],
    ) -> Crossing {
        let mut trail = marks.to_vec();
        trail.push(self.mark.clone());
        let trail = trail.join(" ");
        let to_mesh = base.direction == TO_MESH;
        // People on the other side see who wrote it. The mesh carries the trail in the text, the remote beside it.
        let shown = format!("{}: {text}", message.author_name);
        Crossing {
            outcome: FORWARDED,
            mapping_id: mapping.id.clone(),
            channel: if to_mesh { mapping.target.clone() } else { mapping.remote.clone() },
            mesh: mapping.mesh.clone(),
            author_name: message.author_name.clone(),
            text: if to_mesh { format!("{shown}{TRAIL_LINE}{trail}") } else { shown },
            trail,
            new_id: if to_mesh { client_id(&self.mark, &mapping.id, &message.message_id) } else { String::new() },
            ..base.clone()
        }
    }
    fn remember(&mut self, direction: u32, key: String) -> bool {
        let (known, order) = &mut self.seen[direction as usize - 1];
        if !known.insert(key.clone()) {
            return false;
        }
        order.push_back(key);
        if order.len() > REMEMBERED {
            order.pop_front().map(|oldest| known.remove(&oldest));
        }
        true
    }
}
fn matches(mapping: &Mapping, direction: u32, message: &Message) -> bool {
    if direction == TO_MESH {
        return mapping.remote == message.channel;
    }
    let mesh = mapping.mesh.is_empty() || message.mesh.is_empty() || mapping.mesh == message.mesh;
    mesh && [&message.channel, &message.author_id, &message.author_name].contains(&&mapping.target)
}
/// The same remote message has the same id on the mesh, also after a restart (FNV-1a, 128 bits).
fn client_id(mark: &str, mapping: &str, message: &str) -> String {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in mark.bytes().chain([0]).chain(mapping.bytes()).chain([0]).chain(message.bytes()) {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    format!("brg-{hash:032x}")
}

type Crossed = Box<dyn FnOnce(&Crossing)>;
/// Hands a crossing over; answers with the new message's id or the reason why not.
pub type HandOver = Rc<dyn Fn(Crossing, Box<dyn FnOnce(Result<String, String>)>)>;

struct State {
    rules: Rules,
    /// to_mesh, to_remote, unmapped, echo, duplicate, loop, filtered, failed, waiting
    counts: [u64; 9],
    up: bool,
    observers: Vec<(cm_handle, cm_bridge_crossed, User)>,
    next_observer: cm_handle,
}
/// A bridge at work: rules, counters, observers, and the two sides. A cheap handle.
#[derive(Clone)]
pub struct Bridge {
    host: Host,
    network: Rc<str>,
    mark: Rc<str>,
    state: Rc<RefCell<State>>,
    sides: Rc<RefCell<[Option<HandOver>; 2]>>,
}
impl Bridge {
    pub fn new(host: Host, network: &str, name: &str) -> Bridge {
        let mark = format!("{network}:{name}");
        let state =
            State { rules: Rules::new(&mark), counts: [0; 9], up: false, observers: Vec::new(), next_observer: 1 };
        Bridge {
            host,
            network: network.into(),
            mark: mark.into(),
            state: Rc::new(RefCell::new(state)),
            sides: Default::default(),
        }
    }
    pub fn map(&self, mapping: Mapping) -> cm_status {
        self.state.borrow_mut().rules.map(mapping)
    }
    /// Begins to hand over. `stop` ends it and forgets the two sides.
    pub fn start(&self, to_mesh: HandOver, to_remote: HandOver) {
        *self.sides.borrow_mut() = [Some(to_mesh), Some(to_remote)];
        self.state.borrow_mut().up = true;
    }
    pub fn stop(&self) {
        *self.sides.borrow_mut() = [None, None];
        let mut state = self.state.borrow_mut();
        state.up = false;
        state.observers.clear();
    }
    pub fn deliver(&self, direction: u32, message: &Message, crossed: impl Fn(&Crossing) + 'static) {
        let crossed = Rc::new(crossed);
        let crossings = self.state.borrow_mut().rules.decide(direction, message);
        for crossing in crossings {
            let crossed = crossed.clone();
            self.pass(crossing, Box::new(move |crossing| crossed(crossing)));
        }
    }
    fn pass(&self, mut crossing: Crossing, crossed: Crossed) {
        if crossing.outcome == FORWARDED && crossing.flags & REHEARSAL != 0 {
            crossing.outcome = REHEARSED;
        }
        let side = self.sides.borrow()[crossing.direction as usize - 1].clone();
        let side = match (crossing.outcome, side) {
            (FORWARDED, Some(side)) => side,
            (FORWARDED, None) => {
                crossing.outcome = FAILED;
                crossing.reason = String::from("the bridge is not started");
                return self.later(crossing, crossed);
            }
            _ => return self.later(crossing, crossed),
        };
        self.state.borrow_mut().counts[8] += 1;
        let this = self.clone();
        let mut told = crossing.clone();
        side(
            crossing,
            Box::new(move |result| {
                this.state.borrow_mut().counts[8] -= 1;
                match result {
                    Ok(id) if !id.is_empty() => told.new_id = id,
                    Ok(_) => {}
                    Err(reason) => {
                        told.outcome = FAILED;
                        told.reason = reason;
                    }
                }
                this.later(told, crossed);
            }),
        );
    }
    // No callback comes from inside a function of the table.
    fn later(&self, crossing: Crossing, crossed: Crossed) {
        let index = match (crossing.outcome, crossing.direction) {
            (FORWARDED, TO_MESH) => Some(0),
            (FORWARDED, _) => Some(1),
            (outcome, _) if outcome >= UNMAPPED => Some(outcome as usize - 1),
            _ => None,
        };
        if let Some(index) = index {
            self.state.borrow_mut().counts[index] += 1;
        }
        let this = self.clone();
        self.host.post(move || {
            crossed(&crossing);
            let observers = this.state.borrow().observers.clone();
            for (_, observer, user) in observers {
                tell(&crossing, observer, user);
            }
        });
    }
}

fn tell(crossing: &Crossing, crossed: cm_bridge_crossed, user: User) {
    let raw = cm_bridge_crossing {
        size: std::mem::size_of::<cm_bridge_crossing>() as u32,
        outcome: crossing.outcome,
        direction: crossing.direction,
        flags: crossing.flags,
        mapping_id: View::text(&crossing.mapping_id),
        message_id: View::text(&crossing.message_id),
        reason: View::text(&crossing.reason),
        channel: View::text(&crossing.channel),
        mesh: View::text(&crossing.mesh),
        author_name: View::text(&crossing.author_name),
        text: View::text(&crossing.text),
        trail: View::text(&crossing.trail),
        new_id: View::text(&crossing.new_id),
    };
    if let Some(crossed) = crossed {
        unsafe { crossed(user, &raw) }
    }
}

/// A plugin that offers cm.bridge/1: answer `bridge::table::<Self>()` for "cm.bridge/1".
pub trait HasBridge: Plugin {
    fn bridge(&self) -> &Bridge;
}
pub fn table<P: HasBridge>() -> *const c_void {
    (Table::<P>::TABLE as *const cm_bridge_v1).cast()
}
struct Table<P>(std::marker::PhantomData<P>);
impl<P: HasBridge> Table<P> {
    const TABLE: &'static cm_bridge_v1 = &cm_bridge_v1 {
        size: std::mem::size_of::<cm_bridge_v1>() as u32,
        reserved: 0,
        network: network::<P>,
        status: status::<P>,
        mappings: mappings::<P>,
        map: map::<P>,
        unmap: unmap::<P>,
        deliver_remote: deliver_remote::<P>,
        deliver_mesh: deliver_mesh::<P>,
        observe: observe::<P>,
        unobserve: unobserve::<P>,
    };
}
unsafe fn bridge_of<'a, P: HasBridge>(raw: User) -> &'a Bridge {
    instance::<P>(raw).plugin.bridge()
}
unsafe extern "C" fn network<P: HasBridge>(raw: User) -> View {
    View::text(&bridge_of::<P>(raw).network)
}
unsafe extern "C" fn status<P: HasBridge>(raw: User, out: *mut cm_bridge_status) -> cm_status {
    let bridge = bridge_of::<P>(raw);
    let state = bridge.state.borrow();
    let given = ((*out).size as usize).min(std::mem::size_of::<cm_bridge_status>());
    let mut counts = [state.rules.mappings.len() as u64; 10];
    counts[1..].copy_from_slice(&state.counts);
    let up = if state.up { 2 } else { 6 };
    let full =
        cm_bridge_status { size: given as u32, state: up, mark: View::text(&bridge.mark), detail: View::EMPTY, counts };
    std::ptr::copy_nonoverlapping((&full as *const cm_bridge_status).cast::<u8>(), out.cast::<u8>(), given);
    CM_OK
}
unsafe extern "C" fn mappings<P: HasBridge>(raw: User, row: cm_bridge_mapping_row, user: User) -> cm_status {
    let all: Vec<Mapping> = bridge_of::<P>(raw).state.borrow().rules.mappings.values().cloned().collect();
    for mapping in &all {
        let raw = cm_bridge_mapping {
            size: std::mem::size_of::<cm_bridge_mapping>() as u32,
            directions: mapping.directions,
            id: View::text(&mapping.id),
            remote: View::text(&mapping.remote),
            mesh: View::text(&mapping.mesh),
            target: View::text(&mapping.target),
            options_json: View::EMPTY,
        };
        if let Some(row) = row {
            row(user, &raw);
        }
    }
    CM_OK
}
unsafe extern "C" fn map<P: HasBridge>(raw: User, mapping: *const cm_bridge_mapping) -> cm_status {
    let (bridge, given) = (bridge_of::<P>(raw), &*mapping);
    bridge.map(Mapping {
        id: given.id.string(),
        remote: given.remote.string(),
        mesh: given.mesh.string(),
        target: given.target.string(),
        directions: given.directions,
    })
}
unsafe extern "C" fn unmap<P: HasBridge>(raw: User, id: View) -> cm_status {
    match bridge_of::<P>(raw).state.borrow_mut().rules.mappings.remove(&id.string()) {
        Some(_) => CM_OK,
        None => CM_GONE,
    }
}
unsafe fn deliver<P: HasBridge>(
    raw: User,
    direction: u32,
    message: *const cm_bridge_message,
    crossed: cm_bridge_crossed,
    user: User,
) -> cm_status {
    let given = &*message;
    if given.message_id.size == 0 {
        return CM_INVALID;
    }
    let message = Message {
        flags: given.flags,
        channel: given.channel.string(),
        mesh: given.mesh.string(),
        message_id: given.message_id.string(),
        author_id: given.author_id.string(),
        author_name: given.author_name.string(),
        text: given.text.string(),
        trail: given.trail.string(),
    };
    bridge_of::<P>(raw).deliver(direction, &message, move |crossing| tell(crossing, crossed, user));
    CM_OK
}
unsafe extern "C" fn deliver_remote<P: HasBridge>(
    raw: User,
    message: *const cm_bridge_message,
    crossed: cm_bridge_crossed,
    user: User,
) -> cm_status {
    deliver::<P>(raw, TO_MESH, message, crossed, user)
}
unsafe extern "C" fn deliver_mesh<P: HasBridge>(
    raw: User,
    message: *const cm_bridge_message,
    crossed: cm_bridge_crossed,
    user: User,
) -> cm_status {
    deliver::<P>(raw, TO_REMOTE, message, crossed, user)
}
unsafe extern "C" fn observe<P: HasBridge>(
    raw: User,
    crossed: cm_bridge_crossed,
    user: User,
    out: *mut cm_handle,
) -> cm_status {
    let mut state = bridge_of::<P>(raw).state.borrow_mut();
    *out = state.next_observer;
    state.next_observer += 1;
    let handle = *out;
    state.observers.push((handle, crossed, user));
    CM_OK
}
unsafe extern "C" fn unobserve<P: HasBridge>(raw: User, observer: cm_handle) {
    bridge_of::<P>(raw).state.borrow_mut().observers.retain(|(handle, _, _)| *handle != observer);
}

#[cfg(test)]
mod tests;
