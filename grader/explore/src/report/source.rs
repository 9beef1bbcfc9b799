//! From an address in the program to a line of the reader's own source, by the executable's debug information.

use std::borrow::Cow;
use std::collections::BTreeMap;

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use object::{Object, ObjectSection};

use super::expression;
use crate::mapped::Mapped;

/// A line of source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as the compiler was told.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
    /// The line's text without the blanks around it; empty when the file cannot be read.
    pub text: String,
    /// The part of the line that does it: `self.word.swap(1, Acquire)`; empty when it cannot be told.
    pub part: String,
    /// The function, without its path.
    pub function: String,
}

impl Place {
    /// `lib.rs:17`
    pub fn short(&self) -> String {
        format!("{}:{}", self.file_name(), self.line)
    }

    /// `lib.rs`
    pub fn file_name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }

    /// Whether it stands in a lab's `checks.rs` or in `checks/` beside it.
    pub fn is_in_a_check(&self) -> bool {
        self.file.ends_with("/checks.rs") || self.file.contains("/checks/")
    }

    /// What the line, or its part, operates on, as the reader calls it: `word` for `self.word.swap(1, Acquire)`.
    pub fn operand(&self) -> Option<&str> {
        expression::operand(if self.part.is_empty() { &self.text } else { &self.part })
    }
}

/// The debug information of the running program.
pub struct Sources {
    context: Option<Context<EndianSlice<'static, LittleEndian>>>,
    bias: u64,
    texts: BTreeMap<String, Vec<String>>,
    known: BTreeMap<usize, Vec<Place>>,
}

impl Sources {
    /// Reads the running executable; without debug information there are no places.
    pub fn of_this_program() -> Sources {
        let context = Mapped::this_program().and_then(|program| context(program.bytes()));
        Sources {
            context,
            bias: crate::process::bias() as u64,
            texts: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// The lines of the reader's own source among `callers`, which are return addresses: the innermost first.
    pub fn places(&mut self, callers: &[usize]) -> Vec<Place> {
        callers.iter().flat_map(|&caller| self.at(caller)).collect()
    }

    /// The innermost line of the reader's own source among `callers`.
    pub fn find(&mut self, callers: &[usize]) -> Option<Place> {
        callers.iter().find_map(|&caller| self.at(caller).into_iter().next())
    }

    /// The line that `file:line:column` names.
    pub fn named(&mut self, place: &str) -> Option<Place> {
        let mut parts = place.rsplitn(3, ':');
        let (column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
        let (line, column) = (line.parse().ok()?, column.parse().ok()?);
        own(file).then(|| self.place(file, line, column, String::new()))
    }

    /// The lines of one return address: several where calls were inlined.
    fn at(&mut self, caller: usize) -> Vec<Place> {
        if let Some(places) = self.known.get(&caller) {
            return places.clone();
        }
        let mut found = Vec::new();
        if let Some(context) = &self.context {
            let probe = (caller as u64).wrapping_sub(1).wrapping_sub(self.bias);
            if let Ok(mut frames) = context.find_frames(probe).skip_all_loads() {
                while let Ok(Some(frame)) = frames.next() {
                    let Some(location) = frame.location else { continue };
                    let (Some(file), Some(line)) = (location.file, location.line) else { continue };
                    if !own(file) || line == 0 {
                        continue;
                    }
                    let name = frame.function.as_ref();
                    let name = name.and_then(|name| name.demangle().ok().map(Cow::into_owned));
                    let function = name.as_deref().map(last_part).unwrap_or_default();
                    found.push((file.to_owned(), line, location.column.unwrap_or(0), function));
                }
            }
        }
        let places: Vec<Place> = found
            .into_iter()
            .map(|(file, line, column, function)| self.place(&file, line, column, function))
            .collect();
        self.known.insert(caller, places.clone());
        places
    }

    fn place(&mut self, file: &str, line: u32, column: u32, function: String) -> Place {
        let lines = self.texts.entry(file.to_owned()).or_insert_with(|| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        });
        let text = lines.get(line as usize - 1).map_or("", String::as_str);
        let part = expression::at(text, column as usize).unwrap_or_default();
        let text = expression::without_comment(text).to_owned();
        Place { file: file.to_owned(), line, text, part, function }
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
    let harness = engine.replace("/explore/src/", "/harness/src/");
    !file.starts_with("/rustc/")
        && !file.contains("/.cargo/registry/")
        && !file.contains("/lib/rustlib/src/")
        && !file.starts_with(engine)
        && !file.starts_with(&harness)
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
