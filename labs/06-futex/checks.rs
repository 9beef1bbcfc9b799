//! What the futex lab promises, part by part.

#[path = "checks/calls.rs"]
mod calls;
#[path = "checks/deadlines.rs"]
mod deadlines;
#[path = "checks/kills.rs"]
mod kills;
#[path = "checks/mutex.rs"]
mod mutex;
#[path = "checks/owner.rs"]
mod owner;
#[path = "checks/robust.rs"]
mod robust;
#[path = "checks/shared.rs"]
mod shared;
#[path = "checks/sleepers.rs"]
mod sleepers;

harness::checks! {
    "wait-returns-when-the-value-differs" => calls::wait_returns_when_the_value_differs,
    "wait-sleeps-until-it-is-woken" => calls::wait_sleeps_until_it_is_woken,
    "wait-ends-when-the-time-is-over" => calls::wait_ends_when_the_time_is_over,
    "wait-tells-an-interruption" => calls::wait_tells_an_interruption,
    "wake-wakes-as-many-as-asked" => calls::wake_wakes_as_many_as_asked,
    "at-most-one-holder" => mutex::at_most_one_holder,
    "every-waiter-gets-in" => mutex::every_waiter_gets_in,
    "the-next-holder-sees-everything" => mutex::the_next_holder_sees_everything,
    "uncontended-makes-no-system-call" => mutex::uncontended_makes_no_system_call,
    "waiters-sleep" => mutex::waiters_sleep,
    "unlock-wakes-one" => mutex::unlock_wakes_one,
    "needless-wake-ups-change-nothing" => mutex::needless_wake_ups_change_nothing,
    "two-mappings-are-one-lock" => shared::two_mappings_are_one_lock,
    "attach-keeps-what-is-there" => shared::attach_keeps_what_is_there,
    "processes-count-together" => shared::processes_count_together,
    "the-guard-gives-back-after-a-panic" => shared::the_guard_gives_back_after_a_panic,
    "try-lock-never-waits" => deadlines::try_lock_never_waits,
    "gives-up-at-the-deadline" => deadlines::gives_up_at_the_deadline,
    "wake-ups-do-not-extend-the-time" => deadlines::wake_ups_do_not_extend_the_time,
    "giving-up-loses-no-wake-up" => deadlines::giving_up_loses_no_wake_up,
    "giving-up-leaves-no-trace" => deadlines::giving_up_leaves_no_trace,
    "relocking-is-an-error" => owner::relocking_is_an_error,
    "only-the-owner-unlocks" => owner::only_the_owner_unlocks,
    "at-most-one-owner" => owner::at_most_one_owner,
    "looks-a-few-times-before-it-sleeps" => owner::looks_a_few_times_before_it_sleeps,
    "the-next-locker-is-told" => robust::the_next_locker_is_told,
    "a-sleeper-is-told" => robust::a_sleeper_is_told,
    "death-is-survived-at-every-step" => robust::death_is_survived_at_every_step,
    "random-kills-are-survived" => kills::random_kills_are_survived,
}
