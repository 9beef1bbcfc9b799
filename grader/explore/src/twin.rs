//! How the explored twin of a program is compiled. Only the explored crates are: pass these arguments by
//! `RUSTC_WORKSPACE_WRAPPER`, so that the engine itself and all other dependencies stay as they are.
//! The grader compiles this file as well, so it refers to no other.

/// What rustc is told for an explored crate, besides what cargo says. Works on stable Rust.
///
/// LLVM's ThreadSanitizer pass turns each atomic operation, fence and plain access into a call; the attribute that it looks
/// for is forced on every function, because rustc's own option for it is not stable. No sanitizer runtime is linked.
pub const ARGUMENTS: [&str; 9] = [
    "-Cpasses=forceattrs tsan",
    "-Cllvm-args=-force-attribute=sanitize_thread",
    "-Cllvm-args=-tsan-instrument-func-entry-exit=0",
    "-Cllvm-args=-tsan-distinguish-volatile=1",
    "-Cforce-frame-pointers=yes",
    // What lies below the stack pointer is dead, so a thread's state is its registers and what lies above.
    "-Cno-redzone=yes",
    "-Cdebuginfo=line-tables-only",
    "-Coverflow-checks=on",
    "-Ccodegen-units=1",
];
