//! What the instructions of a submission are: decodes the ones that a check has seen at work, and reads
//! the submission's functions in the check binary. Called by the judge for checks that send instructions.
//!
//! Invariant: nothing of the binary is executed here, and a binary that cannot be read accuses nobody.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use addr2line::gimli::{self, Dwarf, EndianSlice, LittleEndian, SectionId};
use harness::event::Place;
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, Mnemonic, OpKind, Register};
use object::{Object, ObjectSection, ObjectSymbol, ReadCache, ReadRef, SymbolKind};

/// An instruction that was seen at work: the rule to apply, its address in the binary, its bytes.
pub type Seen = (String, u64, Vec<u8>);

const UNLOCKED: &str = "read-modify-write-is-locked:";
const NO_STD_ATOMICS: &str = "no-std-atomics:";

/// A rule that an instruction breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// What the contract asks for.
    pub expected: String,
    /// What was seen instead.
    pub observed: String,
    /// Where the student should look.
    pub look: String,
    /// The source line.
    pub place: Option<Place>,
}

/// Judges the instructions that a check has sent. Rules:
///
/// - `changes-lock-word`: it must be atomic on memory, and must stand in the submission's own code.
/// - `read-modify-write-is-locked:CRATE`: every `cmpxchg`, `xadd`, `bts`, `btr` and `btc` on shared memory in that crate's
///   functions must have the `lock` prefix. The address is not used.
///
/// - `no-std-atomics:PATH`: the functions whose path begins so (`spinlock::TtasLock`) call nothing that does this
///   lab's work for them. The address is not used.
///
/// `called-by` after an instruction is a call that may have led to it; it helps to name the student's line
/// when the instruction itself stands in the standard library. Other rules only point somewhere ([`describe`]).
pub fn judge(binary: &Path, instructions: &[Seen]) -> Option<Broken> {
    let wanted = |rule: &str| {
        rule == "changes-lock-word" || rule.starts_with(UNLOCKED) || rule.starts_with(NO_STD_ATOMICS)
    };
    if !instructions.iter().any(|(rule, ..)| wanted(rule)) {
        return None;
    }
    let data = ReadCache::new(fs::File::open(binary).ok()?);
    let image = Image::parse(&data)?;
    instructions.iter().enumerate().find_map(|(index, (rule, address, bytes))| match rule.as_str() {
        "changes-lock-word" => {
            let place = image.own_place(*address, callers(&instructions[index + 1..]));
            changes_lock_word(&image, *address, bytes, place)
        }
        rule => match rule.strip_prefix(NO_STD_ATOMICS) {
            Some(path) => image.borrowed(path),
            None => image.unlocked(rule.strip_prefix(UNLOCKED)?),
        },
    })
}

/// Where the instructions stand that a failed check points at (`preempted-here`, `look-here`): a sentence
/// and the source line of each.
pub fn describe(binary: &Path, instructions: &[Seen]) -> Vec<(String, Option<Place>)> {
    let pointed = |rule: &str| rule == "preempted-here" || rule == "look-here";
    if !instructions.iter().any(|(rule, ..)| pointed(rule)) {
        return Vec::new();
    }
    let Ok(file) = fs::File::open(binary) else { return Vec::new() };
    let data = ReadCache::new(file);
    let Some(image) = Image::parse(&data) else { return Vec::new() };
    instructions
        .iter()
        .enumerate()
        .filter(|(_, (rule, ..))| pointed(rule))
        .map(|(index, (rule, address, bytes))| {
            let place = image.own_place(*address, callers(&instructions[index + 1..]));
            let text = text_of(*address, bytes);
            let function = image.function(*address).map_or("a library", |function| function.name.as_str());
            let sentence = match rule.as_str() {
                "preempted-here" => format!("it was stopped just before `{text}` in `{function}`"),
                _ => format!("`{text}` in `{function}`"),
            };
            (sentence, place)
        })
        .collect()
}

