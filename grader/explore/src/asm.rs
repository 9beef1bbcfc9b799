//! Inline assembly. The compiler does not instrument it, so its visible instructions (those whose order another thread can
//! tell: memory operands, `lock`, fences, `pause`, `syscall`) get an `int3` while an exploration runs. The signal handler
//! runs on the model thread's own stack. It makes the same visible steps as the compiler's instrumentation does, so
//! scheduler, search and trace are the same, and the thread is suspended from inside the handler.
//!
//! The processor's memory model is x86-TSO (Owens, Sarkar, Sewell, TPHOLs 2009): see [`buffer`].

pub mod buffer;
mod copy;
mod memory;
mod perform;
mod program;
mod scan;
mod trap;

pub use trap::engage;
