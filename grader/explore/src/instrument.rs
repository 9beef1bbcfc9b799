//! The entry points that the compiler's instrumentation calls: `__tsan_…`, as defined by LLVM's ThreadSanitizer pass.
//! No sanitizer runtime is linked; these are its replacement. Outside an exploration each does what it stands for.

mod atomic;
mod native;
mod plain;
mod volatile;
