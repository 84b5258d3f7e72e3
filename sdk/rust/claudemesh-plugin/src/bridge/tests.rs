//! The rules of a bridge: rings end, echoes and repetitions stay away.
use super::*;
fn rules(mark: &str) -> Rules {
    let mut rules = Rules::new(mark);
    let both = TO_MESH | TO_REMOTE;
    let mapping = Mapping {
        id: "a".into(),
        remote: "room".into(),
        target: "alice".into(),
        directions: both,
        ..Default::default()
    };
    assert_eq!(rules.map(mapping), CM_OK);
    rules
}
fn message(id: &str, channel: &str, text: &str) -> Message {
    Message {
        message_id: id.into(),
        channel: channel.into(),
        author_name: "bob".into(),
        text: text.into(),
        ..Default::default()
    }
}
fn outcome(rules: &mut Rules, direction: u32, message: &Message) -> u32 {
    rules.decide(direction, message)[0].outcome
}
#[test]
fn each_rule_holds() {
    let mut r = rules("fake:one");
    assert_eq!(outcome(&mut r, TO_MESH, &message("1", "elsewhere", "hi")), UNMAPPED);
    assert_eq!(outcome(&mut r, TO_MESH, &message("1", "room", "hi")), FORWARDED);
    assert_eq!(outcome(&mut r, TO_MESH, &message("1", "room", "hi")), DUPLICATE);
    assert_eq!(outcome(&mut r, TO_REMOTE, &message("1", "alice", "hi")), FORWARDED);
    assert_eq!(outcome(&mut r, TO_MESH, &message("2", "room", "")), FILTERED);
    let own = Message { flags: FROM_SELF, ..message("3", "room", "hi") };
    assert_eq!(outcome(&mut r, TO_MESH, &own), ECHO);
}
#[test]
fn a_ring_of_bridges_ends() {
    let (mut one, mut two) = (rules("fake:one"), rules("fake:two"));
    let first = one.decide(TO_MESH, &message("1", "room", "hi")).remove(0);
    assert_eq!(first.text, "bob: hi\n-- via fake:one");
    let second = two.decide(TO_REMOTE, &message("2", "alice", &first.text)).remove(0);
    assert_eq!((second.text.as_str(), second.trail.as_str()), ("bob: bob: hi", "fake:one fake:two"));
    let back = Message { trail: second.trail, ..message("3", "room", &second.text) };
    assert_eq!(outcome(&mut one, TO_MESH, &back), LOOP);
}
