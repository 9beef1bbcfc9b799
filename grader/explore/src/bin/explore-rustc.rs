//! The compiler for explored crates, for `RUSTC_WORKSPACE_WRAPPER`: rustc with the instrumentation.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(rustc) = arguments.next() else { return ExitCode::from(2) };
    let error = Command::new(rustc).args(arguments).args(explore::twin::ARGUMENTS).exec();
    #[expect(clippy::print_stderr, reason = "cargo shows it")]
    {
        eprintln!("explore-rustc: cannot run rustc: {error}");
    }
    ExitCode::from(70)
}