/// The instruction in Intel syntax.
pub fn text_of(address: u64, bytes: &[u8]) -> String {
    let mut text = String::new();
    IntelFormatter::new().format(&decode(address, bytes), &mut text);
    text
}

/// Whether the processor reads and writes memory in one indivisible step.
pub fn is_atomic(instruction: &Instruction) -> bool {
    let memory = (0..instruction.op_count()).any(|index| instruction.op_kind(index) == OpKind::Memory);
    memory && (instruction.has_lock_prefix() || instruction.mnemonic() == Mnemonic::Xchg)
}

fn decode(address: u64, bytes: &[u8]) -> Instruction {
    Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode()
}

/// The calls that were sent right after an instruction.
fn callers(rest: &[Seen]) -> impl Iterator<Item = &Seen> {
    rest.iter().take_while(|(rule, ..)| rule == "called-by")
}

fn changes_lock_word(image: &Image<'_>, address: u64, bytes: &[u8], place: Option<Place>) -> Option<Broken> {
    let instruction = decode(address, bytes);
    let text = text_of(address, bytes);
    if !is_atomic(&instruction) {
        return Some(Broken {
            expected: "the word in shared memory is changed by one atomic instruction: with a `lock` prefix, or `xchg` with memory"
                .to_owned(),
            observed: format!("it was changed by `{text}`, which another processor can come in between"),
            look: match place {
                Some(_) => "the line with this instruction".to_owned(),
                None => image.function(address).map_or_else(String::new, |function| format!("`{}`", function.name)),
            },
            place,
        });
    }
    let function = image.function(address);
    let foreign = function.is_none_or(|function| is_synchronisation(&function.name));
    foreign.then(|| Broken {
        expected: "the atomic instruction is written in this lab, with `asm!`".to_owned(),
        observed: match function {
            Some(function) => format!("`{text}` was executed in `{}`", function.name),
            None => format!("`{text}` was executed in a library"),
        },
        look: "the use of `core::sync`, `std::sync` or `pthread_…`: write the instruction yourself"
            .to_owned(),
        place: None,
    })
}

/// Functions of the standard library that do a student's work. A fence for the compiler alone does not.
fn is_synchronisation(name: &str) -> bool {
    let name = name.trim_start_matches('<');
    if name == "core::sync::atomic::compiler_fence" {
        return false;
    }
    ["core::sync", "std::sync", "std::sys::sync", "alloc::sync"].iter().any(|path| name.starts_with(path))
}

/// An unlocked read-modify-write on memory that is not the function's own stack.
fn is_unlocked(instruction: &Instruction) -> bool {
    let kind = matches!(
        instruction.mnemonic(),
        Mnemonic::Cmpxchg
            | Mnemonic::Cmpxchg8b
            | Mnemonic::Cmpxchg16b
            | Mnemonic::Xadd
            | Mnemonic::Bts
            | Mnemonic::Btr
            | Mnemonic::Btc
    );
    let memory = (0..instruction.op_count()).any(|index| instruction.op_kind(index) == OpKind::Memory);
    let own_stack = matches!(instruction.memory_base(), Register::RSP | Register::RBP);
    kind && memory && !own_stack && !instruction.has_lock_prefix()
}

/// A check binary, read.
struct Image<'d> {
    text: Vec<(u64, &'d [u8])>,
    functions: Vec<Function>,
    lines: Option<addr2line::Context<EndianSlice<'d, LittleEndian>>>,
}

struct Function {
    start: u64,
    size: u64,
    name: String,
}

