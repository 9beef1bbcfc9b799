//! Where the explored crates' inline assembly stands: by the debug information's lines, and the sources at those lines.
//!
//! The compiler leaves no mark on an `asm!` block, but the instructions of one all carry the place of its `asm!(` in the
//! source, and nothing else does. Explored are the units that call the instrumentation, and all that were compiled in the
//! same directory: cargo compiles the members of a workspace in its root, and every other package in its own. A subject may
//! be all assembly, without an access that is instrumented: its checks tell that it is explored, `checks/ID` for `subjects/ID`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use addr2line::gimli::{ColumnType, Dwarf, EndianSlice, LineProgramHeader, LittleEndian, SectionId, Unit};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// A function of an explored crate with inline assembly in it. Addresses are those of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Where its code begins.
    pub start: u64,
    /// Its code.
    pub code: Vec<u8>,
    /// What of it comes from `asm!` blocks, in order.
    pub asm: Vec<Range<u64>>,
}

/// Finds them in an executable.
///
/// # Errors
/// Why it cannot be told where they are: what is not known to be assembly would be taken for nothing.
pub fn functions(executable: &[u8]) -> Result<Vec<Function>, String> {
    let unreadable = || "the program's debug information cannot be read".to_owned();
    let mut sources = Sources::default();
    let functions = look(executable, &mut sources).ok_or_else(unreadable)?;
    match sources.missed {
        None => Ok(functions),
        Some(path) => Err(format!("the source `{path}` cannot be read")),
    }
}

fn look(executable: &[u8], sources: &mut Sources) -> Option<Vec<Function>> {
    let object = object::File::parse(executable).ok()?;
    let section = |id: SectionId| -> Result<_, addr2line::gimli::Error> {
        let data = object.section_by_name(id.name()).and_then(|section| section.data().ok());
        Ok(EndianSlice::new(data.unwrap_or_default(), LittleEndian))
    };
    let dwarf = Dwarf::load(section).ok()?;
    let units = units(&dwarf, sources)?;
    if units.is_empty() {
        return None;
    }
    // Most programs have none, and every process that explores comes here: nothing more is read for them.
    if units.iter().all(|unit| unit.files.is_empty()) {
        return Some(Vec::new());
    }
    let code = Text::of(&object)?;
    let mut symbols: Vec<(u64, u64)> = Vec::new();
    let mut instrumentation: BTreeSet<u64> = BTreeSet::new();
    for symbol in object.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        symbols.push((symbol.address(), symbol.size()));
        if symbol.name().is_ok_and(|name| name.starts_with("__tsan_")) {
            instrumentation.insert(symbol.address());
        }
    }
    symbols.sort_unstable();
    let asm = asm(&dwarf, &units, sources, &|range| code.calls(range, &instrumentation))?;
    let mut functions: BTreeMap<u64, Function> = BTreeMap::new();
    for range in asm {
        let after = symbols.partition_point(|&(address, _)| address <= range.start);
        let Some(&(start, size)) = after.checked_sub(1).and_then(|index| symbols.get(index)) else {
            continue;
        };
        let size = size.max(range.end - start);
        let Some(bytes) = code.get(start..start + size) else { continue };
        let function = functions.entry(start).or_insert_with(|| Function {
            start,
            code: bytes.to_vec(),
            asm: Vec::new(),
        });
        function.asm.push(range);
    }
    Some(functions.into_values().collect())
}

/// The program's code.
struct Text<'a> {
    start: u64,
    bytes: &'a [u8],
}

impl<'a> Text<'a> {
    fn of(object: &object::File<'a>) -> Option<Text<'a>> {
        let section = object.section_by_name(".text")?;
        Some(Text { start: section.address(), bytes: section.data().ok()? })
    }

    fn get(&self, range: Range<u64>) -> Option<&'a [u8]> {
        let offset = |address: u64| address.checked_sub(self.start).map(|offset| offset as usize);
        self.bytes.get(offset(range.start)?..offset(range.end)?)
    }

    /// Whether there is a call of one of `targets` in `range`: `e8` and the distance.
    fn calls(&self, range: Range<u64>, targets: &BTreeSet<u64>) -> bool {
        let (Some(code), Some(&first), Some(&last)) =
            (self.get(range.clone()), targets.first(), targets.last())
        else {
            return false;
        };
        code.windows(5).enumerate().filter(|(_, bytes)| bytes[0] == 0xe8).any(|(offset, bytes)| {
            let distance = i32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
            let target = (range.start + offset as u64 + 5).wrapping_add_signed(i64::from(distance));
            (first..=last).contains(&target) && targets.contains(&target)
        })
    }
}

