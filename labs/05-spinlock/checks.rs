//! The checks of the spinlock lab.

use std::cell::{RefCell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use harness::step::{self, Limit, Reached, Stepper, Watch, mark};
use harness::{
    Check, Exploration, JoinHandle, Model, Options, Outcome, Rng, Shared, Stop, Stress, ensure, observe,
};
use spinlock::{
    Guard, RawLock, SpinLock, TicketLock, TtasLock, atomic_swap, compare_and_swap, fetch_and_add, with_lock,
};

#[path = "checks/atomics.rs"]
mod atomics;
#[path = "checks/exclusion.rs"]
mod exclusion;
#[path = "checks/guard.rs"]
mod guard;
#[path = "checks/test_and_set.rs"]
mod test_and_set;
#[path = "checks/test_and_test_and_set.rs"]
mod test_and_test_and_set;
#[path = "checks/ticket.rs"]
mod ticket;

use exclusion::{changes_atomically, exclusive, tries};

harness::checks! {
    "swap-returns-the-old-value" => atomics::swap_returns_the_old_value,
    "compare-and-swap-compares" => atomics::compare_and_swap_compares,
    "fetch-and-add-adds" => atomics::fetch_and_add_adds,
    "atomics-touch-only-their-word" => atomics::atomics_touch_only_their_word,
    "each-is-one-locked-instruction" => atomics::each_is_one_locked_instruction,
    "at-most-one-holder" => test_and_set::at_most_one_holder,
    "takes-the-lock-atomically" => test_and_set::takes_the_lock_atomically,
    "try-lock-never-waits" => test_and_set::try_lock_never_waits,
    "holds-under-stress" => test_and_set::holds_under_stress,
    "ttas-at-most-one-holder" => test_and_test_and_set::ttas_at_most_one_holder,
    "waiters-only-read" => test_and_test_and_set::waiters_only_read,
    "ttas-takes-the-lock-atomically" => test_and_test_and_set::ttas_takes_the_lock_atomically,
    "ttas-try-lock-never-waits" => test_and_test_and_set::ttas_try_lock_never_waits,
    "ticket-at-most-one-holder" => ticket::ticket_at_most_one_holder,
    "first-come-first-served" => ticket::first_come_first_served,
    "ticket-is-drawn-atomically" => ticket::ticket_is_drawn_atomically,
    "tickets-wrap-around" => ticket::tickets_wrap_around,
    "guard-gives-back-once" => guard::guard_gives_back_once,
    "guard-gives-back-after-a-panic" => guard::guard_gives_back_after_a_panic,
    "refused-guard-leaves-the-lock-alone" => guard::refused_guard_leaves_the_lock_alone,
    "with-lock-returns-the-result" => guard::with_lock_returns_the_result,
}