impl<'d> Image<'d> {
    /// Reads the code, the symbols and the lines, and nothing else of what may be a large file.
    fn parse(data: impl ReadRef<'d>) -> Option<Image<'d>> {
        let file = object::File::parse(data).ok()?;
        let text = file
            .sections()
            .filter(|section| section.kind() == object::SectionKind::Text)
            .filter_map(|section| Some((section.address(), section.data().ok()?)))
            .collect();
        let functions = file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
            .filter_map(|symbol| {
                let name = addr2line::demangle_auto(Cow::Borrowed(symbol.name().ok()?), None).into_owned();
                Some(Function {
                    start: symbol.address(),
                    size: symbol.size(),
                    name: without_hash(&name).to_owned(),
                })
            })
            .collect();
        // What is missing, or compressed, is taken for empty: then there are no source lines to tell.
        let section = |id: SectionId| {
            let bytes = file.section_by_name(id.name()).and_then(|section| section.data().ok());
            Ok::<_, gimli::Error>(EndianSlice::new(bytes.unwrap_or_default(), LittleEndian))
        };
        let lines = Dwarf::load(section).ok().and_then(|dwarf| addr2line::Context::from_dwarf(dwarf).ok());
        Some(Image { text, functions, lines })
    }

    fn function(&self, address: u64) -> Option<&Function> {
        self.functions
            .iter()
            .find(|function| address.checked_sub(function.start).is_some_and(|offset| offset < function.size))
    }

    /// The source line of an instruction, or, where it stands in the standard library, of the call that
    /// led there. A call counts if it goes to the function that we come from.
    fn own_place<'i>(&self, address: u64, mut callers: impl Iterator<Item = &'i Seen>) -> Option<Place> {
        let mut at = address;
        loop {
            if let Some(place) = self.inlined_places(at).find(|place| !place.file.starts_with("/rustc/")) {
                return Some(place);
            }
            let here = self.function(at)?.start;
            at = callers.find(|(_, address, bytes)| decode(*address, bytes).near_branch_target() == here)?.1;
        }
    }

    fn place(&self, address: u64) -> Option<Place> {
        place_of(&self.lines.as_ref()?.find_location(address).ok()??)
    }

    /// The source line of an instruction and of the calls that were inlined around it, innermost first.
    fn inlined_places(&self, address: u64) -> impl Iterator<Item = Place> {
        let mut places = Vec::new();
        let frames = self.lines.as_ref().and_then(|lines| lines.find_frames(address).skip_all_loads().ok());
        if let Some(mut frames) = frames {
            while let Ok(Some(frame)) = frames.next() {
                places.extend(frame.location.as_ref().and_then(place_of));
            }
        }
        places.into_iter()
    }

    fn bytes(&self, function: &Function) -> Option<&'d [u8]> {
        self.text.iter().find_map(|&(start, bytes)| {
            let from = usize::try_from(function.start.checked_sub(start)?).ok()?;
            bytes.get(from..from.checked_add(usize::try_from(function.size).ok()?)?)
        })
    }

    /// The first unlocked read-modify-write in the functions of a crate.
    fn unlocked(&self, subject: &str) -> Option<Broken> {
        self.functions.iter().filter(|function| belongs_to(&function.name, subject)).find_map(|function| {
            let code = self.bytes(function)?;
            let found = Decoder::with_ip(64, code, function.start, DecoderOptions::NONE)
                .into_iter()
                .find(is_unlocked)?;
            let mut text = String::new();
            IntelFormatter::new().format(&found, &mut text);
            Some(Broken {
                expected: format!("`{:?}` on shared memory has the `lock` prefix", found.mnemonic())
                    .to_lowercase(),
                observed: format!(
                    "`{text}` without `lock` in `{}`: another processor can come in between",
                    function.name
                ),
                look: format!("`{}`", function.name),
                place: self.place(found.ip()),
            })
        })
    }
}

impl Image<'_> {
    /// The first call of the standard library's synchronisation in the functions below a path.
    fn borrowed(&self, path: &str) -> Option<Broken> {
        self.functions.iter().filter(|function| belongs_to(&function.name, path)).find_map(|function| {
            let code = self.bytes(function)?;
            let calls = Decoder::with_ip(64, code, function.start, DecoderOptions::NONE);
            calls.into_iter().filter(Instruction::is_call_near).find_map(|call| {
                let callee = self.function(call.near_branch_target())?;
                is_synchronisation(&callee.name).then(|| Broken {
                    expected: "the atomic instructions are written in this lab, with `asm!`".to_owned(),
                    observed: format!("`{}` calls `{}`", function.name, callee.name),
                    look: format!("`{}`", function.name),
                    place: self.place(call.ip()),
                })
            })
        })
    }
}