/// A unit of the program that is not the standard library's.
struct Candidate<'a> {
    /// Where it was compiled.
    directory: Bytes<'a>,
    unit: Unit<Bytes<'a>>,
    /// Its sources with an `asm!` in them, or perhaps with one, by their numbers in the line table.
    files: BTreeMap<u64, Source>,
}

fn units<'a>(dwarf: &Dwarf<Bytes<'a>>, sources: &mut Sources) -> Option<Vec<Candidate<'a>>> {
    let mut units = Vec::new();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().ok()? {
        let unit = dwarf.unit(header).ok()?;
        let directory = unit.comp_dir.unwrap_or_default();
        if [Some(directory), unit.name].iter().flatten().any(|name| name.starts_with(STANDARD)) {
            continue;
        }
        let mut files = BTreeMap::new();
        if let Some(program) = &unit.line_program {
            let header = program.header();
            for index in 0..=header.file_names().len() as u64 {
                let path = path(dwarf, &unit, header, index).unwrap_or_default();
                match sources.at(&path) {
                    source @ Source::WithAsm(_) => _ = files.insert(index, source),
                    source @ Source::Unread if is_of(&unit, &path) => _ = files.insert(index, source),
                    Source::Plain | Source::Unread => {}
                }
            }
        }
        units.push(Candidate { directory, unit, files });
    }
    Some(units)
}

/// Whether a source is the unit's crate's own, and not that of something generic from elsewhere. rustc names a unit by the
/// root of its crate: `src/lib.rs/@/name`.
fn is_of(unit: &Unit<Bytes<'_>>, path: &str) -> bool {
    let name = unit.name.as_ref().map(lossy).unwrap_or_default();
    let root = name.split("/@/").next().unwrap_or_default();
    let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
    match folder.starts_with('/') {
        true => path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')),
        false => {
            let directory = unit.comp_dir.as_ref().map(lossy).unwrap_or_default();
            path.strip_prefix(&directory).is_some_and(|rest| rest.trim_start_matches('/').starts_with(folder))
        }
    }
}

/// The ranges of the explored units' code that come from `asm!` blocks.
fn asm<'a>(
    dwarf: &Dwarf<Bytes<'a>>,
    units: &[Candidate<'a>],
    sources: &mut Sources,
    instrumented: &dyn Fn(Range<u64>) -> bool,
) -> Option<Vec<Range<u64>>> {
    let mut explored: BTreeSet<&[u8]> = BTreeSet::new();
    for Candidate { directory, unit, .. } in units {
        let mut ranges = dwarf.unit_ranges(unit).ok()?;
        while !explored.contains(directory.slice())
            && let Some(range) = ranges.next().ok()?
        {
            if range.begin < range.end && instrumented(range.begin..range.end) {
                explored.insert(directory.slice());
            }
        }
    }
    let mut found = Vec::new();
    let is_explored = |unit: &&Candidate<'_>| {
        let directory = unit.directory.slice();
        explored.contains(directory) || explored.iter().any(|other| belong_together(directory, other))
    };
    for unit in units.iter().filter(is_explored) {
        lines(dwarf, unit, sources, &mut found);
    }
    found.sort_unstable_by_key(|range| range.start);
    Some(found)
}

/// Whether these are the directories of a subject and of its checks: `…/subjects/ID` and `…/checks/ID`.
fn belong_together(subject: &[u8], checks: &[u8]) -> bool {
    let parts = |directory| {
        let path = Path::new(std::str::from_utf8(directory).ok()?);
        let kind = path.parent()?;
        Some((kind.parent()?, kind.file_name()?.to_str()?, path.file_name()?))
    };
    match (parts(subject), parts(checks)) {
        (Some((root, "subjects", id)), Some((other, "checks", same))) => root == other && id == same,
        _ => false,
    }
}

fn lossy(bytes: &Bytes<'_>) -> String {
    bytes.to_string_lossy().into_owned()
}

/// Adds the ranges of one unit.
fn lines<'a>(
    dwarf: &Dwarf<Bytes<'a>>,
    candidate: &Candidate<'a>,
    sources: &mut Sources,
    found: &mut Vec<Range<u64>>,
) {
    let Some(program) = candidate.unit.line_program.clone().filter(|_| !candidate.files.is_empty()) else {
        return;
    };
    let mut rows = program.rows();
    let mut begun: Option<u64> = None;
    while let Ok(Some((header, row))) = rows.next_row() {
        let address = row.address();
        let asm = !row.end_sequence()
            && match (candidate.files.get(&row.file_index()), row.line(), row.column()) {
                (Some(&Source::WithAsm(source)), Some(line), ColumnType::Column(column)) => {
                    sources.asm_at(source, line.get(), column.get())
                }
                (Some(Source::Unread), Some(_), _) => {
                    sources.missed = path(dwarf, &candidate.unit, header, row.file_index());
                    false
                }
                _ => false,
            };
        if let Some(start) = begun.filter(|&start| start < address) {
            match found.last_mut().filter(|last| last.end == start) {
                Some(last) => last.end = address,
                None => found.push(start..address),
            }
        }
        begun = asm.then_some(address);
    }
}

