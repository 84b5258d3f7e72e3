//! As much JSON as a plugin needs for flat objects: one text member out, texts in.

/// The text as a JSON string, with its quotes.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn unquote(chars: &mut std::iter::Peekable<std::str::Chars>) -> Option<String> {
    let mut out = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(out),
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                'b' => out.push('\u{8}'),
                'f' => out.push('\u{c}'),
                'u' => {
                    let high = hex4(chars)?;
                    let code = if (0xd800..0xdc00).contains(&high) {
                        if chars.next()? != '\\' || chars.next()? != 'u' {
                            return None;
                        }
                        0x10000 + ((high - 0xd800) << 10) + hex4(chars)?.checked_sub(0xdc00)?
                    } else {
                        high
                    };
                    out.push(char::from_u32(code)?);
                }
                c => out.push(c),
            },
            c => out.push(c),
        }
    }
}
fn hex4(chars: &mut std::iter::Peekable<std::str::Chars>) -> Option<u32> {
    (0..4).try_fold(0, |value, _| Some(value * 16 + chars.next()?.to_digit(16)?))
}

/// The text member `name` of the object `json`, at its first level. None: absent, or not a text.
pub fn text(json: &str, name: &str) -> Option<String> {
    let mut chars = json.chars().peekable();
    let mut depth = 0;
    let mut key: Option<String> = None;
    let mut is_value = false;
    while let Some(c) = chars.next() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ':' if depth == 1 => is_value = true,
            ',' if depth == 1 => is_value = false,
            '"' => {
                let found = unquote(&mut chars)?;
                if depth == 1 && !is_value {
                    key = Some(found);
                } else if depth == 1 && key.as_deref() == Some(name) {
                    return Some(found);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn members_come_out_as_they_went_in() {
        let odd = "a\"b\\c\n\u{1}ü😀";
        let json = format!("{{\"n\":1,\"deep\":{{\"x\":\"no\"}},\"x\":{}}}", quote(odd));
        assert_eq!(text(&json, "x").as_deref(), Some(odd));
        assert_eq!(text("{\"x\":\"\\ud83d\\ude00\"}", "x").as_deref(), Some("😀"));
        assert_eq!(text(&json, "n"), None);
        assert_eq!(text("{\"a\":\"x\",\"x\":\"y\"}", "x").as_deref(), Some("y"));
        assert_eq!(text("{\"x\":\"", "x"), None);
    }
}