fn place_of(location: &addr2line::Location<'_>) -> Option<Place> {
    let (file, line) = (location.file?.to_owned(), location.line?);
    Some(Place { file, line, column: location.column.unwrap_or(0) })
}

/// The legacy mangling ends in a hash.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => path,
        _ => name,
    }
}

/// Whether a demangled function is this one or lies below this path: `spinlock::f` and
/// `<spinlock::T as Trait>::f` below `spinlock`.
fn belongs_to(name: &str, path: &str) -> bool {
    let rest = name.trim_start_matches('<').strip_prefix(path);
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.starts_with("::") || rest.starts_with(' ') || rest.starts_with('>')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], text: &str, atomic: bool, unlocked: bool) {
        let instruction = decode(0x1000, bytes);
        assert_eq!(text_of(0x1000, bytes), text);
        assert_eq!((is_atomic(&instruction), is_unlocked(&instruction)), (atomic, unlocked), "{text}");
    }

    #[test]
    fn lock_cmpxchg_is_atomic() {
        check(&[0xf0, 0x0f, 0xb1, 0x17], "lock cmpxchg [rdi],edx", true, false);
    }

    #[test]
    fn cmpxchg_without_lock_is_not() {
        check(&[0x0f, 0xb1, 0x17], "cmpxchg [rdi],edx", false, true);
    }

    #[test]
    fn xadd_without_lock_is_not() {
        check(&[0x0f, 0xc1, 0x07], "xadd [rdi],eax", false, true);
    }

    #[test]
    fn xadd_on_the_own_stack_is_nobody_elses_business() {
        check(&[0x0f, 0xc1, 0x44, 0x24, 0x08], "xadd [rsp+8],eax", false, false);
    }

    #[test]
    fn exchange_with_memory_is_atomic_by_itself() {
        check(&[0x87, 0x07], "xchg [rdi],eax", true, false);
    }

    #[test]
    fn exchange_of_registers_is_not_about_memory() {
        check(&[0x87, 0xc8], "xchg eax,ecx", false, false);
    }

    #[test]
    fn a_store_is_not_atomic_with_what_was_read_before() {
        check(&[0xc7, 0x07, 0x01, 0x00, 0x00, 0x00], "mov dword ptr [rdi],1", false, false);
    }

    #[test]
    fn functions_are_told_apart_by_their_crate() {
        assert!(belongs_to("spinlock::SpinLock::lock", "spinlock"));
        assert!(belongs_to("<spinlock::TtasLock>::lock", "spinlock::TtasLock"));
        assert!(!belongs_to("spinlock::TtasLock::lock", "spinlock::Ttas"));
        assert!(belongs_to("<spinlock::Guard<L> as core::ops::Drop>::drop", "spinlock"));
        assert!(!belongs_to("harness::Shared<spinlock::SpinLock>::new", "spinlock"));
        assert!(!belongs_to("spinlock_more::f", "spinlock"));
    }

    #[test]
    fn a_hash_is_cut() {
        assert_eq!(
            without_hash("core::sync::atomic::AtomicU32::swap::h8bd32de7b53f1583"),
            "core::sync::atomic::AtomicU32::swap"
        );
        assert_eq!(without_hash("spinlock::hello"), "spinlock::hello");
    }

    #[test]
    fn synchronisation_of_the_standard_library_is_recognised() {
        assert!(is_synchronisation("core::sync::atomic::AtomicU32::swap"));
        assert!(!is_synchronisation("spinlock::atomic_swap"));
    }

    #[test]
    fn a_binary_that_cannot_be_read_accuses_nobody() {
        let seen = [("changes-lock-word".to_owned(), 0, vec![0xc3])];
        assert_eq!(judge(Path::new("/nonexistent"), &seen), None);
    }
}
