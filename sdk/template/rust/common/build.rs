//! Compiles plugin.toml into the ELF note that the host reads before it loads the library.
use std::process::Command;
use std::{env, fs, path::Path};

fn main() {
    println!("cargo:rerun-if-changed=plugin.toml");
    println!("cargo:rerun-if-env-changed=CM_MANIFEST");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let json = Path::new(&out).join("manifest.json");
    let compiler = env::var("CM_MANIFEST").unwrap_or_else(|_| String::from("cm-manifest"));
    let version = env::var("CARGO_PKG_VERSION").expect("cargo sets the version");
    let status = Command::new(&compiler).args(["plugin.toml", json.to_str().expect("a UTF-8 path"), &version]).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{compiler} refused plugin.toml ({status})"),
        Err(error) => panic!("found no {compiler} ({error}); expected it in PATH or in CM_MANIFEST: install the claudemesh SDK"),
    }
    let mut text = fs::read(&json).expect("the manifest was just written");
    text.truncate(text.iter().rposition(|&byte| byte != b'\n').map_or(0, |last| last + 1));
    text.push(0);
    let used = text.len();
    text.resize((used + 3) / 4 * 4, 0);
    // struct { name_size, description_size, type, name, description }, as <claudemesh/plugin.h> has it.
    let rust = format!(
        "#[repr(C, align(4))]\npub struct ManifestNote(u32, u32, u32, [u8; 12], [u8; {size}]);\n\
         #[used]\n#[link_section = \".note.claudemesh\"]\n\
         pub static MANIFEST_NOTE: ManifestNote = ManifestNote(11, {used}, 1, *b\"claudemesh\\0\\0\", {text:?});\n",
        size = text.len()
    );
    fs::write(Path::new(&out).join("manifest.rs"), rust).expect("OUT_DIR can be written");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,defs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,relro,-z,now");
}
