//! Inline assembly: litmus tests against x86-TSO, and locks.

mod instructions;
mod litmus;
mod locks;
#[path = "../scenario.rs"]
mod scenario;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("litmus") => litmus::textbook(),
        Some("random") => litmus::random(),
        _ => scenario::main(locks::SCENARIOS),
    }
}
