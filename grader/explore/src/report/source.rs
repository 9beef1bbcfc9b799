//! From an address in the program to a line of the reader's own source, by the executable's debug information.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use object::{Object, ObjectSection};

/// A line of source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The file as the compiler was told.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
    /// The line's text without the blanks around it; empty when the file cannot be read.
    pub text: String,
    /// The function, without its path.
    pub function: String,
}

impl Line {
    /// `lib.rs:17`
    pub fn short(&self) -> String {
        format!("{}:{}", self.file.rsplit('/').next().unwrap_or(&self.file), self.line)
    }
}

/// The debug information of the running program.
pub struct Sources {
    context: Option<Context<EndianSlice<'static, LittleEndian>>>,
    bias: u64,
    texts: BTreeMap<String, Vec<String>>,
}

impl Sources {
    /// Reads the running executable; without debug information every answer is None.
    pub fn of_this_program() -> Sources {
        static EXECUTABLE: OnceLock<Vec<u8>> = OnceLock::new();
        let bytes = EXECUTABLE.get_or_init(|| std::fs::read("/proc/self/exe").unwrap_or_default());
        let context = context(bytes);
        Sources { context, bias: crate::process::bias() as u64, texts: BTreeMap::new() }
    }

    /// The innermost line of the reader's own source among `callers`, which are return addresses.
    pub fn find(&mut self, callers: &[usize]) -> Option<Line> {
        let context = self.context.as_ref()?;
        for &caller in callers {
            let probe = (caller as u64).wrapping_sub(1).wrapping_sub(self.bias);
            let Ok(mut frames) = context.find_frames(probe).skip_all_loads() else { continue };
            while let Ok(Some(frame)) = frames.next() {
                let Some((file, line)) =
                    frame.location.and_then(|location| Some((location.file?, location.line?)))
                else {
                    continue;
                };
                if !own(file) {
                    continue;
                }
                let name = frame
                    .function
                    .as_ref()
                    .and_then(|function| function.demangle().ok().map(Cow::into_owned));
                let function = name.as_deref().map(last_part).unwrap_or_default();
                let file = file.to_owned();
                let text = text(&mut self.texts, &file, line);
                return Some(Line { file, line, text, function });
            }
        }
        None
    }
}

fn context(bytes: &'static [u8]) -> Option<Context<EndianSlice<'static, LittleEndian>>> {
    let object = object::File::parse(bytes).ok()?;
    let section = |id: SectionId| -> Result<_, addr2line::gimli::Error> {
        let data = object.section_by_name(id.name()).and_then(|section| section.data().ok());
        Ok(EndianSlice::new(data.unwrap_or_default(), LittleEndian))
    };
    Context::from_dwarf(Dwarf::load(section).ok()?).ok()
}

/// Neither the standard library's, nor a dependency's, nor the engine's.
fn own(file: &str) -> bool {
    let engine = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
    !file.starts_with("/rustc/")
        && !file.contains("/.cargo/registry/")
        && !file.contains("/lib/rustlib/src/")
        && !file.starts_with(engine)
}

fn last_part(name: &str) -> String {
    let name = name.strip_suffix("::{closure#0}").unwrap_or(name);
    let mut depth = 0;
    let mut start = 0;
    let bytes = name.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'<' => depth += 1,
            b'>' => depth -= 1,
            b':' if depth == 0 => start = index + 1,
            _ => {}
        }
    }
    name[start..].to_owned()
}

fn text(texts: &mut BTreeMap<String, Vec<String>>, file: &str, line: u32) -> String {
    let lines = texts.entry(file.to_owned()).or_insert_with(|| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().map(|line| line.trim().to_owned()).collect()
    });
    lines.get(line as usize - 1).cloned().unwrap_or_default()
}