fn path<'a>(
    dwarf: &Dwarf<Bytes<'a>>,
    unit: &Unit<Bytes<'a>>,
    header: &LineProgramHeader<Bytes<'a>>,
    index: u64,
) -> Option<String> {
    let file = header.file(index)?;
    let name = lossy(&dwarf.attr_string(unit, file.path_name()).ok()?);
    if name.starts_with('/') {
        return Some(name);
    }
    let mut path = String::new();
    if let Some(directory) = file.directory(header) {
        path = lossy(&dwarf.attr_string(unit, directory).ok()?);
    }
    if !path.starts_with('/') {
        path = format!("{}/{path}", unit.comp_dir.as_ref().map(lossy).unwrap_or_default());
    }
    Some(format!("{path}/{name}"))
}

/// How names of the standard library's units and sources begin.
const STANDARD: &[u8] = b"/rustc/";

/// What is known of a source.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// There is no `asm!` in it, or it is not the explored crates'.
    Plain,
    /// There is one: its number among those.
    WithAsm(usize),
    /// It is not there, or may not be read.
    Unread,
}

/// The sources that lines point to.
#[derive(Default)]
struct Sources {
    known: BTreeMap<String, Source>,
    /// One that explored code comes from and that cannot be read.
    missed: Option<String>,
    /// The lines of each source with an `asm!` in it.
    texts: Vec<Vec<String>>,
    places: BTreeMap<(usize, u64, u64), bool>,
}

impl Sources {
    /// What is known of the source at `path`, which is looked into unless it is the standard library's.
    fn at(&mut self, path: &str) -> Source {
        // The last is no file, but the name of a unit.
        let standard = path.as_bytes().starts_with(STANDARD) || path.contains("/lib/rustlib/src/");
        if standard || path.is_empty() || path.contains("/@/") {
            return Source::Plain;
        }
        if let Some(&known) = self.known.get(path) {
            return known;
        }
        let source = match std::fs::read_to_string(path) {
            Ok(text) if text.contains("asm!") => {
                self.texts.push(text.lines().map(str::to_owned).collect());
                Source::WithAsm(self.texts.len() - 1)
            }
            // A sandbox does not show the sources of other packages, which are not explored.
            Err(_) if !path.contains("/registry/src/") => Source::Unread,
            Ok(_) | Err(_) => Source::Plain,
        };
        self.known.insert(path.to_owned(), source);
        source
    }

    fn asm_at(&mut self, source: usize, line: u64, column: u64) -> bool {
        let lines = &self.texts[source];
        *self.places.entry((source, line, column)).or_insert_with(|| {
            let line = (line as usize).checked_sub(1).and_then(|index| lines.get(index));
            line.is_some_and(|line| is_asm(line, column as usize))
        })
    }
}

/// Whether an `asm!` begins at `column`, counted from 1.
fn is_asm(line: &str, column: usize) -> bool {
    let rest = line.char_indices().nth(column - 1).map_or("", |(index, _)| &line[index..]);
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
    rest[end..].starts_with('!') && rest[..end].rsplit(':').next() == Some("asm")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, column: usize, asm: bool) {
        assert_eq!(is_asm(line, column), asm, "{line:?}, {column}");
    }

    #[test]
    fn an_asm_block_is_known_by_its_name_at_that_column() {
        check("asm!(\"nop\")", 1, true);
        check("    asm!(\"nop\")", 5, true);
        check("é = core::arch::asm!(", 5, true);
        check("let x = asm!(\"mov {}, [{}]\", out(reg) y, in(reg) *p);", 50, false);
    }

    #[test]
    fn a_subject_belongs_to_its_checks() {
        let belong = |one: &str, other: &str| belong_together(one.as_bytes(), other.as_bytes());
        assert!(belong("/t/twin/subjects/spinlock", "/t/twin/checks/spinlock"));
        assert!(!belong("/t/twin/subjects/spinlock", "/t/twin/checks/futex"));
        assert!(!belong("/t/twin/subjects/spinlock", "/t/checks/spinlock"));
        assert!(!belong("/t/twin/checks/spinlock", "/t/twin/subjects/spinlock"));
        assert!(!belong("", "/"));
    }

    #[test]
    fn other_macros_and_names_are_not() {
        check("    global_asm!(\"nop\")", 5, false);
        check("    asm(\"nop\")", 5, false);
        check("println!()", 1, false);
        check("", 1, false);
        check("asm!()", 9, false);
    }
}
