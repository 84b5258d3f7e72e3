//! {{name}}: refuses messages that contain a forbidden word.
use claudemesh_plugin::{Counter, Decision, Error, Hook, HookTable, Host, Plugin, Which};
use std::ffi::c_void;

struct {{Name}} {
    host: Host,
    table: HookTable,
    words: Vec<String>,
    refused: Option<Counter>,
}

/// The first of the words (lower case) that the text contains.
fn find_word<'a>(words: &'a [String], text: &str) -> Option<&'a String> {
    let searched = text.to_lowercase();
    words.iter().find(|word| searched.contains(word.as_str()))
}

impl {{Name}} {
    fn read_words(&self, which: Which) -> Vec<String> {
        self.host.option_list("words", which).iter().map(|word| word.to_lowercase()).collect()
    }
}

impl Plugin for {{Name}} {
    fn create(host: Host) -> Self {
        // A guard: an error of ours refuses the message.
        {{Name}} { host, table: HookTable::new::<{{Name}}>(true, 100), words: Vec::new(), refused: None }
    }
    fn configure(&mut self) -> Result<(), Error> {
        self.words = self.read_words(Which::Active);
        self.refused = Some(self.host.counter("{{name}}_refused_total", "Messages refused"));
        Ok(())
    }
    fn start(&mut self) -> Result<(), Error> {
        Ok(())
    }
    fn extension(&mut self, id: &str) -> *const c_void {
        if id == "cm.hook/1" {
            self.table.raw()
        } else {
            std::ptr::null()
        }
    }
    fn reload_finish(&mut self, commit: bool) {
        if commit {
            self.words = self.read_words(Which::Active);
        }
    }
}

impl Hook for {{Name}} {
    fn decide(&mut self, point: &str, _facts_json: &str, payload: &[u8]) -> Decision {
        if point != "daemon.send" {
            return Decision::Continue; // a point that we do not know
        }
        match find_word(&self.words, &String::from_utf8_lossy(payload)) {
            Some(word) => {
                if let Some(refused) = &self.refused {
                    refused.add(1);
                }
                Decision::Deny(format!("this message contains the forbidden word {word}"))
            }
            None => Decision::Continue,
        }
    }
}

claudemesh_plugin::plugin!({{Name}});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whatever_their_case() {
        let words = [String::from("secret"), String::from("hush")];
        assert_eq!(find_word(&words, "the SECRET is out").map(String::as_str), Some("secret"));
        assert_eq!(find_word(&words, "hushed").map(String::as_str), Some("hush"));
        assert_eq!(find_word(&words, "good day"), None);
        assert_eq!(find_word(&[], "anything"), None);
    }
}
